"""LOUPE: one free logit per position, learned for one sampling ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infomri_monai.sampling.draw import rescale_probabilities, sample_within_tolerance
from infomri_monai.sampling.policy import SamplingPolicy, check_ratio_range, interpolate_positions

__all__ = ["LOUPE"]


class LOUPE(SamplingPolicy):
    """Independent probabilities sigmoid(slope * w), one w per position (or line), rescaled to the ratio (equation 17).

    The paper's comparator in its hard form: the mask is a Bernoulli draw with the straight-through gradient of decision 8, as
    in the PyTorch port, not the relaxed mask of the original. It is meant to be trained for one ratio; another one is met by the
    rescaling.

    Args:
        grid: spatial grid, e.g. ``(128, 128)``.
        readout_axis: None for single positions; else the read-out axis, and whole Cartesian lines are drawn.
        logit_slope: steepness of the sigmoid.
        tolerance: largest accepted difference of realised and wanted ratio (13).
        proposals: parallel proposals of the bounded rejection.
        gradient_slope: steepness of the straight-through gradient.
        seed: seed of the start, logits of U(0.01, 0.99).
        ratio_range: lowest and highest ratio of the training, kept with the policy.

    Raises:
        ValueError: if the grid is empty, ``logit_slope`` is not positive or ``ratio_range`` is not 0 < low <= high <= 1.

    References:
        Bahadir, Wang, Dalca and Sabuncu, "Deep-learning-based optimization of the under-sampling pattern in MRI", IEEE TCI 2020.
        Yin et al., "End-to-end sequential sampling and reconstruction for MRI", 2021 (the straight-through form).

    Example:
        >>> import torch
        >>> sample = LOUPE((32, 32))(0.25, (32, 32), torch.Generator().manual_seed(0))
        >>> sample.mask.shape, round(float(sample.ratio), 2)
        (torch.Size([1, 1, 32, 32]), 0.25)
    """

    def __init__(
        self,
        grid: Sequence[int],
        readout_axis: int | None = None,
        logit_slope: float = 5.0,
        tolerance: float = 1e-3,
        proposals: int = 4,
        gradient_slope: float = 10.0,
        seed: int = 0,
        ratio_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__(readout_axis)
        if not 0 < logit_slope < math.inf:
            raise ValueError(f"logit_slope must be a finite number > 0, got {logit_slope}.")
        if ratio_range is not None:
            self.ratio_range = check_ratio_range(ratio_range, "ratio_range")
        self.grid = tuple(int(n) for n in grid)
        self.logit_slope = logit_slope
        self.tolerance = tolerance
        self.proposals = proposals
        self.gradient_slope = gradient_slope
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        start = torch.rand((1, 1, *self.position_shape(self.grid)), generator=generator) * 0.98 + 0.01
        self.weight = nn.Parameter(torch.logit(start) / logit_slope)

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "grid": list(self.grid or ()),
            "readout_axis": self.readout_axis,
            "logit_slope": self.logit_slope,
            "tolerance": self.tolerance,
            "proposals": self.proposals,
            "gradient_slope": self.gradient_slope,
            "seed": self.seed,
            "ratio_range": None if self.ratio_range is None else list(self.ratio_range),
        }

    def position_parameters(self) -> list[nn.Parameter]:
        """The logits."""
        return [self.weight]

    @torch.no_grad()
    def regrid(self, shape: tuple[int, ...]) -> LOUPE:
        """Interpolate the logits to another grid (see :meth:`for_grid`)."""
        policy = LOUPE(**{**self.config(), "grid": list(shape)}).to(self.weight).train(self.training)
        policy.weight.copy_(interpolate_positions(self.weight, policy.weight.shape[2:]))
        return policy

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        ratio = ratio.to(self.weight.device)
        with torch.autocast(self.weight.device.type, enabled=False):  # bfloat16 ties neighbouring logits
            p = torch.sigmoid(self.logit_slope * self.weight).expand(ratio.numel(), *[-1] * (self.weight.ndim - 1))
            p = rescale_probabilities(p, ratio)
        mask = sample_within_tolerance(p, ratio, self.tolerance, self.proposals, self.gradient_slope, generator)
        return mask, p
