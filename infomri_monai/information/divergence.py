"""Kullback-Leibler divergences of the paper's variational bounds, in nats."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gaussian_kl"]

# float32 ends at exp(88.7); the rest is room for squared differences and for sums over latents
_LARGEST_EXPONENT = 60.0


def gaussian_kl(
    mean_q: Tensor, log_variance_q: Tensor, mean_p: Tensor, log_variance_p: Tensor, reduction: str = "sum"
) -> Tensor:
    """KL(q || p) of diagonal Gaussians in closed form (equation 20; the term of the latent variable).

    ``expm1(d) - d`` with ``d = log(variance_q / variance_p)`` errs by no more than the rounding of d where the two nearly agree
    (``exp(d) - 1 - d`` loses all digits there). From an exponent of 60 on, the exponential goes on as its tangent, a lower bound,
    so that no ratio of variances gives Inf or NaN and the gradient still draws the variances together.

    Args:
        mean_q: shape (batch, ...), any unit.
        log_variance_q: of the same shape.
        mean_p: of the same shape and unit.
        log_variance_p: of the same shape.
        reduction: ``"sum"`` sums over latents and averages over the batch, ``"batch"`` sums over latents only, (batch,), ``"none"``
            keeps every latent.

    Returns:
        Nats; a scalar, (batch,) or the shape of the arguments. 0 for latents of no elements.

    Raises:
        ValueError: if the shapes differ or ``reduction`` is unknown.

    References:
        Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014, appendix B.

    Example:
        >>> import torch
        >>> zero = torch.zeros(1, 3)
        >>> gaussian_kl(zero + 1, zero, zero, zero)
        tensor(1.5000)
    """
    shapes = [tuple(t.shape) for t in (mean_q, log_variance_q, mean_p, log_variance_p)]
    if len(set(shapes)) != 1:
        raise ValueError(f"mean_q, log_variance_q, mean_p and log_variance_p must have one shape, got {shapes}.")
    if reduction not in ("sum", "batch", "none"):
        raise ValueError(f"reduction must be 'sum', 'batch' or 'none', got {reduction!r}.")
    log_ratio = log_variance_q - log_variance_p
    held = log_ratio.clamp(max=_LARGEST_EXPONENT)
    spread = torch.expm1(held) + torch.exp(held) * (log_ratio - held) - log_ratio
    shift = (mean_q - mean_p).square() * torch.exp((-log_variance_p).clamp(max=_LARGEST_EXPONENT))
    kl = 0.5 * (spread + shift)
    if reduction == "none":
        return kl
    per_image = kl.flatten(1).sum(1)
    return per_image if reduction == "batch" else per_image.mean()
