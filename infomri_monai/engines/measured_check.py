"""Whether measured k-space fits the policy that the network was trained with."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infomri_monai.engines.prepare import seeded_generator
from infomri_monai.sampling import SamplingPolicy

__all__ = ["check_measured", "is_far"]

_LOGGER = logging.getLogger(__name__)
#: a position of less probability is one that the policy never measures
_TINY = 1e-6


def check_measured(masks: Tensor, policy: SamplingPolicy | None) -> None:
    """Check what a scanner measured against the policy; what can still be reconstructed is a warning in the log.

    Warnings: DC was not measured; the grid is far from the one that the policy was trained on (:func:`is_far`; a smaller
    difference is a note); the ratio lies outside its trained range. Empty slices are passed over. Only a learned policy has a
    grid and a range; laws that fit any grid measure everywhere.

    Args:
        masks: where k-space was measured, bool or 0/1, shape (slice, 1, *grid).
        policy: the policy; None checks against nothing but k-space itself.

    Raises:
        ValueError: if nothing was measured, or nothing that the policy, carried to this grid, measures at this ratio with a
            probability above 1e-6.

    Example:
        >>> check_measured(torch.zeros(1, 1, 8, 8), None)
        Traceback (most recent call last):
        ValueError: nothing was acquired: all positions of k-space are zero or masked out.
    """
    acquired = masks.bool()
    acquired = acquired[acquired.flatten(1).any(1)]
    if not len(acquired):
        raise ValueError("nothing was acquired: all positions of k-space are zero or masked out.")
    grid = tuple(acquired.shape[2:])
    centre: Any = (..., *(n // 2 for n in grid))
    without_dc = int((~acquired[centre]).sum())
    if without_dc:
        _LOGGER.warning("the DC position of k-space was not measured in %d of %d slices", without_dc, len(acquired))
    if policy is None or policy.grid is None:
        return
    if grid != tuple(policy.grid):
        level = logging.WARNING if is_far(policy.grid, grid) else logging.INFO
        _LOGGER.log(level, "k-space of grid %s, but the model was trained on %s", grid, tuple(policy.grid))
    ratio = float(acquired.float().mean())
    policy.warn_where_extrapolating(ratio)
    reachable = _reachable(policy, ratio, grid)
    if reachable is not None and not bool((acquired & reachable).any()):
        raise ValueError(
            "no overlap between acquired positions and the model's grid: at the realised ratio of "
            f"{ratio:.3g}, the policy measures none of the {int(acquired.any(0).sum())} acquired positions on grid {grid}."
        )


def is_far(trained: Sequence[int] | None, grid: Sequence[int]) -> bool:
    """Whether an axis of a grid is more than twice, or less than half, as long as that of the trained one.

    Interpolating a learned pattern that far stretches details of single positions over several, or drops them.

    Args:
        trained: the policy's grid; None for a law that fits any grid.
        grid: where it is to be used.

    Example:
        >>> is_far((96, 96), (192, 96)), is_far((96, 96), (320, 96)), is_far(None, (8, 8))
        (False, True, False)
    """
    return trained is not None and any(n > 2 * m or m > 2 * n for n, m in zip(grid, trained, strict=False))


@torch.no_grad()
def _reachable(policy: SamplingPolicy, ratio: float, grid: tuple[int, ...]) -> Tensor | None:
    """Where the policy may measure, bool, broadcasts to (slice, 1, *grid); None if it cannot draw at this ratio."""
    carried = policy.for_grid(grid)
    smallest = 1 / math.prod(carried.position_shape(grid))
    device = next((t.device for t in (*carried.parameters(), *carried.buffers())), torch.device("cpu"))
    try:
        sample = carried([max(ratio, smallest)], grid, seeded_generator(device, 0))
    except ValueError:
        return None
    return sample.probabilities.cpu() > _TINY
