"""PSNR and SSIM per volume as cumulative metrics over slices that arrive in any order."""

from __future__ import annotations

import torch
from torch import Tensor

from infomri_monai.metrics.cumulative import RatioMetric, mean_over_images
from infomri_monai.metrics.image_quality import SSIM_WINDOW, check_images, magnitude, ssim

__all__ = ["VolumePSNR", "VolumeSSIM"]


class VolumePSNR(RatioMetric):
    """Mean over volumes of the PSNR with one MSE per volume and its largest magnitude as data range (decision 23).

    ``metric(y_pred, y, volume=index)`` takes slices of any volumes in any order and keeps three numbers of each.
    Without ``volume`` every batch element is a volume of its own, e.g. (batch, slices, H, W).

    Example:
        >>> import torch
        >>> metric = VolumePSNR()
        >>> y = torch.ones(2, 1, 8, 8); y[1] = 0.1  # a bright and a dim slice of volume 7, both wrong by 0.05
        >>> _ = metric(y + 0.05, y, volume=7)
        >>> metric.aggregate()
        tensor(26.0206)
    """

    unit = "dB"
    convention = "PSNR of magnitudes, per volume, data range = volume maximum, one MSE per volume, mean over volumes"

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Sum of squared errors, number of pixels and largest magnitude, shape (batch, 3)."""
        check_images(y_pred, y)
        x, target = magnitude(y_pred).flatten(1), magnitude(y).flatten(1)
        pixels = torch.full_like(target[:, 0], target.shape[1])
        return torch.stack([(x - target).square().sum(1), pixels, target.amax(1)], 1)

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Mean over volumes."""
        parts = [statistics[volume == v] for v in volume.unique()]
        mse = torch.stack([part[:, 0].sum() / part[:, 1].sum() for part in parts])
        peak = torch.stack([part[:, 2].amax() for part in parts])
        return mean_over_images(10 * torch.log10(torch.where(peak > 0, peak, torch.nan).square() / mse))


class VolumeSSIM(RatioMetric):
    """Mean over volumes of the SSIM with the volume's largest magnitude as data range (decision 23).

    The range is known only when a volume is complete, so the magnitudes themselves are kept until then, 8 bytes a
    pixel. All slices of one run have one size. Used as :class:`VolumePSNR`.

    Example:
        >>> import torch
        >>> metric = VolumeSSIM()
        >>> y = torch.rand(4, 1, 16, 16)
        >>> _ = metric(y, y, volume=torch.tensor([0, 0, 1, 1]))
        >>> metric.aggregate()
        tensor(1.)
    """

    unit = "1"
    convention = (
        "SSIM of magnitudes, 2D Gaussian window 11, data range = volume maximum, mean over slices, then volumes"
    )

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Magnitudes of prediction and target, shape (batch, 2, ..., H, W)."""
        check_images(y_pred, y, SSIM_WINDOW)
        return torch.stack([magnitude(y_pred), magnitude(y)], 1)

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Mean over volumes."""
        volumes = [statistics[volume == v].transpose(0, 1).flatten(1, 2).unsqueeze(1) for v in volume.unique()]
        return mean_over_images(torch.cat([ssim(prediction, target) for prediction, target in volumes]))
