"""Linear interpolation of k-space patterns between grids, DC to DC."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["interpolate_positions"]


def interpolate_positions(pattern: Tensor, positions: Sequence[int]) -> Tensor:
    """Interpolate a pattern linearly in normalised, centred k-space coordinates.

    Index i of an axis of n positions has the coordinate ``(i - n // 2) / n`` (cycles per pixel). Coordinates beyond the
    last position of the old grid take its value.

    Args:
        pattern: values on the old grid, DC at index ``n // 2``, shape (..., *old_positions).
        positions: new grid with the same number of axes.

    Returns:
        Values on the new grid, shape (..., *positions). A pattern that is linear in k stays so inside the old grid.

    Raises:
        ValueError: if an axis size is below 1 or ``pattern`` has fewer axes.

    Example:
        >>> import torch
        >>> interpolate_positions(torch.tensor([4.0, 2.0, 0.0, 2.0]), (8,))  # DC at index 2, then at index 4
        tensor([4., 3., 2., 1., 0., 1., 2., 2.])
    """
    if len(positions) > pattern.ndim or min(positions, default=0) < 1:
        raise ValueError(f"positions must be 1 to {pattern.ndim} sizes >= 1, got {tuple(positions)}.")
    for axis, new in zip(range(-len(positions), 0), positions, strict=True):
        old = pattern.shape[axis]
        k = (torch.arange(new, device=pattern.device, dtype=torch.float64) - new // 2) / new
        index = (k * old + old // 2).clamp(0, old - 1)
        low = index.floor().long()
        high = (low + 1).clamp_max(old - 1)
        weight = (index - low).to(pattern.dtype).reshape(-1, *[1] * (-axis - 1))
        pattern = torch.lerp(pattern.index_select(axis, low), pattern.index_select(axis, high), weight)
    return pattern
