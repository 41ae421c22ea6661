"""What streaming over a data set needs: batches that are quick to work on and the moments of one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from infomri_monai.acquisition.symmetry import conjugate_partner

__all__ = ["batch_moments", "gather_batches", "half_kspace", "whole_moments"]

#: values of a batch that images are gathered into: the cost of merging a batch does not depend on its size
_BATCH = 1 << 19
#: values worked on at a time: what is done to them in several steps stays in the processor's cache
_TILE = 1 << 17


def gather_batches(images: Iterable[Tensor], spatial_dims: int) -> Iterator[Tensor]:
    """Gather images into batches, in their order.

    Args:
        images: each (1, *grid) or a batch (batch, 1, *grid).
        spatial_dims: number of spatial axes.

    Yields:
        Batches (batch, 1, *grid) of one shape and type each.

    Raises:
        ValueError: if an image has another number of axes.

    Example:
        >>> [batch.shape[0] for batch in gather_batches([torch.ones(1, 4, 4), torch.ones(2, 1, 4, 4)], 2)]
        [3]
    """
    waiting: list[Tensor] = []
    values = 0
    for image in images:
        if image.ndim not in (spatial_dims + 1, spatial_dims + 2):
            raise ValueError(
                f"images must have shape (1, *grid) or (batch, 1, *grid) with {spatial_dims} spatial axes, "
                f"got {tuple(image.shape)}."
            )
        batch = image if image.ndim == spatial_dims + 2 else image.unsqueeze(0)
        different = waiting and (batch.shape[1:], batch.dtype) != (waiting[0].shape[1:], waiting[0].dtype)
        if different or values >= _BATCH:
            yield torch.cat(waiting)
            waiting, values = [], 0
        waiting.append(batch)
        values += batch.numel()
    if waiting:
        yield torch.cat(waiting)


def batch_moments(samples: Tensor) -> Tensor:
    """Moments of one batch at every position, computed in float64.

    Args:
        samples: complex, shape (batch, *grid).

    Returns:
        float64, shape (5, *grid): mean of the real and of the imaginary part, their sums of squared deviations from it, mean
        magnitude. NaN or Inf at a position where a sample is.

    Example:
        >>> batch_moments(torch.tensor([[1 + 1j], [3 + 1j]]))[:4, 0]
        tensor([2., 1., 2., 0.], dtype=torch.float64)
    """
    flat = samples.reshape(samples.shape[0], -1)
    moments = torch.empty((5, flat.shape[1]), dtype=torch.float64)
    width = max(1, _TILE // samples.shape[0])
    for tile, out in zip(flat.split(width, dim=1), moments.split(width, dim=1), strict=True):
        parts = tile.real.to(torch.float64), tile.imag.to(torch.float64)
        out[4] = torch.addcmul(parts[0].square(), parts[1], parts[1]).sqrt_().mean(0)
        for row, part in enumerate(parts):
            torch.mean(part, 0, out=out[row])
            out[row + 2] = (part - out[row]).square_().sum(0)
    return moments.reshape(5, *samples.shape[1:])


def half_kspace(images: Tensor) -> Tensor:
    """The half of k-space that determines the other half, for real images (equation 29).

    Args:
        images: real, shape (batch, *grid).

    Returns:
        Complex, centred except for the last axis, which holds frequencies 0 to n // 2; shape (batch, *grid[:-1], n // 2 + 1).

    Example:
        >>> half_kspace(torch.ones(1, 4, 4))[0, 2]
        tensor([4.+0.j, 0.+0.j, 0.+0.j])
    """
    axes = list(range(1, images.ndim))
    half = torch.fft.rfftn(torch.fft.ifftshift(images, axes), dim=axes, norm="ortho")
    return torch.fft.fftshift(half, axes[:-1]) if len(axes) > 1 else half


def whole_moments(moments: Tensor, n: int) -> Tensor:
    """Moments of centred k-space from those of :func:`half_kspace`.

    Args:
        moments: as :func:`batch_moments` returns them, shape (5, *grid[:-1], n // 2 + 1).
        n: size of the last axis of the grid.

    Returns:
        Shape (5, *grid).

    Example:
        >>> whole_moments(batch_moments(half_kspace(torch.ones(2, 4, 4))), 4)[0, 2]
        tensor([0., 0., 4., 0.], dtype=torch.float64)
    """
    others = moments.ndim - 2
    # the partner over all axes but the last, whose frequencies are reversed by the flip
    partner = conjugate_partner(moments.movedim(-1, 1), others).movedim(1, -1) if others else moments
    negative = partner[..., 1 : n // 2 + 1].flip(-1)
    negative[1].neg_()  # of the conjugate the mean of the imaginary part changes sign, and nothing else
    return torch.cat([negative, moments[..., : n - n // 2]], -1)
