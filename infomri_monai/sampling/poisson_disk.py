"""Variable-density Poisson-disk sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.sampling.draw import centre_distance, position_count, scale_to_count, uniform_deviates
from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["PoissonDisk"]


class PoissonDisk(SamplingPolicy):
    """Random positions that keep a distance from one another which grows from the centre of k-space outwards.

    Darts are thrown at all positions in random order, DC first; a dart sticks unless it lies inside the disc of an
    earlier one. The disc at distance d from DC has the radius ``scale * (1 + slope * d) + v`` positions, with d as in
    :func:`~infomri_monai.sampling.draw.centre_distance` and v ~ U(-1/2, 1/2) drawn for every position, which smooths
    the steps that a hard radius makes on a grid. ``scale`` is the largest that still fits the wanted count, and
    throwing stops when the count is reached: the ratio is exact, no corner is cropped, and no position is added against
    the law. On non-square grids discs have the grid's proportions. Discs wrap around the edges, as discrete k-space
    does, so that no darts crowd there.

    ``probabilities`` are the law's density at each radius, measured once for discs of one size and scaled to the mean
    ``ratio``; the inclusion probabilities have no closed form and follow it approximately (within 0.03 on average); DC
    is always acquired.

    Needs numba (extra ``poisson``).

    Args:
        slope: growth of the radius from DC to the edge of an axis; the density falls by about ``(1 + slope)**2``.
        readout_axis: None for a 2D grid; for a 3D grid the read-out axis, and discs lie in the plane of the other two.

    Raises:
        ValueError: if ``slope`` is negative or not finite; when drawing, if the positions do not form a plane.
        OptionalImportError: when drawing without numba.

    References:
        Bridson, "Fast Poisson disk sampling in arbitrary dimensions", SIGGRAPH sketches 2007; Lustig, Alley,
        Vasanawala, Donoho and Pauly, "L1 SPIR-iT: autocalibrating parallel imaging compressed sensing", ISMRM 2009
        (variable density).

    Example:
        >>> import torch
        >>> sample = PoissonDisk()([0.1, 0.25], (40, 50), torch.Generator().manual_seed(0))
        >>> sample.mask.sum((1, 2, 3))
        tensor([200., 500.])
    """

    @takes(slope="scalar")
    def __init__(self, slope: float = 60.0, readout_axis: int | None = None) -> None:
        super().__init__(readout_axis)
        if not 0 <= slope < math.inf:
            raise ValueError(f"slope must be a finite number >= 0, got {slope}.")
        self.slope = float(slope)

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        from infomri_monai.sampling.darts import largest_scale  # numba is optional and slow to import

        plane = tuple(n for axis, n in enumerate(positions) if axis != self.readout_axis)
        if len(plane) != 2:
            raise ValueError(f"shape must leave a plane of 2 axes besides the read-out axis, got {len(plane)} axes.")
        n = math.prod(plane)
        dc = plane[0] // 2 * plane[1] + plane[1] // 2
        count = position_count(ratio, n)
        growth = 1 + self.slope * centre_distance(plane)
        smooth = uniform_deviates((count.numel(), n), torch.device("cpu"), generator) - 0.5
        order = _random_order(count.numel(), n, dc, generator)
        mask, scale = torch.empty((count.numel(), n), dtype=torch.bool), torch.empty(count.numel())
        for i, k in enumerate(count.tolist()):
            scale[i] = largest_scale(order[i].numpy(), growth.numpy(), smooth[i].numpy(), plane, k, mask[i].numpy())
        density = _jammed_density(scale.unsqueeze(1) * growth, plane)
        density[:, dc] = math.inf
        p = scale_to_count(density, count.cpu())
        shape = (-1, 1, *positions)
        return mask.to(ratio.device, torch.float32).reshape(shape), p.to(ratio.device).reshape(shape)


def _random_order(batch: int, n: int, first: int, generator: torch.Generator | None) -> Tensor:
    """Random orders of all positions that begin with position ``first``, shape (batch, n)."""
    device = torch.device("cpu") if generator is None else generator.device
    orders = [torch.randperm(n, generator=generator, device=device, dtype=torch.int32).cpu() for _ in range(batch)]
    for order in orders:
        where = int((order == first).nonzero())
        order[where], order[0] = order[0].item(), first
    return torch.stack(orders)


def _jammed_density(radius: Tensor, plane: tuple[int, int]) -> Tensor:
    """Share of positions where darts stick when all discs have this radius (in positions of the longer axis).

    1 up to half a position, 0.65 / radius^2 for large discs (random sequential adsorption: 0.547 * 4 / pi = 0.70 in the
    continuum); the form between was fitted to throws on a 240 x 240 grid, within 8 %.
    """
    square = radius.double().square() * (plane[0] * plane[1] / max(plane) ** 2)
    return 1 / (1 + 1.55 * (square - 0.25).clamp_min(0))
