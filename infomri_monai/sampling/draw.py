"""From probabilities to masks: counts, densities that meet them, exact draws, and Bernoulli draws with a gradient.

The fixed laws draw exactly the positions that a ratio asks for; the learned ones rescale or shift their probabilities to the ratio
and accept draws within a tolerance of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_TINY = torch.finfo(torch.float64).tiny


def position_count(ratio: Tensor, n: int) -> Tensor:
    """Number of positions that meets each ratio best: ``round(ratio * n)``, at least 1; integers of the ratio's shape.

    Example:
        >>> import torch
        >>> position_count(torch.tensor([0.25, 0.001]), 64)
        tensor([16,  1])
    """
    return torch.round(ratio.to(torch.float64) * n).clamp(1, n).to(torch.long)


def top_count(score: Tensor, count: Tensor) -> Tensor:
    """Mark the ``count`` largest scores of every sample; ties go to the lower index.

    Args:
        score: shape (batch, n), without NaN.
        count: number of positions to mark, integers, shape (batch,), 0 to n.

    Returns:
        Booleans, shape (batch, n).

    Example:
        >>> import torch
        >>> top_count(torch.tensor([[0.3, 0.9, 0.1], [0.3, 0.9, 0.1]]), torch.tensor([1, 2]))
        tensor([[False,  True, False],
                [ True,  True, False]])
    """
    place = count.to(score.device).clamp_min(1).unsqueeze(1)
    if score.is_cuda:  # one sort, without waiting for the counts
        threshold = score.sort(dim=1, descending=True).values.gather(1, place - 1)
    else:  # selection is some ten times faster than sorting
        threshold = torch.stack([_kth_largest(row, k) for row, k in zip(score, place.flatten().tolist(), strict=True)])
        threshold = threshold.unsqueeze(1)
        chosen = score >= threshold
        if torch.equal(chosen.sum(1), count.to(score.device)):  # no ties across the threshold
            return chosen
    above, level = score > threshold, score == threshold
    missing = count.to(score.device).unsqueeze(1) - above.sum(1, keepdim=True)
    return above | (level & (level.cumsum(1) <= missing))


def _kth_largest(score: Tensor, k: int) -> Tensor:
    """The k-th largest of scores (n,); fastest for Bernoulli keys, whose threshold lies near 0."""
    upper = score[score > -0.5]
    chosen_from = upper if upper.numel() >= k else score
    return chosen_from.kthvalue(chosen_from.numel() + 1 - k).values


def uniform_deviates(shape: Sequence[int], device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Uniform deviates in [0, 1), drawn on the generator's device and moved to ``device``."""
    source = device if generator is None else generator.device
    return torch.rand(tuple(shape), generator=generator, device=source).to(device)


