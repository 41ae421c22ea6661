"""Likelihoods of the paper's variational bounds."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gaussian_nll"]


def gaussian_nll(target: Tensor, mean: Tensor, log_variance: Tensor, reduction: str = "sum_pixels") -> Tensor:
    """Negative log-likelihood of a diagonal Gaussian, without its constant (equation 42).

    For a complex target both components have the same variance: |x - mu|^2 / (2 sigma^2) + log sigma^2.

    Args:
        target: image x, real or complex, shape (batch, 1, *spatial).
        mean: mu, of the target's shape; complex if the target is.
        log_variance: log sigma^2 per real component, real, of the target's shape.
        reduction: ``"sum_pixels"`` sums over pixels and averages over the batch (nats per image), ``"mean"`` averages over
            pixels too (nats per pixel), ``"none"`` keeps every pixel.

    Returns:
        Scalar, or a tensor of the target's shape for ``"none"``.

    Raises:
        ValueError: if the shapes differ, the kinds (real, complex) differ or ``reduction`` is unknown.

    Example:
        >>> import torch
        >>> x = torch.tensor([[[1.0, 2.0]]])
        >>> gaussian_nll(x, torch.zeros_like(x), torch.zeros_like(x))
        tensor(2.5000)
    """
    if target.shape != mean.shape or target.shape != log_variance.shape:
        raise ValueError(
            f"target, mean and log_variance must have one shape, got {tuple(target.shape)}, {tuple(mean.shape)}, "
            f"{tuple(log_variance.shape)}."
        )
    if target.is_complex() != mean.is_complex():
        raise ValueError(f"target ({target.dtype}) and mean ({mean.dtype}) must both be real or both complex.")
    error = target - mean
    squared = error.real.square() + error.imag.square() if error.is_complex() else error.square()
    components = 2 if error.is_complex() else 1
    nll = 0.5 * (squared * torch.exp(-log_variance) + components * log_variance)
    if reduction == "none":
        return nll
    if reduction == "mean":
        return nll.mean()
    if reduction == "sum_pixels":
        return nll.flatten(1).sum(1).mean()
    raise ValueError(f"reduction must be 'sum_pixels', 'mean' or 'none', got {reduction!r}.")
