"""Variable-density random sampling."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.sampling.draw import (
    centre_block,
    centre_distance,
    check_centre,
    draw_exactly,
    position_count,
    scale_to_count,
)
from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["VariableDensity"]

_SMALLEST_WEIGHT = 1e-12  # the outermost position keeps a chance, so that every ratio up to 1 can be met


class VariableDensity(SamplingPolicy):
    """Random positions whose density falls with the distance from the centre of k-space.

    The inclusion probability is ``min(1, c * (1 - d)**power)``, where d is the distance from DC (each axis in units of
    its half width) over the largest on the grid and c meets the ratio: the centre is fully acquired as far as the ratio
    allows. ``probabilities`` are these inclusion probabilities; masks with an exact count follow them up to O(1/n).

    Args:
        power: exponent of the polynomial fall-off; 0 is uniform.
        center_fraction: share of all positions always acquired as a central block, the same at every ratio.
        center_share: the same as a share of the acquired positions, so that the block grows with the ratio (LOUPE:
            1/8).
        readout_axis: None for single positions; else the read-out axis, and whole Cartesian lines are drawn.

    Raises:
        ValueError: if ``power`` is negative or not finite, or the centre is out of range; when drawing, if the centre
            holds more positions than the ratio.

    References:
        Lustig, Donoho and Pauly, "Sparse MRI: the application of compressed sensing for rapid MR imaging", MRM 2007
        (polynomial density). There an offset meets the ratio; here a factor, which exists for every ratio and power.

    Example:
        >>> sample = VariableDensity()(0.125, (64, 64))
        >>> sample.ratio, float(sample.probabilities[0, 0, 32, 32])
        (tensor([0.1250]), 1.0)
    """

    @takes(power="scalar", center_fraction="scalar", center_share="scalar")
    def __init__(
        self,
        power: float = 8.0,
        center_fraction: float = 0.0,
        center_share: float = 0.0,
        readout_axis: int | None = None,
    ) -> None:
        super().__init__(readout_axis)
        if not 0 <= power < math.inf:
            raise ValueError(f"power must be a finite number >= 0, got {power}.")
        check_centre(center_fraction, center_share)
        self.power = float(power)
        self.center_fraction = float(center_fraction)
        self.center_share = float(center_share)

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        count = position_count(ratio, math.prod(positions))
        law = (self.power, self.center_fraction, self.center_share, positions)
        if count.numel() == 1 and count.device.type == "cpu":
            p = _remembered_probabilities(*law, int(count)).clone()
        else:
            p = _inclusion_probabilities(*law, count)
        mask = draw_exactly(p, count, generator)
        return mask.reshape(-1, 1, *positions), p.reshape(-1, 1, *positions)


def _inclusion_probabilities(
    power: float, center_fraction: float, center_share: float, positions: tuple[int, ...], count: Tensor
) -> Tensor:
    """Inclusion probabilities of every position, shape (batch, n), for counts of shape (batch,)."""
    distance = centre_distance(positions, count.device)
    fall_off = (1 - distance / distance.max().clamp_min(1e-6)).double() ** power
    weight = fall_off.clamp_min(_SMALLEST_WEIGHT).expand(count.numel(), -1)
    if center_fraction or center_share:
        block = centre_block(positions, count, center_fraction, center_share)
        weight = torch.where(block, torch.full_like(weight, math.inf), weight)
    return scale_to_count(weight, count)


@lru_cache(maxsize=16)
def _remembered_probabilities(
    power: float, center_fraction: float, center_share: float, positions: tuple[int, ...], count: int
) -> Tensor:
    """The same for one count on the CPU; remembered, because a data pipeline asks for one mask after the other."""
    return _inclusion_probabilities(power, center_fraction, center_share, positions, torch.tensor([count]))