def draw_exactly(probabilities: Tensor, count: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw masks with exactly ``count`` positions from inclusion probabilities.

    The positions with the ``count`` largest Bernoulli keys ``logit(p) - logit(u)`` are taken: the draw of
    :func:`~infomri_monai.sampling.draw.exact_count_threshold`. For probabilities that sum to ``count`` the share
    of masks that hold a position is its probability up to O(1/n), and exactly for p = 0, p = 1 and equal probabilities.

    Args:
        probabilities: values in [0, 1] that sum to ``count`` in every sample, shape (batch, n).
        count: number of positions, integers, shape (batch,).
        generator: source of randomness.

    Returns:
        0/1 floats, shape (batch, n).

    Example:
        >>> import torch
        >>> draw_exactly(torch.tensor([[0.0, 0.5, 0.5, 1.0]]), torch.tensor([2]), None).sum()
        tensor(2.)
    """
    uniform = uniform_deviates(probabilities.shape, probabilities.device, generator)
    key = torch.logit(probabilities) - torch.logit(uniform, eps=1e-7)
    return top_count(key, count).to(torch.float32)


def scale_to_count(weight: Tensor, count: Tensor) -> Tensor:
    """Inclusion probabilities ``min(1, c * weight)`` whose sum is ``count``, with c solved exactly.

    Args:
        weight: wanted density up to a factor, shape (n,) or (batch, n); infinite where a position is always acquired,
            positive elsewhere.
        count: wanted sum, integers, shape (batch,), 1 to n; at least the number of infinite weights.

    Returns:
        Probabilities in [0, 1], float32, shape (batch, n).

    Example:
        >>> import torch
        >>> scale_to_count(torch.tensor([8.0, 1.0, 1.0]), torch.tensor([1, 2]))
        tensor([[0.8000, 0.1000, 0.1000],
                [1.0000, 0.5000, 0.5000]])
    """
    w = torch.atleast_2d(weight).to(torch.float64).expand(count.numel(), -1)
    total = count.to(w.device, torch.float64).unsqueeze(1)
    full = torch.isinf(w)
    while True:  # positions that reach 1 leave the others more: their set only grows, so this ends
        rest = torch.where(full, 0.0, w)
        factor = (total - full.sum(1, keepdim=True)).clamp_min(0) / rest.sum(1, keepdim=True).clamp_min(_TINY)
        reached = (rest * factor > 1) | full
        if bool((reached == full).all()):
            return torch.where(full, 1.0, rest * factor).to(torch.float32)
        full = reached


def centre_distance(positions: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Distance of every position from DC, each axis in units of its half width; flat, shape (prod(positions),).

    The edge of an axis lies at 1, the corner of a 2D grid at the square root of 2, on non-square grids too; axes of
    size 1 (a read-out axis) do not count.

    Example:
        >>> centre_distance((4, 1))
        tensor([1.0000, 0.5000, 0.0000, 0.5000])
    """
    square = torch.zeros((), device=device)
    for axis, n in enumerate(positions):
        k = (torch.arange(n, device=device) - n // 2) / (n / 2)
        square = square + k.square().reshape(-1, *[1] * (len(positions) - axis - 1))
    return square.sqrt().flatten()


def check_centre(center_fraction: float, center_share: float) -> None:
    """Raise ValueError unless both lie in [0, 1) and at most one is positive."""
    for name, value in (("center_fraction", center_fraction), ("center_share", center_share)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {value}.")
    if center_fraction > 0 and center_share > 0:
        raise ValueError(
            f"give center_fraction (of all positions) or center_share (of the acquired ones), "
            f"got both: {center_fraction} and {center_share}."
        )


def centre_block(positions: Sequence[int], count: Tensor, center_fraction: float, center_share: float) -> Tensor:
    """Mark the central block that is always acquired.

    Args:
        positions: grid of positions.
        count: number of positions of every mask, integers, shape (batch,).
        center_fraction: the block's size as a share of all positions, the same at every ratio.
        center_share: the block's size as a share of each mask's ``count``.

    Returns:
        Booleans, shape (batch, prod(positions)). The block has the grid's proportions and holds DC unless it is empty.

    Raises:
        ValueError: if the block holds more positions than a mask may have.

    Example:
        >>> import torch
        >>> centre_block((1, 8), torch.tensor([4]), 0.25, 0.0).int()
        tensor([[0, 0, 0, 1, 1, 0, 0, 0]], dtype=torch.int32)
    """
    n, axes = math.prod(positions), sum(size > 1 for size in positions)
    fraction = center_fraction + center_share * count.to(torch.float64) / n
    block = torch.ones((count.numel(), *[1] * len(positions)), dtype=torch.bool, device=count.device)
    for axis, size in enumerate(positions):
        if size == 1:
            continue
        side = torch.round(size * fraction ** (1 / axes)).to(torch.long).unsqueeze(1)
        index = torch.arange(size, device=count.device) - size // 2 + side // 2
        inside = (index >= 0) & (index < side)
        block = block & inside.reshape(-1, *[size if a == axis else 1 for a in range(len(positions))])
    block = block.expand(-1, *positions).flatten(1)
    held = block.sum(1)
    if bool((held > count).any()):
        worst = int((held - count).argmax())
        raise ValueError(
            f"center_fraction={center_fraction}, center_share={center_share} always acquires {int(held[worst])} of the "
            f"grid's {n} positions, more than the {int(count[worst])} of the ratio; lower it or raise the ratio."
        )
    return block


_REACH = 20.0  # sigmoid(+-20) is 0 or 1 in float32
_ITERATIONS = 30
_SMALL_STEP = 1e-4  # |f''| <= |f'|, so that the last Newton step leaves an error of its square, 1e-8


def shift_to_ratio(logits: Tensor, ratio: Tensor) -> Tensor:
    """Probabilities sigmoid(l - tau) whose mean is the sampling ratio.

    The rescaling of equation (17) multiplies: where the mean is above the ratio it takes probability from every
    position, DC included, and a mask that misses DC cannot be reconstructed; the shared offset of the logits then has
    to be learned for every ratio, and drifts. A common shift keeps sure positions sure, and makes the masks of one set
    of logits nested in probability over all ratios. tau is found by a bracketed Newton iteration; its derivative is the
    implicit one, d tau / d l_i = p_i (1 - p_i) / sum_j p_j (1 - p_j).

    Args:
        logits: shape (batch or 1, 1, n).
        ratio: wanted mean, shape (batch,), in (0, 1].

    Returns:
        Probabilities of shape (batch, 1, n).

    Example:
        >>> import torch
        >>> p = shift_to_ratio(torch.tensor([[[0.0, 10.0, -10.0, 0.0]]]), torch.tensor([0.5]))
        >>> [round(float(v), 3) for v in p.flatten()]
        [0.5, 1.0, 0.0, 0.5]
    """
    s = ratio.to(logits).reshape(-1, 1, 1)
    logits = logits.expand(s.shape[0], -1, -1)
    with torch.no_grad():
        tau = _root(logits, s)
        p = torch.sigmoid(logits - tau)
        derivative = (p * (1 - p)).mean(2, keepdim=True).clamp_min(1e-6)
    # one Newton step, which changes nothing in value and carries the implicit derivative
    tau = tau + (torch.sigmoid(logits - tau).mean(2, keepdim=True) - s) / derivative
    return torch.sigmoid(logits - tau)


def _root(logits: Tensor, s: Tensor) -> Tensor:
    """The shift whose mean probability is s, (batch, 1, 1), up to the caller's Newton step.

    Newton's iteration runs on the logit of the mean, which is nearly linear in the shift, and falls back to bisection where it
    leaves the bracket.
    """
    low, high = logits.amin(2, keepdim=True) - _REACH, logits.amax(2, keepdim=True) + _REACH
    tau = (low + high) / 2
    for _ in range(_ITERATIONS):
        p = torch.sigmoid(logits - tau)
        mean = p.mean(2, keepdim=True)
        low, high = torch.where(mean > s, tau, low), torch.where(mean > s, high, tau)
        slope = (mean - p.square_().mean(2, keepdim=True)) / (mean * (1 - mean))
        new = tau + (torch.logit(mean) - torch.logit(s)) / slope
        new = torch.where((new > low) & (new < high), new, (low + high) / 2)  # NaN (0 / 0) bisects too
        step, tau = (new - tau).abs().max(), new
        # on a GPU iterating is cheaper than waiting for the answer
        if not logits.is_cuda and float(step) < _SMALL_STEP:
            break
    return tau


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


_LEAST = 0.01  # probability of a draw below which its half-weighted gradient grows no further


class _StraightThrough(torch.autograd.Function):
    """1[p > u] forward; derivative of sigmoid(k (p - u)) backward, or 1 / (2 P(draw))."""

    @staticmethod
    def forward(ctx: Any, probabilities: Tensor, uniform: Tensor, slope: float | None) -> Tensor:
        ctx.save_for_backward(probabilities, uniform)
        ctx.slope = slope
        return (probabilities > uniform).to(probabilities.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        probabilities, uniform = ctx.saved_tensors
        if ctx.slope is None:
            of_draw = torch.where(probabilities > uniform, probabilities, 1 - probabilities)
            return grads[0] / (2 * of_draw.clamp_min(_LEAST)), None, None
        soft = torch.sigmoid(ctx.slope * (probabilities - uniform))
        return grads[0] * ctx.slope * soft * (1 - soft), None, None


def straight_through(probabilities: Tensor, uniform: Tensor, slope: float | None = 10.0) -> Tensor:
    """Hard Bernoulli draw ``1[p > u]`` with the gradient of ``sigmoid(slope * (p - u))`` (decision 8), or half-weighted.

    The gradient of the expected loss is L(1) - L(0), for which the trapezoidal rule gives (L'(0) + L'(1)) / 2. One draw m,
    weighted by one half over its probability, L'(m) / (2 P(m)), is unbiased for that (up to a bound of 50 on the weight).

    Args:
        probabilities: values in [0, 1], any shape.
        uniform: uniform deviates of the same shape.
        slope: steepness k of the surrogate; the field uses 10. None for the half-weighted gradient.

    Returns:
        0/1 floats of the same shape.

    References:
        Yin et al., "End-to-end sequential sampling and reconstruction for MRI" (SeqMRI), 2021. Liu et al., "Bridging discrete
        and backpropagation: straight-through and beyond" (ReinMax), NeurIPS 2023: the second-order gradient, for two classes.

    Example:
        >>> import torch
        >>> p = torch.tensor([0.3, 0.7], requires_grad=True)
        >>> straight_through(p, torch.tensor([0.5, 0.5])).sum().backward(); p.grad
        tensor([1.0499, 1.0499])
        >>> p.grad = None
        >>> straight_through(p, torch.tensor([0.5, 0.2]), slope=None).sum().backward(); p.grad  # 1 / (2 * 0.7), drawn or not
        tensor([0.7143, 0.7143])
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
    slope: float | None = 10.0,
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
        slope: of :func:`straight_through`.
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
