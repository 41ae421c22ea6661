"""What the k-space transforms share: checked tensors in, metadata out, slices, seeds and the names of outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor, get_track_meta
from monai.transforms import MapTransform, Randomizable
from monai.utils import MAX_SEED, MetaKeys, TransformBackends, convert_to_tensor
from torch import Tensor

from infomri_monai import arrays
from infomri_monai.transforms.axes import check_axes


def check_spatial_dims(spatial_dims: int) -> int:
    """Return ``spatial_dims`` if it is 1, 2 or 3, else raise ValueError."""
    number = arrays.as_whole(spatial_dims, "spatial_dims")
    if number not in (1, 2, 3):
        raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims!r}.")
    return number


def checked_tensor(
    data: NdarrayOrTensor, name: str, spatial_dims: int | None = None, kspace: bool = False, is_label: bool = False
) -> Tensor:
    """Convert to a floating or complex tensor (a MetaTensor where MONAI tracks metadata) and check it before any work.

    Args:
        data: array, tensor or MetaTensor, shape (channel, *spatial) or, with a last slice axis, (channel, *spatial,
            slice).
        name: what the data is, for error messages.
        spatial_dims: number of axes after the channel that belong to one image; None to leave the number of axes alone.
        kspace: whether the data must be complex.
        is_label: labels of raters, whose axes are not those of images.

    Returns:
        The tensor on its own device; integers, booleans and half precision become float32 (no transform exists for
        them).

    Raises:
        ValueError: if the data is no array, has another number of axes or an empty one, spatial axes that cannot be such,
            holds NaN or Inf, or is real where complex is needed.
    """
    tensor = as_tensor(data, name)
    values = plain(tensor)
    if spatial_dims is not None and values.ndim not in (spatial_dims + 1, spatial_dims + 2):
        raise ValueError(
            f"{name} must have shape (channel, *spatial) with spatial_dims={spatial_dims} spatial axes, optionally "
            f"followed by one slice axis, got {tuple(values.shape)}; EnsureChannelFirst adds a missing channel axis."
        )
    if values.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(values.shape)}.")
    if spatial_dims is not None and not is_label:
        check_axes(tensor, name, spatial_dims)
    if kspace and not values.is_complex():
        raise ValueError(
            f"{name} must be complex k-space, got {values.dtype}; ImageToKSpace makes k-space, and two real channels "
            "(real, imaginary) become complex by torch.complex."
        )
    _check_finite(values, name)
    if values.dtype not in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        tensor = tensor.to(torch.complex64 if values.is_complex() else torch.float32)
    return tensor


def several(values: Any) -> tuple[Any, ...]:
    """The members of a list, tuple or array of one axis; () of anything else, such as one number."""
    return tuple(values) if isinstance(values, (list, tuple)) or getattr(values, "ndim", 0) == 1 else ()


def as_tensor(data: NdarrayOrTensor, name: str) -> Tensor:
    """The data as a tensor (a MetaTensor where MONAI tracks metadata), or ValueError."""
    track_meta, tensor = get_track_meta(), arrays.as_tensor(data, name)
    same = track_meta and isinstance(tensor, MetaTensor)
    return tensor if same else convert_to_tensor(tensor, track_meta=track_meta)


def _check_finite(tensor: Tensor, name: str) -> None:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return
    values = torch.view_as_real(tensor.detach().resolve_conj()) if tensor.is_complex() else tensor.detach()
    low, high = torch.aminmax(values)  # both propagate NaN; many times faster than isfinite().all()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} holds NaN or Inf values.")


def checked_mask(mask: NdarrayOrTensor, kspace: Tensor, channels: int | None = None) -> Tensor:
    """A mask as a plain tensor of the real type and on the device of checked k-space.

    Raises:
        ValueError: unless the mask is a real array of 0 and 1 with as many axes as ``kspace``, each of the same size or of
            size 1, and with ``channels`` channels if that is given.
    """
    tensor = plain(arrays.as_mask(mask)).to(kspace.device)
    pairs = list(zip(tensor.shape, kspace.shape, strict=False))
    if (
        tensor.ndim != kspace.ndim
        or any(m not in (1, n) for m, n in pairs)
        or tensor.shape[0] != (channels or tensor.shape[0])
    ):
        raise ValueError(
            f"mask of shape {tuple(tensor.shape)} does not fit k-space of shape {tuple(kspace.shape)}: each axis must "
            f"have the same size or 1{', the channel axis 1' if channels else ''}."
        )
    return tensor.to(torch.float64 if kspace.dtype == torch.complex128 else torch.float32)


def plain(tensor: Tensor) -> Tensor:
    """The tensor without metadata, sharing memory and gradient; arithmetic on it skips MetaTensor's dispatch."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def with_meta_of(result: Tensor, source: Tensor) -> Tensor:
    """``result`` as a MetaTensor with a copy of its own of the metadata of ``source``, if that has any."""
    if not isinstance(source, MetaTensor):
        return result
    # as_subclass, because the constructor first makes and deep-copies default metadata
    copied = result.as_subclass(MetaTensor).copy_meta_from(source)
    # a header's numbers are arrays without axes, dozens of them, that nobody changes in place
    mutable = {key: v for key, v in source.meta.items() if getattr(v, "ndim", 0) or type(v) in (list, dict)}
    copied.meta.update({key: MetaTensor.copy_items(v) for key, v in mutable.items()})
    copied.applied_operations = [MetaTensor.copy_items(operation) for operation in source.applied_operations]
    return copied


