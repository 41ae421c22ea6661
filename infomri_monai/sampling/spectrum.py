"""Top-k sampling of a k-space spectrum."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.sampling.draw import position_count, top_count
from infomri_monai.sampling.policy import SamplingPolicy, interpolate_positions

__all__ = ["Spectrum"]


class Spectrum(SamplingPolicy):
    """The positions (or lines) where the mean k-space magnitude of a data set is largest. Nothing is random.

    ``probabilities`` are the mask itself.

    Args:
        magnitude: mean k-space magnitude, non-negative, shape ``grid`` with DC at ``n // 2``; for example
            ``KSpaceStatistics.mean_magnitude``.
        readout_axis: None for single positions; else the read-out axis, and lines are ranked by their mean energy.

    Raises:
        ValueError: if ``magnitude`` is complex, negative, not finite or has no axes.

    Example:
        >>> import torch
        >>> Spectrum(torch.tensor([[1.0, 5.0], [2.0, 0.0]]))(0.5, (2, 2)).mask
        tensor([[[[0., 1.],
                  [1., 0.]]]])
    """

    magnitude: Tensor

    @takes(magnitude="real")
    def __init__(self, magnitude: Tensor, readout_axis: int | None = None) -> None:
        super().__init__(readout_axis)
        magnitude = torch.as_tensor(magnitude)
        if magnitude.is_complex() or magnitude.ndim == 0:
            raise ValueError(
                f"magnitude must be real, one axis per spatial axis, got {magnitude.dtype} {tuple(magnitude.shape)}."
            )
        if not bool(torch.isfinite(magnitude).all()) or bool((magnitude < 0).any()):
            raise ValueError("magnitude must be finite and non-negative.")
        self.grid = tuple(magnitude.shape)
        self.position_shape(self.grid)
        self.register_buffer("magnitude", magnitude.detach().to(torch.float32))

    def regrid(self, shape: tuple[int, ...]) -> Spectrum:
        """Interpolate the magnitude to another grid (see :meth:`for_grid`)."""
        return Spectrum(interpolate_positions(self.magnitude, shape), self.readout_axis).train(self.training)

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Choose masks; see :meth:`SamplingPolicy.draw`."""
        ratio = ratio.to(self.magnitude.device)
        energy = self.magnitude.square()
        if self.readout_axis is not None:
            energy = energy.mean(self.readout_axis, keepdim=True)
        count = position_count(ratio, math.prod(positions))
        mask = top_count(energy.flatten().expand(count.numel(), -1), count).to(torch.float32)
        mask = mask.reshape(-1, 1, *positions)
        return mask, mask.clone()
