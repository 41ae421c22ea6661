"""Losses of the reconstruction system, reading its result by field."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from infomri_monai.arrays import takes
from infomri_monai.information.likelihood import gaussian_nll

__all__ = ["GaussianNLLLoss", "MeanSquaredErrorLoss"]


class GaussianImage(Protocol):
    """A system's result that says how the image is distributed."""

    @property
    def mean(self) -> Tensor: ...
    @property
    def log_variance(self) -> Tensor: ...
    @property
    def magnitude_log_variance(self) -> Tensor | None: ...


def _paired(target: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """A real target beside a complex mean becomes complex; a complex target beside a real mean is an error below."""
    return (target.to(mean.dtype), mean) if mean.is_complex() else (target, mean)


class GaussianNLLLoss(nn.Module):
    """Negative Gaussian log-likelihood of the image (equation 42) and of its magnitude under the reconstruction.

    Where the network models the magnitude's variance, the likelihood of the true magnitude under the mean's is added. It holds the
    mean constant, and so do the shipped networks the features: that term trains the magnitude's variance and nothing else.

    Args:
        reduction: ``"mean"`` (nats per pixel, the default of training: its scale does not depend on the grid) or ``"sum_pixels"``.
        variance_weighting: exponent beta in [0, 1] of Seitzer et al.: every pixel's likelihood is weighted by sigma^(2 beta), held
            constant in the gradient and divided by its mean over the image. 0 is equation (42), whose gradient to the mean
            is the error over sigma^2, so that the dark background, where sigma is least, outweighs the head and teaches the
            sampling policy little about it; 1 gives the mean the gradient of a squared error. The optimum (mean and variance of
            the posterior) is the same for all, and so is every image's weight, whatever its ratio.

    Raises:
        ValueError: if ``reduction`` is unknown or ``variance_weighting`` is outside [0, 1].

    References:
        Seitzer, Tavakoli, Antic and Martius, "On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural
        networks", ICLR 2022, equation 5.

    Example:
        >>> import torch
        >>> from infomri_monai.systems import ReconstructionResult
        >>> x = torch.ones(1, 1, 2, 2)
        >>> fields = {"mean": x} | dict.fromkeys(("log_variance", "magnitude_log_variance"), torch.zeros_like(x))
        >>> result = ReconstructionResult(**{name: fields.get(name, x) for name in ReconstructionResult._fields})
        >>> GaussianNLLLoss()(result, x)
        tensor(0.)
    """

    @takes(variance_weighting="scalar")
    def __init__(self, reduction: str = "mean", variance_weighting: float = 0.0) -> None:
        super().__init__()
        if reduction not in ("mean", "sum_pixels"):
            raise ValueError(f"reduction must be 'mean' or 'sum_pixels', got {reduction!r}.")
        if not 0 <= variance_weighting <= 1:
            raise ValueError(f"variance_weighting must lie in [0, 1], got {variance_weighting!r}.")
        self.reduction = reduction
        self.variance_weighting = variance_weighting

    @takes(target="number")
    def forward(self, result: GaussianImage, target: Tensor) -> Tensor:
        """Return the scalar loss of ``result`` for the true image ``target``, (batch, 1, *spatial)."""
        target, mean = _paired(target, result.mean)
        loss = self._term(target, mean, result.log_variance)
        if result.magnitude_log_variance is None:
            return loss
        return loss + self._term(target.abs(), mean.detach().abs(), result.magnitude_log_variance)

    def _term(self, target: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        nll = gaussian_nll(target, mean, log_variance, "none").flatten(1)
        # a softmax is the weight sigma^(2 beta) over its sum
        weight = torch.softmax(self.variance_weighting * log_variance.detach().flatten(1), dim=1)
        per_image = (weight * nll).sum(1).mean()  # nats per pixel
        return per_image if self.reduction == "mean" else per_image * nll.shape[1]


class MeanSquaredErrorLoss(nn.Module):
    """Mean squared error of the reconstruction's mean: the ablation InfoMRI-Unroll-MSE (section III-F2), no variance learned.

    Example:
        >>> import torch
        >>> from infomri_monai.systems import ReconstructionResult
        >>> x = torch.ones(1, 1, 2, 2)
        >>> MeanSquaredErrorLoss()(ReconstructionResult(x, x, x, x, x, x, x, x), x + 2)
        tensor(4.)
    """

    @takes(target="number")
    def forward(self, result: GaussianImage, target: Tensor) -> Tensor:
        """Return the scalar loss of ``result`` for the true image ``target``, (batch, 1, *spatial)."""
        target, mean = _paired(target, result.mean)
        return (target - mean).abs().square().mean()
