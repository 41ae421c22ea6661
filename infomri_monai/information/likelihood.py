"""Likelihoods, divergences and entropies of the losses and metrics: Gaussian, categorical, Bernoulli; in nats."""

from __future__ import annotations

import torch
from torch import Tensor

from infomri_monai.arrays import as_numbers, as_whole, takes

__all__ = ["bernoulli_entropy", "categorical_entropy", "gaussian_kl", "gaussian_nll"]


@takes(target="number", mean="number", log_variance="real")
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


# float32 ends at exp(88.7); the rest is room for squared differences and for sums over latents
_LARGEST_EXPONENT = 60.0


@takes(mean_q="real", log_variance_q="real", mean_p="real", log_variance_p="real")
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


def _entropy_terms(probabilities: Tensor) -> Tensor:
    """-p log p; written out, because torch.special.entr has no form in ONNX."""
    smallest = 1.1754943508222875e-38  # of float32's normal numbers
    return -probabilities * torch.log(probabilities.clamp(min=smallest))


def categorical_entropy(probabilities: Tensor, dim: int = 1) -> Tensor:
    """Entropy -sum p log p over one axis; 0 log 0 is 0.

    Args:
        probabilities: non-negative, sum to 1 over ``dim``.
        dim: axis of the classes.

    Returns:
        Nats, without the axis ``dim``.

    References:
        Cover and Thomas, "Elements of information theory", 2005, equation 2.1.

    Example:
        >>> import torch
        >>> categorical_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
        tensor([0.6931, 0.0000])
    """
    if not torch.jit.is_scripting():
        probabilities, dim = as_numbers(probabilities, "probabilities", "real"), as_whole(dim, "dim")
    return _entropy_terms(probabilities).sum(dim)


def bernoulli_entropy(probabilities: Tensor) -> Tensor:
    """Entropy of every independent binary variable.

    Args:
        probabilities: of a 1, in [0, 1], any shape.

    Returns:
        Nats, the same shape.

    References:
        Cover and Thomas, "Elements of information theory", 2005, equation 2.5.

    Example:
        >>> import torch
        >>> bernoulli_entropy(torch.tensor([0.5, 1.0]))
        tensor([0.6931, 0.0000])
    """
    if not torch.jit.is_scripting():
        probabilities = as_numbers(probabilities, "probabilities", "real")
    return _entropy_terms(probabilities) + _entropy_terms(1 - probabilities)
