"""Conjugate symmetry of k-space: partner positions, redundant sets and the redundancy ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from infomri_monai.arrays import as_tensor, as_whole, takes

__all__ = ["conjugate_partner", "hermitian_completion", "redundancy_ratio", "split_by_symmetry"]


def conjugate_partner(data: Tensor, spatial_dims: int = 2) -> Tensor:
    """Value at the point-reflected position -k of every position k of a *centred* grid.

    With DC at ``n // 2`` the partner of index i is ``2 * (n // 2) - i`` modulo n: a flip, followed by a shift of one on
    even axes (decision 16). Axes of size 1 (a read-out axis that broadcasts) are their own partner.

    Args:
        data: any tensor, shape (..., *spatial).
        spatial_dims: number of trailing spatial axes.

    Returns:
        Tensor of the same shape.

    Example:
        >>> import torch
        >>> conjugate_partner(torch.arange(4), spatial_dims=1)  # DC at index 2, Nyquist at index 0
        tensor([0, 3, 2, 1])
    """
    if not torch.jit.is_scripting():
        data, spatial_dims = as_tensor(data, "data"), as_whole(spatial_dims, "spatial_dims")
    # plain loops, because TorchScript has no comprehension with a condition; an axis of size 1 is unchanged by both steps
    axes = [axis - spatial_dims for axis in range(spatial_dims)]
    shifts = [1 - data.shape[axis] % 2 for axis in axes]
    return torch.roll(torch.flip(data, axes), shifts, axes)


def _has_partner(data: Tensor, spatial_dims: int) -> Tensor:
    """Booleans on the grid of ``data``: False where a position is its own partner (DC, Nyquist)."""
    grid = data.shape[data.dim() - spatial_dims :]
    count = 1
    for n in grid:
        count *= n
    index = torch.arange(count, device=data.device).reshape(grid)
    return conjugate_partner(index, spatial_dims) != index


@takes(mask="mask", spatial_dims="whole")
def split_by_symmetry(mask: Tensor, spatial_dims: int = 2) -> tuple[Tensor, Tensor]:
    """Split a mask into S1 (position and partner both sampled) and S2 (only the position), as in equation (32).

    Self-conjugate positions (DC, Nyquist) carry nothing twice and are counted in S2 (decision 16).

    Args:
        mask: 0/1, shape (..., *spatial).
        spatial_dims: number of trailing spatial axes.

    Returns:
        Two masks of the same shape, floats; their sum is ``mask``.

    Example:
        >>> import torch
        >>> s1, s2 = split_by_symmetry(torch.tensor([0., 1., 1., 1.]), spatial_dims=1)
        >>> s1, s2
        (tensor([0., 1., 0., 1.]), tensor([0., 0., 1., 0.]))
    """
    paired = _has_partner(mask, spatial_dims).to(mask.dtype)
    symmetric = mask * conjugate_partner(mask, spatial_dims) * paired
    return symmetric, mask - symmetric


@takes(mask="mask", spatial_dims="whole")
def redundancy_ratio(mask: Tensor, spatial_dims: int = 2) -> Tensor:
    """Share of the sampled positions whose conjugate partner is sampled too (equation 43).

    Args:
        mask: 0/1, shape (..., *spatial); leading axes are kept.
        spatial_dims: number of trailing spatial axes.

    Returns:
        Ratio in [0, 1] per mask, shape of the leading axes; 0 for an empty mask. A Bernoulli(s) mask has about s.

    Example:
        >>> import torch
        >>> redundancy_ratio(torch.tensor([0., 1., 1., 1.]), spatial_dims=1)
        tensor(0.6667)
    """
    symmetric, single = split_by_symmetry(mask, spatial_dims)
    axes = tuple(range(-spatial_dims, 0))
    pairs, singles = symmetric.sum(axes), single.sum(axes)
    return pairs / (pairs + singles).clamp_min(1)


@takes(kspace="complex", mask="mask", spatial_dims="whole")
def hermitian_completion(kspace: Tensor, mask: Tensor, spatial_dims: int = 2) -> tuple[Tensor, Tensor]:
    """Fill the partner of every measured position, as is exact for a real-valued image (equation 29).

    Args:
        kspace: complex, zero where not measured, shape (..., *spatial).
        mask: 0/1, broadcasts to ``kspace``; full size along every axis of ``kspace``.
        spatial_dims: number of trailing spatial axes.

    Returns:
        Completed k-space and its mask. Where both partners were measured their mean is taken.

    Example:
        >>> import torch
        >>> y, m = hermitian_completion(torch.tensor([0, 2j, 5, 0]), torch.tensor([0., 1, 1, 0]), spatial_dims=1)
        >>> y, m
        (tensor([0.+0.j, 0.+2.j, 5.+0.j, 0.-2.j]), tensor([0., 1., 1., 1.]))
    """
    completed, known = fill_partners(kspace, mask, spatial_dims)
    return completed + 0, known  # +0 where nothing is known, whatever zeros came in


def fill_partners(kspace: Tensor, mask: Tensor, spatial_dims: int = 2) -> tuple[Tensor, Tensor]:
    """:func:`hermitian_completion` without the checks, for networks, which are scripted and traced."""
    partner_mask = conjugate_partner(mask, spatial_dims)
    # no factor of mask here: kspace holds it already, and a second one would hide unsampled positions from its gradient
    total = kspace + conjugate_partner(kspace, spatial_dims).conj()
    paired = _has_partner(mask, spatial_dims)
    # written so that the derivative to a 0/1 mask is the effect of a sample, whether it or its partner is measured or not
    both = mask * partner_mask
    terms = torch.where(paired, 1 + both, torch.full_like(mask, 2.0))
    return total / terms, torch.where(paired, mask + partner_mask - both, mask)
