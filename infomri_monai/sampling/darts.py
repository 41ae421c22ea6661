"""Compiled dart throwing of the Poisson-disk policy; needs numba, so it is imported on first use."""

from __future__ import annotations

import math

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

njit, _ = optional_import(
    "numba", name="njit", descriptor="PoissonDisk needs numba: install the extra infomri-monai[poisson]."
)

__all__ = ["largest_scale", "throw_darts"]


@njit(cache=True)
def throw_darts(
    order: NDArray[np.int32], radius: NDArray[np.float32], plane: tuple[int, int], count: int, mask: NDArray[np.bool_]
) -> int:
    """Throw darts at positions in order until ``count`` stick; a dart sticks outside the discs of the earlier ones.

    Args:
        order: flat positions in the order of throwing, shape (n,).
        radius: radius of the disc around every position, in positions of the longer axis, shape (n,).
        plane: grid (ny, nx) with ny * nx = n; discs are ellipses in its proportions and wrap around its edges.
        count: number of darts that shall stick.
        mask: written to: where darts stuck, shape (n,).

    Returns:
        The number of darts that stuck, at most ``count``.
    """
    ny, nx = plane
    ay, ax = ny / max(ny, nx), nx / max(ny, nx)
    blocked = np.zeros(ny * nx, np.bool_)
    mask[:] = False
    stuck = 0
    for i in order:
        if blocked[i]:
            continue
        mask[i] = True
        stuck += 1
        if stuck == count:
            break
        r = radius[i]
        cy, cx = i // nx, i % nx
        reach = min(int(max(r, 0.0) * ay), ny // 2)
        for dy in range(-reach, reach + 1):
            rest = r * r - (dy / ay) ** 2
            if r <= 0 or rest <= 0:
                continue
            half = min(math.ceil(ax * math.sqrt(rest)) - 1, nx // 2)  # strictly inside the disc
            row = (cy + dy) % ny * nx
            first, last = cx - half, cx + half
            blocked[row + max(first, 0) : row + min(last, nx - 1) + 1] = True
            if first < 0:
                blocked[row + first + nx : row + nx] = True
            if last >= nx:
                blocked[row : row + last - nx + 1] = True
    return stuck


@njit(cache=True)
def largest_scale(
    order: NDArray[np.int32],
    growth: NDArray[np.float32],
    smooth: NDArray[np.float32],
    plane: tuple[int, int],
    count: int,
    mask: NDArray[np.bool_],
) -> float:
    """Find the largest scale, within 1 %, at which ``count`` darts with radius ``scale * growth + smooth`` stick.

    Args:
        order: as in :func:`throw_darts`.
        growth: relative radius, shape (n,), at least 1.
        smooth: addition to the radius in (-1/2, 1/2), shape (n,).
        plane: grid (ny, nx).
        count: number of darts that shall stick, 1 to n.
        mask: written to: the mask at the scale found, with exactly ``count`` positions, shape (n,).

    Returns:
        The scale. Zero always fits: discs of less than one position block nothing.
    """
    # random discs jam at a density of 0.7 / radius^2, at most 1: an estimate a little too small, to start from
    low, high = 0.0, 2.0 * max(plane)
    guess = 0.7 * math.sqrt(np.mean(1 / growth**2) * growth.size / count)
    while high - low > 0.01 * high:
        middle = guess if guess > 0 else (low + high) / 2
        guess = 0.0
        if throw_darts(order, (middle * growth + smooth).astype(np.float32), plane, count, mask) == count:
            if low == 0.0 and high == 2.0 * max(plane):
                guess = 1.3 * middle
            low = middle
        else:
            high = middle
            if low == 0.0:
                guess = 0.7 * middle
        if high < 1e-3:
            break
    throw_darts(order, (low * growth + smooth).astype(np.float32), plane, count, mask)
    return low
