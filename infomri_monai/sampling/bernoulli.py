"""From probabilities to hard masks: rescaling, straight-through Bernoulli draws, bounded rejection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from infomri_monai.sampling.exact import top_count

__all__ = ["exact_count_threshold", "rescale_probabilities", "sample_within_tolerance", "straight_through"]

_EPS = 1e-6


def rescale_probabilities(probabilities: Tensor, ratio: Tensor) -> Tensor:
    """Rescale probabilities so that their mean is the sampling ratio (equation 17).

    Args:
        probabilities: values in [0, 1], shape (batch, ...).
        ratio: wanted mean of every sample, shape (batch,).

    Returns:
        Probabilities in [0, 1] of the same shape whose mean over all but the first axis is ``ratio``.

    References:
        Bahadir, Wang, Dalca and Sabuncu, "Deep-learning-based optimization of the under-sampling pattern in MRI", 2020.

    Example:
        >>> import torch
        >>> rescale_probabilities(torch.tensor([[0.2, 0.6]]), torch.tensor([0.2]))
        tensor([[0.1000, 0.3000]])
    """
    axes = tuple(range(1, probabilities.ndim))
    s = ratio.to(probabilities).reshape(-1, *[1] * len(axes))
    mean = probabilities.mean(axes, keepdim=True)
    down = probabilities * (s / mean.clamp_min(_EPS))
    up = 1 - (1 - probabilities) * ((1 - s) / (1 - mean).clamp_min(_EPS))
    return torch.where(mean >= s, down, up).clamp(0, 1)


class _StraightThrough(torch.autograd.Function):
    """1[p > u] forward; derivative of sigmoid(k (p - u)) backward."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, uniform: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(probabilities, uniform)
        ctx.slope = slope
        return (probabilities > uniform).to(probabilities.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        probabilities, uniform = ctx.saved_tensors
        soft = torch.sigmoid(ctx.slope * (probabilities - uniform))
        return grads[0] * ctx.slope * soft * (1 - soft), None, None


def straight_through(probabilities: Tensor, uniform: Tensor, slope: float = 10.0) -> Tensor:
    """Hard Bernoulli draw ``1[p > u]`` with the gradient of ``sigmoid(slope * (p - u))`` (decision 8).

    Args:
        probabilities: values in [0, 1], any shape.
        uniform: uniform deviates of the same shape.
        slope: steepness k of the surrogate; the field uses 10.

    Returns:
        0/1 floats of the same shape.

    References:
        Yin et al., "End-to-end sequential sampling and reconstruction for MRI" (SeqMRI), 2021.

    Example:
        >>> import torch
        >>> p = torch.tensor([0.3, 0.7], requires_grad=True)
        >>> straight_through(p, torch.tensor([0.5, 0.5])).sum().backward(); p.grad
        tensor([1.0499, 1.0499])
    """
    result: Tensor = _StraightThrough.apply(probabilities, uniform, slope)
    return result


def _logit(p: Tensor) -> Tensor:
    return torch.logit(p, eps=_EPS)


def exact_count_threshold(probabilities: Tensor, uniform: Tensor, count: Tensor) -> Tensor:
    """Shift uniform deviates so that exactly ``count`` positions satisfy ``p > u``.

    A Bernoulli draw is ``logit(p) - logit(u) > 0``; moving the zero to the count-th largest value is the smallest
    change of the draw that meets the count.

    Args:
        probabilities: shape (batch, n).
        uniform: deviates in (0, 1), shape (batch, n).
        count: wanted number of positions, integers, shape (batch,), 1 to n.

    Returns:
        Shifted deviates, shape (batch, n).

    Example:
        >>> import torch
        >>> p = torch.full((1, 4), 0.5)
        >>> u = exact_count_threshold(p, torch.tensor([[0.1, 0.9, 0.8, 0.7]]), torch.tensor([2]))
        >>> (p > u).int()
        tensor([[1, 0, 0, 1]], dtype=torch.int32)
    """
    chosen = top_count(_logit(probabilities) - _logit(uniform), count)
    # keep the deviate where the draw already agrees, else move it just past the probability
    agrees = (probabilities > uniform) == chosen
    moved = torch.where(chosen, (probabilities - _EPS).clamp_min(-_EPS), (probabilities + _EPS).clamp_max(1.0 + _EPS))
    return torch.where(agrees, uniform, moved)


def sample_within_tolerance(
    probabilities: Tensor,
    ratio: Tensor,
    tolerance: float = 1e-3,
    proposals: int = 4,
    slope: float = 10.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw masks whose realised ratio is within a tolerance of the wanted one (equations 13-15, Algorithm 1 steps 5-9).

    All proposals of the whole batch are drawn at once and each sample takes its first acceptable one; a sample without
    any gets its first proposal moved to the exact count. The draw therefore always ends, and every sample has its own
    ratio. A single sample on the CPU draws no further than its first acceptable proposal, which gives the same mask
    and leaves the generator there.

    Args:
        probabilities: shape (batch, *positions), mean equal to ``ratio``.
        ratio: wanted ratio, shape (batch,).
        tolerance: largest accepted ``|realised - wanted|``; never taken below half a position (decision 6).
        proposals: number of parallel proposals, at least 1.
        slope: steepness of the straight-through gradient.
        generator: source of randomness.

    Returns:
        0/1 masks of the shape of ``probabilities``, with a straight-through gradient to them.

    Raises:
        ValueError: if ``proposals`` < 1 or ``tolerance`` < 0.

    Example:
        >>> import torch
        >>> m = sample_within_tolerance(torch.full((2, 64, 64), 0.25), torch.tensor([0.25, 0.25]))
        >>> bool(((m.mean((1, 2)) - 0.25).abs() <= 1e-3).all())
        True
    """
    if proposals < 1 or tolerance < 0:
        raise ValueError(f"proposals must be >= 1 and tolerance >= 0, got {proposals} and {tolerance}.")
    p = probabilities.flatten(1)
    n = p.shape[1]
    s = ratio.to(p)
    with torch.no_grad():
        uniform, met = _proposed(p, s, max(tolerance, 0.5 / n) + _EPS, proposals, generator)
        if p.is_cuda or not bool(met.all()):  # on a GPU the sort is cheaper than waiting for the answer
            count = torch.round(s * n).clamp(1, n).to(torch.long)
            uniform = torch.where(met, uniform, exact_count_threshold(p, uniform, count))
    return straight_through(p, uniform, slope).reshape(probabilities.shape)


def _proposed(
    p: Tensor, ratio: Tensor, tolerance: float, proposals: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Deviates of each sample's first acceptable proposal, else of its first one, (batch, n); whether it is, (batch, 1)."""
    if len(p) > 1 or p.device.type != "cpu":
        return _judged(p, ratio, tolerance, proposals, generator)
    first = found = _judged(p, ratio, tolerance, 1, generator)
    for _ in range(1, proposals):
        if bool(found[1]):
            break
        found = _judged(p, ratio, tolerance, 1, generator)
    return found if bool(found[1]) else first


def _judged(
    p: Tensor, ratio: Tensor, tolerance: float, proposals: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The same of proposals that are drawn at once."""
    batch, n = p.shape
    u = torch.rand((batch, proposals, n), generator=generator, device=p.device, dtype=p.dtype)
    realised = (p.unsqueeze(1) > u).sum(2).to(p.dtype) / n
    accepted = (realised - ratio.unsqueeze(1)).abs() <= tolerance
    accepted &= realised > 0  # a ratio below the tolerance would let an empty mask pass
    first = torch.argmax(accepted.to(torch.uint8), dim=1)
    return u[torch.arange(batch, device=p.device), first], accepted.any(1, keepdim=True)
