"""Equally spaced Cartesian lines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.sampling.draw import centre_block, check_centre, position_count, uniform_deviates
from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["Equispaced"]


class Equispaced(SamplingPolicy):
    """Cartesian lines as evenly spaced as the ratio allows, with a random offset and an optional centre.

    Line i is taken where ``floor((i + 1) * a + u)`` exceeds ``floor(i * a + u)``, for the share a of the lines still to
    be chosen outside the centre and one u ~ U(0, 1) per mask. Spacings differ by at most one line, and the count is
    exact for every acceleration, whole or not. ``probabilities`` are exact: 1 in the centre, a elsewhere.

    Args:
        readout_axis: the read-out axis of a 2D grid.
        center_fraction: share of all lines always acquired around DC, the same at every ratio.
        center_share: the same as a share of the acquired lines, so that the centre grows with the ratio. fastMRI's
            convention (8 % at 4x, 4 % at 8x) is 0.32; the default 0 has no centre (and then often misses DC).

    Raises:
        ValueError: if ``readout_axis`` is None or the centre is out of range; when drawing, if the grid is not 2D or
            the centre holds more lines than the ratio.

    References:
        Zbontar et al., "fastMRI: an open dataset and benchmarks for accelerated MRI", 2018.

    Example:
        >>> sample = Equispaced(readout_axis=0)(0.3, (8, 10))
        >>> sample.mask.shape, float(sample.mask.sum())
        (torch.Size([1, 1, 1, 10]), 3.0)
    """

    @takes(center_fraction="scalar", center_share="scalar")
    def __init__(self, readout_axis: int = 0, center_fraction: float = 0.0, center_share: float = 0.0) -> None:
        if readout_axis is None:
            raise ValueError("readout_axis must be a spatial axis: equispaced sampling chooses whole lines, got None.")
        super().__init__(readout_axis)
        check_centre(center_fraction, center_share)
        self.center_fraction = float(center_fraction)
        self.center_share = float(center_share)

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        if len(positions) != 2:
            raise ValueError(f"shape must have 2 axes for equispaced lines, got {len(positions)}.")
        count = position_count(ratio, math.prod(positions))
        block = centre_block(positions, count, self.center_fraction, self.center_share)
        outside = (~block).to(torch.float64)
        total = outside.sum(1, keepdim=True)
        share = (count.unsqueeze(1) - block.sum(1, keepdim=True)) / total.clamp_min(1)
        offset = uniform_deviates((count.numel(), 1), ratio.device, generator).double()
        index = outside.cumsum(1)  # of each outside line among the outside lines, from 1
        # the offset is kept off 1 so that rounding cannot reach the next integer
        after = torch.floor((index * share).round(decimals=9) + offset.clamp_max(1 - 1e-6))
        before = torch.nn.functional.pad(after, (1, 0))[:, :-1]
        mask = torch.where(block, torch.ones_like(after), (after > before) * outside).to(torch.float32)
        p = torch.where(block, torch.ones_like(after), share).to(torch.float32)
        return mask.reshape(-1, 1, *positions), p.reshape(-1, 1, *positions)
