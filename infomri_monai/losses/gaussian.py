"""Losses of the reconstruction system, reading its result by field."""

from __future__ import annotations

from torch import Tensor, nn

from infomri_monai.information.likelihood import gaussian_nll
from infomri_monai.systems.reconstruction import ReconstructionResult

__all__ = ["GaussianNLLLoss", "MeanSquaredErrorLoss"]


def _paired(target: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """A real target beside a complex mean becomes complex; a complex target beside a real mean is an error below."""
    return (target.to(mean.dtype), mean) if mean.is_complex() else (target, mean)


class GaussianNLLLoss(nn.Module):
    """Negative Gaussian log-likelihood of the image under the reconstruction's mean and variance (equation 42).

    Args:
        reduction: ``"mean"`` (nats per pixel, the default of training: its scale does not depend on the grid) or ``"sum_pixels"``.

    Example:
        >>> import torch
        >>> from infomri_monai.systems import ReconstructionResult
        >>> x = torch.ones(1, 1, 2, 2)
        >>> fields = {"mean": x, "log_variance": torch.zeros_like(x)}
        >>> result = ReconstructionResult(**{name: fields.get(name, x) for name in ReconstructionResult._fields})
        >>> GaussianNLLLoss()(result, x)
        tensor(0.)
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum_pixels"):
            raise ValueError(f"reduction must be 'mean' or 'sum_pixels', got {reduction!r}.")
        self.reduction = reduction

    def forward(self, result: ReconstructionResult, target: Tensor) -> Tensor:
        """Return the scalar loss of ``result`` for the true image ``target``, (batch, 1, *spatial)."""
        target, mean = _paired(target, result.mean)
        return gaussian_nll(target, mean, result.log_variance, self.reduction)


class MeanSquaredErrorLoss(nn.Module):
    """Mean squared error of the reconstruction's mean: the ablation InfoMRI-Unroll-MSE (section III-F2), no variance learned.

    Example:
        >>> import torch
        >>> from infomri_monai.systems import ReconstructionResult
        >>> x = torch.ones(1, 1, 2, 2)
        >>> MeanSquaredErrorLoss()(ReconstructionResult(x, x, x, x, x, x, x), x + 2)
        tensor(4.)
    """

    def forward(self, result: ReconstructionResult, target: Tensor) -> Tensor:
        """Return the scalar loss of ``result`` for the true image ``target``, (batch, 1, *spatial)."""
        target, mean = _paired(target, result.mean)
        return (target - mean).abs().square().mean()
