"""Uniform random sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infomri_monai.sampling.draw import draw_exactly, position_count
from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["UniformRandom"]


class UniformRandom(SamplingPolicy):
    """Every set of ``round(ratio * n)`` positions is equally likely.

    ``probabilities`` are the exact inclusion probabilities, ``round(ratio * n) / n`` everywhere.

    Args:
        readout_axis: None for single positions; else the read-out axis, and whole Cartesian lines are drawn.

    Example:
        >>> sample = UniformRandom(readout_axis=0)([0.25, 0.5], (64, 64))
        >>> sample.mask.shape, sample.ratio
        (torch.Size([2, 1, 1, 64]), tensor([0.2500, 0.5000]))
    """

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        n = math.prod(positions)
        count = position_count(ratio, n)
        p = (count / n).unsqueeze(1).expand(-1, n)
        mask = draw_exactly(p, count, generator)
        return mask.reshape(-1, 1, *positions), p.reshape(-1, 1, *positions)
