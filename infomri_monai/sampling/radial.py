"""Radial spokes on a Cartesian grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infomri_monai.sampling.draw import centre_distance, position_count, scale_to_count, top_count, uniform_deviates
from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["Radial"]

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2  # 111.246 degrees


class Radial(SamplingPolicy):
    """Spokes through DC, each turned by the golden angle from the one before, from a random first angle.

    A spoke runs to the edge of the grid, corners included, and acquires the positions nearest to it. The mask is the
    union of the first spokes that meet the ratio; of the last spoke only the inner part is taken, so that the count is
    exact. Near ratio 1, where more spokes add nothing, the remaining positions follow from the centre outwards.
    ``probabilities`` are the density of a spoke pattern, ``min(1, c / distance)`` with mean ``ratio``, an approximation
    of the inclusion probabilities (which also feel the grid).

    References:
        Winkelmann, Schaeffter, Koehler, Eggers and Doessel, "An optimal radial profile order based on the golden ratio
        for time-resolved MRI", IEEE TMI 2007.

    Example:
        >>> sample = Radial()(0.1, (50, 40))
        >>> float(sample.mask.sum()), float(sample.mask[0, 0, 25, 20])
        (200.0, 1.0)
    """

    def __init__(self) -> None:
        super().__init__(None)

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        if len(positions) != 2:
            raise ValueError(f"shape must have 2 axes for radial spokes, got {len(positions)}.")
        count = position_count(ratio, math.prod(positions))
        start = uniform_deviates((count.numel(),), ratio.device, generator) * math.pi
        distance = centre_distance(positions, ratio.device)
        most = math.pi * max(positions)  # twice the spokes that leave no gap at the corners
        spokes = math.ceil(min(most, 3 * int(count.max()) / min(positions) + 4))
        while True:  # a second pass only where spokes overlap more than expected
            first = _first_spoke(start, spokes, positions)
            if spokes >= most or bool(((first < spokes).sum(1) >= count).all()):
                break
            spokes = math.ceil(min(most, 2 * spokes))
        # by spoke, and along each spoke from the centre outwards
        mask = top_count(-(first + distance / (distance.max() + 1)), count).to(torch.float32)
        p = scale_to_count((1 / distance).expand(count.numel(), -1), count)  # infinite at DC, which is always acquired
        return mask.reshape(-1, 1, *positions), p.reshape(-1, 1, *positions)


def _first_spoke(start: Tensor, spokes: int, positions: tuple[int, ...]) -> Tensor:
    """Number of the first spoke that meets each position, ``spokes`` where none does; shape (batch, n)."""
    ny, nx = positions
    n = ny * nx
    number = torch.arange(spokes, device=start.device)
    angle = (start.unsqueeze(1) + number * GOLDEN_ANGLE).unsqueeze(2)
    half = math.ceil(max(ny, nx) / math.sqrt(2))
    radius = torch.arange(-half, half + 1, device=start.device) * (2 / max(ny, nx))  # steps of at most one position
    y = torch.round(torch.sin(angle) * radius * (ny / 2)).long() + ny // 2
    x = torch.round(torch.cos(angle) * radius * (nx / 2)).long() + nx // 2
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    index = torch.where(inside, y * nx + x, n).flatten(1)
    value = number.unsqueeze(1).expand(-1, radius.numel()).flatten().expand(index.shape[0], -1)
    first = torch.full((index.shape[0], n + 1), spokes, device=start.device)
    return first.scatter_reduce(1, index, value, "amin")[:, :n].to(torch.float32)
