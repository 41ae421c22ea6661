"""Which axis is which: what certainly is no (channel, *spatial[, slice]) is refused, what hardly can be is said."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from monai.utils import MetaKeys
from torch import Tensor

__all__ = ["check_axes", "likely_slice_axis", "spacing_of"]

_CONVENTION = "the channel comes first and slices come last, and there is no batch axis"
_THIN = 3  # an axis of slices has so many times fewer positions than the two of its images,
_IMAGE = 32  # which have at least so many pixels each
_THICK = 2  # or its steps are so many times longer than pixels


def check_axes(data: Tensor, name: str, spatial_dims: int) -> None:
    """Refuse data whose axes certainly are not (channel, *spatial[, slice]); warn where they hardly can be.

    Refused: a batch of MONAI's loader; images without a channel axis, or with another one than the first, as a MetaTensor's
    metadata say; images of one pixel's width with several slices, as a batch (8, 1, 96, 80) reads; (96, 80, 1), whose channel is
    last. A warning: slices that lie along an axis of the images, by :func:`likely_slice_axis`; (96, 80, 3).

    Args:
        data: checked number of axes.
        name: what it is, for messages.
        spatial_dims: number of axes of one image.

    Raises:
        ValueError: if the axes are certainly others.

    Example:
        >>> check_axes(torch.zeros(8, 1, 96, 80), "image", 2)
        Traceback (most recent call last):
        ValueError: image of shape (8, 1, 96, 80) is read as 8 channels of 80 slices of (1, 96), one pixel wide; the channel comes
        first and slices come last, and there is no batch axis: is the first axis a batch? Take one element of it (array[0]).
    """
    shape = tuple(data.shape)
    grid, slices = shape[1 : 1 + spatial_dims], math.prod(shape[1 + spatial_dims :])
    said = f"{name} of shape {shape} is read as {shape[0]} channels of {f'{slices} slices of ' if slices > 1 else ''}{grid}"
    if isinstance(data, MetaTensor):
        _check_metadata(data, said)
    if slices > 1 and min(grid) == 1:
        advice = "is the first axis a batch? Take one element of it (array[0])."
        raise ValueError(f"{said}, one pixel wide; {_CONVENTION}: {advice}")
    near = min(shape[:2]) >= 16 and max(shape[:2]) <= 2 * min(shape[:2])
    if near and len(shape) == 3 == spatial_dims + 1 and grid[1] <= 4:
        told = (
            f"{said}; {_CONVENTION}: is the last axis that of channels? EnsureChannelFirst or movedim(-1, 0) moves it"
        )
        if grid[1] == 1:
            raise ValueError(f"{told}; single lines have spatial_dims=1.")
        warnings.warn(f"{told}.", UserWarning, stacklevel=4)
    axis = likely_slice_axis(shape[1:], spacing_of(data)) if len(shape) == 4 and spatial_dims == 2 else None
    if axis in (0, 1):
        moved = axis + 1
        advice = f"do slices lie along axis {moved}? movedim({moved}, -1) puts them last"
        warnings.warn(f"{said}; {_CONVENTION}: {advice}.", UserWarning, stacklevel=4)


def likely_slice_axis(shape: Sequence[int], spacing: Sequence[float] | None = None) -> int | None:
    """The axis of a volume along which its slices lie, where that is next to certain.

    It has fewer positions than the others, and either steps twice as long as theirs, or (unknown or equal steps) a third of their
    positions at most, of 32 or more.

    Args:
        shape: of the volume, three axes.
        spacing: length of a step along each axis; None if unknown.

    Returns:
        The axis, or None: most volumes do not tell.

    Example:
        >>> likely_slice_axis((20, 256, 208)), likely_slice_axis((60, 128, 128), (3, 1, 1)), likely_slice_axis((176, 256, 256))
        (0, 0, None)
    """
    axis = min(range(3), key=lambda a: shape[a])
    others = [a for a in range(3) if a != axis]
    if spacing is not None and max(spacing) >= _THICK * min(spacing):
        thick = spacing[axis] >= _THICK * max(spacing[a] for a in others)
        return axis if thick and shape[axis] < min(shape[a] for a in others) else None
    return axis if min(shape[a] for a in others) >= max(_IMAGE, _THIN * shape[axis]) else None


def spacing_of(data: Tensor) -> list[float] | None:
    """Lengths of the steps along three axes by a MetaTensor's affine; None of what has none."""
    affine = getattr(data, "affine", None)
    if affine is None or affine.shape[-1] != 4 or affine.ndim != 2:
        return None
    spacing = torch.linalg.vector_norm(torch.as_tensor(affine)[:3, :3].double(), dim=0).tolist()
    return spacing if min(spacing) > 0 else None


def _check_metadata(data: MetaTensor, said: str) -> None:
    """What the loader and the reader wrote down is certain."""
    if data.is_batch:
        raise ValueError(
            f"{said}, but is a batch of a data loader; {_CONVENTION}: decollate_batch, or take one element."
        )
    channel, spatial = data.meta.get(MetaKeys.ORIGINAL_CHANNEL_DIM), data.meta.get(MetaKeys.SPATIAL_SHAPE)
    if channel is None or spatial is None:
        return
    shape, read = tuple(data.shape), tuple(int(n) for n in spatial)
    if isinstance(channel, str) or math.isnan(float(channel)):
        last = shape == read
    else:
        axis = int(channel) % len(shape)
        last = axis > 0 and shape[:axis] + shape[axis + 1 :] == read != shape[1:]
    if last:
        raise ValueError(
            f"{said}, but its metadata say that it was read with the spatial axes {read} and no channel axis was put first; "
            "EnsureChannelFirst does."
        )