def in_kspace(result: Tensor, source: Tensor) -> Tensor:
    """``result``, k-space or a mask, with the metadata of the image ``source``: the affine of the image whose k-space it is.

    What MONAI would use to take it back to the source's grid goes: SaveImage(resample=True) would interpolate k-space,
    Invertd rotate it.
    """
    copied = with_meta_of(result, source)
    return on_own_grid(copied) if isinstance(copied, MetaTensor) else copied


def on_own_grid(data: MetaTensor) -> MetaTensor:
    """Let go of the grid that the data was read on and of the transforms since, in place."""
    data.applied_operations = []
    if MetaKeys.ORIGINAL_AFFINE in data.meta:
        data.meta[MetaKeys.ORIGINAL_AFFINE] = data.affine.clone()
    if MetaKeys.SPATIAL_SHAPE in data.meta:
        data.meta[MetaKeys.SPATIAL_SHAPE] = np.array(data.shape[1:])
    return data


def slices_first(tensor: Tensor, spatial_dims: int) -> Tensor:
    """(channel, *spatial, slice) as (slice, channel, *spatial); without a slice axis unchanged."""
    return tensor if tensor.ndim == spatial_dims + 1 else tensor.movedim(-1, 0)


def slices_last(tensor: Tensor, spatial_dims: int) -> Tensor:
    """The inverse of :func:`slices_first`."""
    return tensor if tensor.ndim == spatial_dims + 1 else tensor.movedim(0, -1)


def complex_to_channels(image: Tensor) -> Tensor:
    """Complex (channel, ...) to real (2 * channel, ...): all real parts, then all imaginary parts."""
    return torch.cat([image.real, image.imag])


def draw_seed(state: np.random.RandomState) -> int:
    """A seed for a torch generator from MONAI's random state."""
    return int(state.randint(MAX_SEED, dtype="uint32"))


def seeded_generator(seed: int | None, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator from the seed that ``randomize`` drew.

    Raises:
        RuntimeError: if nothing has been drawn yet (``randomize=False`` on the first call).
    """
    if seed is None:
        raise RuntimeError("please call the `randomize()` function first.")
    return torch.Generator(device=device).manual_seed(seed)


class EachKey(MapTransform):
    """Dictionary version of an array transform that takes one array: what is under every key is replaced."""

    backend = [TransformBackends.TORCH]
    transform: Callable[[Any], Any]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform every key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d


class DrawsOnce(Randomizable, MapTransform):
    """Dictionary version of a random array transform, with which it shares the random state: one draw serves all keys."""

    backend = [TransformBackends.TORCH]
    transform: Any

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> DrawsOnce:
        """Set the random state of this transform and of its array version."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw once for all keys."""
        self.transform.randomize()


def output_name(keys: Sequence[Hashable], key: Hashable, name: str) -> str:
    """Name of a per-image output: ``name`` for a transform of one key, ``{key}_{name}`` for one of several."""
    return name if len(keys) == 1 else f"{key}_{name}"


def check_new_keys(data: Mapping[Hashable, Any], overwrite: bool | None, **names: Iterable[Hashable]) -> None:
    """Raise ValueError if an output would replace what the data holds already under its name.

    Args:
        data: what the transform was given.
        overwrite: the transform's argument; True lets it. None if there is no such argument.
        names: the outputs' names, by the argument that gives them.
    """
    let = "" if overwrite is None else ", or let it be replaced by overwrite=True"
    for argument, given in names.items():
        for name in given:
            if name in data and not overwrite:
                raise ValueError(
                    f"the data holds {name!r} already, which would be lost: give the output another name by {argument}{let}."
                )


def check_same_grid(grids: Iterable[tuple[Any, tuple[int, ...]]]) -> None:
    """Raise ValueError unless all (key, grid) pairs have one grid, as one mask for all keys needs."""
    pairs = list(grids)
    for key, grid in pairs[1:]:
        if grid != pairs[0][1]:
            raise ValueError(
                f"one mask serves all keys, but the grid of {key!r} is {grid} and that of {pairs[0][0]!r} is "
                f"{pairs[0][1]}; use one transform per key."
            )
