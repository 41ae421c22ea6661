"""What the learned policies share: a trained grid, probabilities that depend on the ratio, and draws within a tolerance of it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from infomri_monai.sampling.draw import sample_within_tolerance
from infomri_monai.sampling.policy import SamplingPolicy, check_ratio_range, interpolate_positions

__all__ = ["LearnedPolicy"]


class LearnedPolicy(SamplingPolicy):
    """Probabilities learned for a grid, drawn by Algorithm 1, steps 3 to 10.

    Subclasses implement :meth:`probabilities` and :meth:`position_parameters`, of which there is at least one. Their constructors
    explain the arguments, which are kept as attributes.

    Raises:
        ValueError: if the grid is empty, ``logit_slope`` is not positive or ``ratio_range`` is not 0 < low <= high <= 1.
    """

    grid: tuple[int, ...]

    def __init__(
        self,
        grid: Sequence[int],
        readout_axis: int | None,
        logit_slope: float,
        tolerance: float,
        proposals: int,
        gradient_slope: float | None,
        seed: int,
        ratio_range: Sequence[float] | None,
    ) -> None:
        super().__init__(readout_axis)
        if not 0 < logit_slope < math.inf:
            raise ValueError(f"logit_slope must be a finite number > 0, got {logit_slope}.")
        if ratio_range is not None:
            self.ratio_range = check_ratio_range(ratio_range, "ratio_range")
        self.grid = tuple(int(n) for n in grid)
        self.logit_slope, self.gradient_slope = logit_slope, gradient_slope
        self.tolerance, self.proposals, self.seed = tolerance, proposals, seed

    def start(self, channels: int, generator: torch.Generator) -> nn.Parameter:
        """Logits of U(0.01, 0.99) probabilities, the field's start (LOUPE, SeqMRI), shape (1, channels, *positions)."""
        uniform = torch.rand((1, channels, *self.position_shape(self.grid)), generator=generator)
        return nn.Parameter(torch.logit(uniform * 0.98 + 0.01) / self.logit_slope)

    @abstractmethod
    def probabilities(self, ratio: Tensor) -> Tensor:
        """Probabilities with mean ``ratio``, shape (batch, 1, *positions), for ratios of shape (batch,); differentiable."""

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        ratio = ratio.to(self.position_parameters()[0].device)
        p = self._known(ratio)
        mask = sample_within_tolerance(p, ratio, self.tolerance, self.proposals, self.gradient_slope, generator)
        return mask, p

    def _known(self, ratio: Tensor) -> Tensor:
        """Probabilities, computed once for every ratio while the policy is :meth:`unchanged`."""
        if self.shared is None or torch.is_grad_enabled():
            return self.probabilities(ratio)
        key = tuple(ratio.tolist())
        if key not in self.shared:
            self.shared[key] = self.probabilities(ratio)
        return self.shared[key]

    @torch.no_grad()
    def regrid(self, shape: tuple[int, ...]) -> SamplingPolicy:
        """Interpolate what belongs to positions to another grid; the rest is copied (see :meth:`for_grid`)."""
        own = self.position_parameters()
        policy = type(self)(**{**self.config(), "grid": list(shape)}).to(own[0]).train(self.training)
        for new, old in zip(policy.parameters(), self.parameters(), strict=True):
            of_positions = any(old is one for one in own)
            new.copy_(interpolate_positions(old, self.position_shape(shape)) if of_positions else old)
        return policy
