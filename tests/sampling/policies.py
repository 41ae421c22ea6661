"""Every sampling policy once, for the property tests that all of them must pass. A new policy joins by being listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from infomri_monai.sampling import (
    LOUPE,
    Equispaced,
    PatternGenerationNetwork,
    PoissonDisk,
    Radial,
    SamplingPolicy,
    Spectrum,
    UniformRandom,
    VariableDensity,
)
from infomri_monai.sampling.draw import centre_distance


class Case(NamedTuple):
    """A policy and what its law promises.

    Attributes:
        make: builds the policy for a grid.
        bias: largest mean |inclusion frequency - probability| that its documentation allows; None where nothing is random.
        approximate: the law has no closed form, so that not even p = 1 is a promise.
        exact: the count is exactly ``round(ratio * n)``; else the ratio is within the policy's tolerance.
    """

    make: Callable[[Sequence[int]], SamplingPolicy]
    bias: float | None
    exact: bool = True
    approximate: bool = False


def magnitude(grid: Sequence[int]) -> torch.Tensor:
    """A smooth spectrum with its peak at DC and no ties."""
    distance = centre_distance(grid).reshape(tuple(grid))
    tilt = torch.arange(distance.numel()).reshape(distance.shape) * 1e-7
    return torch.exp(-4 * distance) + tilt


CASES: dict[str, Case] = {
    "uniform_2d": Case(lambda grid: UniformRandom(), 0.005),
    "uniform_1d": Case(lambda grid: UniformRandom(readout_axis=0), 0.01),
    "variable_density_2d": Case(lambda grid: VariableDensity(), 0.005),
    "variable_density_1d": Case(lambda grid: VariableDensity(power=3, readout_axis=1), 0.02),
    "variable_density_centre": Case(lambda grid: VariableDensity(power=2, center_share=0.3), 0.005),
    "poisson_disk": Case(lambda grid: PoissonDisk(), 0.03, approximate=True),
    "poisson_disk_even": Case(lambda grid: PoissonDisk(slope=0), 0.03, approximate=True),
    "equispaced_1d": Case(lambda grid: Equispaced(readout_axis=0), 0.01),
    "equispaced_centre": Case(lambda grid: Equispaced(readout_axis=1, center_share=0.32), 0.01),
    "radial": Case(lambda grid: Radial(), 0.1, approximate=True),
    "spectrum_2d": Case(lambda grid: Spectrum(magnitude(grid)), None),
    "spectrum_1d": Case(lambda grid: Spectrum(magnitude(grid), readout_axis=0), None),
    "loupe_2d": Case(lambda grid: LOUPE(grid).requires_grad_(False), 0.005, exact=False),
    "loupe_1d": Case(lambda grid: LOUPE(grid, readout_axis=1).requires_grad_(False), 0.02, exact=False),
    "pgn_2d": Case(lambda grid: PatternGenerationNetwork(grid).requires_grad_(False), 0.005, exact=False),
    "pgn_1d": Case(
        lambda grid: PatternGenerationNetwork(grid, readout_axis=0, rescale="scale").requires_grad_(False),
        0.02,
        exact=False,
    ),
}
