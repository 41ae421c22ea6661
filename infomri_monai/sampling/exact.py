"""Masks with an exact number of positions, and the geometry that fixed laws share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "centre_block",
    "centre_distance",
    "check_centre",
    "draw_exactly",
    "position_count",
    "scale_to_count",
    "top_count",
    "uniform_deviates",
]

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
    :func:`~infomri_monai.sampling.bernoulli.exact_count_threshold`. For probabilities that sum to ``count`` the share
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
