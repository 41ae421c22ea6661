"""PSNR and SSIM per slice as cumulative metrics."""

from __future__ import annotations

from torch import Tensor

from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.image_quality import psnr, ssim

__all__ = ["PSNR", "SSIM"]


class PSNR(PerImageMetric):
    """Mean over slices of the per-slice PSNR, data range = the slice's largest magnitude (decision 23).

    Images are (batch, 1, *spatial), real or complex; see :func:`infomri_monai.metrics.psnr`.

    Example:
        >>> import torch
        >>> metric = PSNR()
        >>> _ = metric(torch.full((2, 1, 8, 8), 0.9), torch.ones(2, 1, 8, 8), ratio=torch.tensor([0.1, 0.2]))
        >>> metric.aggregate(), {s: round(v, 3) for s, v in metric.by_ratio().items()}
        (tensor(20.0000), {0.1: 20.0, 0.2: 20.0})
    """

    unit = "dB"
    convention = "PSNR of magnitudes, per slice, data range = slice maximum, mean over slices"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """PSNR of every image, shape (batch,)."""
        return psnr(y_pred, y)


class SSIM(PerImageMetric):
    """Mean over slices of the per-slice SSIM, data range = the slice's largest magnitude (decision 23).

    Images are (batch, 1, H, W), real or complex; see :func:`infomri_monai.metrics.ssim`.

    Example:
        >>> import torch
        >>> metric = SSIM()
        >>> x = torch.rand(2, 1, 16, 16)
        >>> _ = metric(x, x)
        >>> metric.aggregate()
        tensor(1.)
    """

    unit = "1"
    convention = "SSIM of magnitudes, per slice, Gaussian window 11, data range = slice maximum, mean over slices"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """SSIM of every image, shape (batch,)."""
        return ssim(y_pred, y)
