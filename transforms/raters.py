"""Labels of several raters: joined into one array, one of them drawn, or several simulated from one expert's.

Raters lie along the first axis; the slot of one who did not draw the image is filled with ``MISSING_RATER``.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends, ensure_tuple, optional_import
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.arrays import as_number, as_whole, takes
from infomri_monai.transforms.common import (
    DrawsOnce,
    as_tensor,
    check_new_keys,
    check_spatial_dims,
    checked_tensor,
    plain,
    several,
    with_meta_of,
)

#: what fills the slot of a rater who did not draw this image
MISSING_RATER = -1


def check_label(label: NdarrayOrTensor, num_classes: int, allow_missing: bool = False, name: str = "label") -> Tensor:
    """Convert a label map to a tensor (a MetaTensor where MONAI tracks metadata) and check its values.

    Args:
        label: integers or booleans, any shape.
        num_classes: values must lie in [0, num_classes - 1]; 2 for the 0/1 channels of a multi-label map.
        allow_missing: accept ``MISSING_RATER`` as well.
        name: what the label is, for error messages.

    Returns:
        The tensor, dtype and device kept.

    Raises:
        ValueError: if the label is no array, empty or not of an integer type, or a value is outside the classes.

    Example:
        >>> import torch
        >>> check_label(torch.tensor([0, 3]), num_classes=3)
        Traceback (most recent call last):
        ValueError: label must hold values in [0, 2], got values from 0 to 3.
    """
    if as_whole(num_classes, "num_classes") < 2:
        raise ValueError(f"num_classes must be at least 2, background included, got {num_classes!r}.")
    tensor = as_tensor(label, name)
    if tensor.is_floating_point() or tensor.is_complex():
        raise ValueError(
            f"{name} must be of an integer type or bool, got {tensor.dtype}; LoadImaged(dtype=...) or CastToTyped "
            "makes integers of it."
        )
    if tensor.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(tensor.shape)}.")
    values = plain(tensor)
    low, high = (int(v) for v in torch.aminmax(values.to(torch.int64)))
    lowest = MISSING_RATER if allow_missing else 0
    if low < lowest or high >= num_classes:
        raise ValueError(f"{name} must hold values in [{lowest}, {num_classes - 1}], got values from {low} to {high}.")
    return tensor


def present_raters(label: Tensor) -> Tensor:
    """Which raters drew the image.

    Args:
        label: shape (rater, ...); the slot of a missing rater holds ``MISSING_RATER`` everywhere.

    Returns:
        Booleans, shape (rater,).

    Raises:
        ValueError: if a slot holds negative values without being ``MISSING_RATER`` everywhere.

    Example:
        >>> import torch
        >>> present_raters(torch.tensor([[[0, 1]], [[-1, -1]]]))
        tensor([ True, False])
    """
    slots = plain(as_tensor(label, "label"))
    if slots.ndim < 2 or slots.is_complex():
        raise ValueError(f"label must be real, of shape (rater, ...), got {slots.dtype} of {tuple(slots.shape)}.")
    slots = slots.flatten(1)
    missing = (slots == MISSING_RATER).all(1)
    if ((slots < 0).any(1) & ~missing).any():
        raise ValueError(f"a rater's label must be free of negative values, or {MISSING_RATER} everywhere if missing.")
    return ~missing


@takes(wavelength="scalar")
def smooth_field(
    shape: tuple[int, int], wavelength: float, draw: np.random.Generator, fields: Sequence[int] = ()
) -> NDArray[np.float32]:
    """Draw Gaussian fields of zero mean and unit variance that vary over about ``wavelength`` pixels.

    Args:
        shape: (height, width).
        wavelength: pixels, positive; up to 2 gives white noise.
        draw: source of the numbers.
        fields: leading axes, one independent field for each position.

    Returns:
        Array of shape (*fields, height, width).

    Example:
        >>> smooth_field((32, 24), 8.0, np.random.default_rng(0), (6,)).shape
        (6, 32, 24)
    """
    for size in (*several(shape), *several(fields)):
        as_whole(size, "shape and fields", 1)
    if len(several(shape)) != 2 or not 0 < as_number(wavelength, "wavelength") < np.inf:
        raise ValueError(f"shape must be (height, width) and wavelength positive, got {shape} and {wavelength!r}.")
    knots = [int(np.ceil(n / max(wavelength / 2, 1) - 1e-6)) + 3 for n in shape]
    coarse = draw.standard_normal((*several(fields), *knots)).astype(np.float32)
    if wavelength <= 2:
        return coarse[..., : shape[0], : shape[1]]
    fy, fx = (_cubic_spline(n, k, wavelength / 2) for n, k in zip(shape, knots, strict=True))
    return np.asarray(fy @ coarse @ fx.T, dtype=np.float32)


def _cubic_spline(length: int, knots: int, spacing: float) -> NDArray[np.float32]:
    """B-spline weights (length, knots), each row of unit norm, so that white noise at the knots keeps its variance."""
    distance = np.abs(np.arange(length)[:, None] / spacing + 1 - np.arange(knots)[None])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    weights = np.where(distance < 1, inner, np.clip(2 - distance, 0, None) ** 3 / 6)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


class RandRater(Randomizable, Transform):
    """Draw one of the raters who drew the image; every present rater with the same probability, a missing one never.

    ``randomize`` draws one uniform number from ``self.R``.

    Args:
        spatial_dims: number of spatial axes of a label.

    Raises:
        ValueError: if ``spatial_dims`` is not 1, 2 or 3.

    Example:
        >>> import torch
        >>> label = torch.tensor([-1, 5, 7], dtype=torch.int16).reshape(3, 1, 1).expand(3, 2, 2)
        >>> draw = RandRater().set_random_state(0)
        >>> sorted({int(draw(label).max()) for _ in range(20)}), draw(label).shape
        ([5, 7], torch.Size([1, 2, 2]))
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, spatial_dims: int = 2) -> None:
        self.spatial_dims = check_spatial_dims(spatial_dims)
        self._uniform: float | None = None

    def randomize(self, data: Any = None) -> None:
        """Draw the uniform number that chooses the rater."""
        self._uniform = float(self.R.random_sample())

    def __call__(self, label: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """Draw a rater.

        Args:
            label: (rater, *spatial), or (rater, structure, *spatial) for multi-label maps; any real dtype.
            randomize: draw anew; False repeats the last draw.

        Returns:
            The rater's label, shape (1, *spatial) or (1, structure, *spatial); dtype, device and metadata kept.

        Raises:
            ValueError: if all raters are missing, the number of axes does not fit, or a value is NaN, Inf or negative.
        """
        tensor = self.checked(label)
        if randomize:
            self.randomize()
        return self.select(tensor, present_raters(tensor))

    def checked(self, label: NdarrayOrTensor, name: str = "label") -> Tensor:
        """The label as a tensor of its own dtype, after the checks of :meth:`__call__`."""
        checked = checked_tensor(label, name, self.spatial_dims, is_label=True)
        if checked.is_complex():
            raise ValueError(f"{name} must be real, got {checked.dtype}.")
        return as_tensor(label, name)

    def select(self, label: Tensor, present: Tensor) -> Tensor:
        """The rater that the last draw chooses among those ``present``, booleans of shape (rater,)."""
        candidates = present.nonzero()[:, 0].tolist()
        if not candidates:
            raise ValueError(f"all {len(present)} raters are missing; there is no label to draw.")
        if self._uniform is None:
            raise RuntimeError("please call the `randomize()` function first.")
        chosen = candidates[int(self._uniform * len(candidates))]
        return with_meta_of(plain(label)[chosen : chosen + 1].clone(), label)


class RandRaterd(DrawsOnce):
    """Dictionary version of :class:`RandRater`; replaces every key's data by one rater's, the same rater for all keys.

    Args:
        keys: keys of the labels. The rater is drawn among those who are present in all of them.
        spatial_dims: number of spatial axes of a label.
        allow_missing_keys: skip missing keys instead of raising KeyError.

    Raises:
        ValueError: as :class:`RandRater`, and if the keys' numbers of raters differ.

    Example:
        >>> import torch
        >>> RandRaterd("label").set_random_state(0)({"label": torch.zeros(6, 8, 8, dtype=torch.uint8)})["label"].shape
        torch.Size([1, 8, 8])
    """

    def __init__(self, keys: KeysCollection, spatial_dims: int = 2, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = RandRater(spatial_dims)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Replace every key's raters by the drawn one."""
        d = dict(data)
        labels = {key: self.transform.checked(d[key], f"label {key!r}") for key in self.key_iterator(d)}
        self.randomize()
        if not labels:
            return d
        counts = {len(label) for label in labels.values()}
        if len(counts) > 1:
            raise ValueError(f"labels {list(labels)} must have one number of raters, got {sorted(counts)}.")
        present = torch.stack([present_raters(label).cpu() for label in labels.values()]).all(0)
        return {**d, **{key: self.transform.select(label, present) for key, label in labels.items()}}


RandRaterD = RandRaterDict = RandRaterd


_SUBPIXEL_WAVELENGTH = 4.0  # pixels

Index = int | str | Sequence[int | str]


class SimulateRaters(Transform):
    """Simulate several raters from one expert's label by a smooth random shift of every boundary.

    For rater r and class c, ``t = bias_rc + field_rc(y, x)``; the rater's label is ``argmax_c(d_c + sqrt(2) t_rc)`` with the
    signed distance d_c to the border of class c, positive inside. So every border moves by ``(t_a - t_b) / sqrt(2)``, whose
    standard deviation is that of t, whichever two classes meet there; a binary or multi-label structure is
    ``d + t > 0``.

    The biases belong to the raters: the same in all images for one ``seed``, and over the raters of mean 0
    and root mean square ``bias``, so that the raters as a whole neither gain nor lose. The fields are drawn
    anew for every ``index``. A structure that the label lacks stays absent, and one that it has never
    vanishes: its innermost pixels stay.

    A label does not tell where between two pixels its border lies; that is drawn once for an image, uniformly, and shared by
    its raters, so that small shifts move some pixels, not none. Without any shift the raters are the expert.

    With the default shifts two raters of a brain tumour (``brain_tumour_1380``, 64 x 64) have a mean Dice of 0.90, as real
    experts have; of larger structures more, of thin ones less (cortical CSF of the embedded brains, 96 x 96: 0.81).

    It is deterministic: the same arguments, label and index give the same raters.

    Args:
        raters: number of raters, at least 1.
        bias: how much larger or smaller than the others a rater draws, pixels.
        amplitude: standard deviation of the smooth shift along the border, pixels.
        wavelength: distance over which that shift varies, pixels.
        num_classes: classes of an integer map, background included; not used for a multi-label map.
        multi_label: labels are independent 0/1 channels.
        seed: any non-negative integer; another one gives other raters.

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> import torch
        >>> label = torch.zeros(1, 32, 32, dtype=torch.uint8)
        >>> label[:, 8:24, 8:24] = 1
        >>> raters = SimulateRaters(raters=4, bias=1.0)(label, index=7)
        >>> raters.shape, raters.dtype
        (torch.Size([4, 32, 32]), torch.uint8)
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        raters: int = 6,
        bias: float = 0.2,
        amplitude: float = 0.25,
        wavelength: float = 16.0,
        num_classes: int = 2,
        multi_label: bool = False,
        seed: int = 0,
    ) -> None:
        for name, value, lowest in (("raters", raters, 1), ("num_classes", num_classes, 2), ("seed", seed, 0)):
            as_whole(value, name, lowest)
        for name, size in (("bias", bias), ("amplitude", amplitude)):
            if not 0 <= as_number(size, name) < np.inf:
                raise ValueError(f"{name} must be a finite number of pixels, at least 0, got {size!r}.")
        if not 0 < as_number(wavelength, "wavelength") < np.inf:
            raise ValueError(f"wavelength must be a positive, finite number of pixels, got {wavelength!r}.")
        self.raters, self.num_classes, self.seed = int(raters), int(num_classes), int(seed)
        self.bias, self.amplitude, self.wavelength = float(bias), float(amplitude), float(wavelength)
        self.multi_label = multi_label

    def __call__(self, label: NdarrayOrTensor, index: Index = 0) -> Tensor:
        """Simulate the raters of one image.

        Args:
            label: one expert's label of an integer type, shape (1, height, width), or (structure, height, width) of 0 and
                1 with ``multi_label``.
            index: what tells the image from the others, non-negative integers or texts (subject and slice, say).

        Returns:
            Shape (rater, height, width), or (rater, structure, height, width); dtype, device and metadata kept.

        Raises:
            ValueError: if the shape does not fit, the label is not of an integer type or has a value outside the classes,
                or ``index`` is negative.
        """
        tensor = check_label(label, 2 if self.multi_label else self.num_classes)
        if tensor.ndim != 3 or (not self.multi_label and tensor.shape[0] != 1):
            raise ValueError(
                f"label must have shape ({'structure' if self.multi_label else '1'}, height, width), "
                f"got {tuple(tensor.shape)}."
            )
        draw = np.random.default_rng([self.seed, 1, *_words(index)])
        values = plain(tensor).cpu().numpy()
        if self.multi_label or self.num_classes == 2:
            shifts = self._shifts(len(values), values.shape[1:], draw)
            raters = _binary(values, shifts, _subpixel(values.shape, draw))
            raters = raters if self.multi_label else raters[:, 0]
        else:
            shifts = self._shifts(self.num_classes, values.shape[1:], draw)
            raters = _multi_class(values[0], shifts, _subpixel(shifts.shape[1:], draw))  # type: ignore[assignment]
        return with_meta_of(torch.from_numpy(raters).to(tensor.device, tensor.dtype), tensor)

    def _shifts(self, borders: int, shape: Sequence[int], draw: np.random.Generator) -> NDArray[np.float32]:
        """The shifts t in pixels, (rater, border, height, width)."""
        bias = np.random.default_rng([self.seed, 0, borders]).standard_normal((self.raters, borders))
        bias -= bias.mean(0)
        bias *= self.bias / np.sqrt((bias**2).mean(0)).clip(1e-12)
        fields = smooth_field((shape[0], shape[1]), self.wavelength, draw, (self.raters, borders))
        return (bias[..., None, None] + self.amplitude * fields).astype(np.float32)


def _words(index: Index) -> list[int]:
    """Non-negative integers that stand for ``index``, as a seed; their number comes first, since zeros at the end count not."""
    values = [index] if isinstance(index, str) or not np.iterable(index) else list(index)
    words = [zlib.crc32(v.encode()) if isinstance(v, str) else as_whole(v, "index") for v in values]
    if any(word < 0 for word in words):
        raise ValueError(f"index must be made of non-negative integers or texts, got {index!r}.")
    return [len(words), *words]


def _subpixel(shape: Sequence[int], draw: np.random.Generator) -> NDArray[np.float32]:
    """Where between two pixels' centres each border lies, in (-0.5, 0.5) pixels, (border, height, width).

    A label does not tell. Without this, shifts below half a pixel would move nothing, and larger ones whole rims at once.
    """
    field = smooth_field((shape[1], shape[2]), _SUBPIXEL_WAVELENGTH, draw, (shape[0],))
    return np.asarray(0.499 * torch.erf(torch.from_numpy(field) / 2**0.5), dtype=np.float32)


def _signed_distance(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance in pixels to the border of a region that is neither empty nor everything, positive inside."""
    ndimage, _ = optional_import("scipy.ndimage")
    inside, outside = (ndimage.distance_transform_edt(part) for part in (region, ~region))
    return np.where(region, inside - 0.5, 0.5 - outside).astype(np.float32)


def _binary(structures: NDArray, shifts: NDArray[np.float32], subpixel: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Raters (rater, structure, height, width) of 0/1 structures (structure, height, width)."""
    raters = np.broadcast_to(structures.astype(bool), shifts.shape).copy()
    for s, region in enumerate(structures.astype(bool)):
        if region.any() and not region.all():
            distance = _signed_distance(region) + subpixel[s]
            raters[:, s] = distance + shifts[:, s] > 0
            lost = ~raters[:, s].any((1, 2))
            raters[lost, s] = distance == distance.max()
    return raters


def _multi_class(label: NDArray, shifts: NDArray[np.float32], subpixel: NDArray[np.float32]) -> NDArray[np.int64]:
    """Raters (rater, height, width) of an integer map (height, width)."""
    classes = np.unique(label)
    if len(classes) == 1:
        return np.broadcast_to(label.astype(np.int64), (len(shifts), *label.shape)).copy()
    distances = np.stack([_signed_distance(label == c) for c in classes]) + subpixel[classes]
    raters = classes.astype(np.int64)[(distances + np.sqrt(np.float32(2)) * shifts[:, classes]).argmax(1)]
    innermost = distances == distances.max((1, 2), keepdims=True)
    for rater in raters:
        if len(np.unique(rater)) < len(classes):
            for c, inner in zip(classes, innermost, strict=True):
                rater[inner] = c
    return raters


class SimulateRatersd(MapTransform):
    """Dictionary version of :class:`SimulateRaters`; replaces every key's label and sets ``"simulated_raters": True``.

    Args:
        keys: keys of the labels; all take the same shifts where they have the same grid.
        index_keys: one key or several whose values, non-negative integers or texts, tell the image from the others.
        raters: number of raters.
        bias: as :class:`SimulateRaters`.
        amplitude: as :class:`SimulateRaters`.
        wavelength: as :class:`SimulateRaters`.
        num_classes: classes of an integer map, background included.
        multi_label: labels are independent 0/1 channels.
        seed: any non-negative integer.
        allow_missing_keys: skip missing keys instead of raising KeyError; without any key nothing is set.

    Raises:
        KeyError: if a key of ``keys`` or ``index_keys`` is missing.
        ValueError: as :class:`SimulateRaters`.

    Example:
        >>> import torch
        >>> data = {"label": torch.zeros(1, 8, 8, dtype=torch.uint8), "subject": 3, "slice": 0}
        >>> result = SimulateRatersd("label", index_keys=("subject", "slice"))(data)
        >>> result["label"].shape, result["simulated_raters"]
        (torch.Size([6, 8, 8]), True)
    """

    backend = SimulateRaters.backend

    def __init__(
        self,
        keys: KeysCollection,
        index_keys: KeysCollection,
        raters: int = 6,
        bias: float = 0.2,
        amplitude: float = 0.25,
        wavelength: float = 16.0,
        num_classes: int = 2,
        multi_label: bool = False,
        seed: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.index_keys = ensure_tuple(index_keys)
        self.transform = SimulateRaters(raters, bias, amplitude, wavelength, num_classes, multi_label, seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Simulate the raters of every key."""
        d = dict(data)
        for key in self.key_iterator(d):
            absent = [name for name in self.index_keys if name not in d]
            if absent:
                raise KeyError(f"index_keys: the data lacks {', '.join(map(repr, absent))}.")
            d[key] = self.transform(d[key], index=[d[name] for name in self.index_keys])
            d["simulated_raters"] = True
        return d


SimulateRatersD = SimulateRatersDict = SimulateRatersd


_SIGNED = {torch.bool: torch.int8, torch.uint8: torch.int16, torch.uint16: torch.int32, torch.uint32: torch.int64}


class StackRaters(Transform):
    """Join the labels of one image, one of each rater, into one array.

    Args:
        allow_missing: None in the place of a label gives a slot of ``MISSING_RATER``; the result then always has a signed
            type (uint8 becomes int16), missing or not, so that images can be collated. False refuses None.
        multi_label: labels are (structure, *spatial) channels of 0 and 1, not one (1, *spatial) integer map.

    Example:
        >>> import torch
        >>> joined = StackRaters(allow_missing=True)([torch.ones(1, 4, 4, dtype=torch.uint8), None])
        >>> joined.shape, joined.dtype, joined.as_tensor()[:, 0, 0]
        (torch.Size([2, 4, 4]), torch.int16, tensor([ 1, -1], dtype=torch.int16))
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, allow_missing: bool = False, multi_label: bool = False) -> None:
        self.allow_missing = allow_missing
        self.multi_label = multi_label

    def __call__(self, labels: Sequence[NdarrayOrTensor | None]) -> Tensor:
        """Join.

        Args:
            labels: integer labels of one shape, (1, *spatial) or, with ``multi_label``, (structure, *spatial).

        Returns:
            Shape (rater, *spatial) or (rater, structure, *spatial); device and metadata of the first label that is there.

        Raises:
            ValueError: if all labels are missing, one is missing without ``allow_missing``, shapes or types differ, a label
                is not of an integer type, has negative values, or more than one channel without ``multi_label``.
        """
        if isinstance(labels, str) or not np.iterable(labels) or getattr(labels, "ndim", 1) == 0:
            raise ValueError(f"labels must be a list of the raters' labels, got {type(labels).__name__}.")
        highest = 2 if self.multi_label else 2**31
        tensors = [None if x is None else check_label(x, highest, name=f"label {i}") for i, x in enumerate(labels)]
        first = next((tensor for tensor in tensors if tensor is not None), None)
        if first is None:
            raise ValueError(f"all {len(tensors)} raters are missing; there is no label to join.")
        if not self.allow_missing and any(tensor is None for tensor in tensors):
            raise ValueError("a rater's label is missing; allow_missing=True marks it in the result.")
        kinds = {(tuple(tensor.shape), tensor.dtype) for tensor in tensors if tensor is not None}
        if len(kinds) > 1 or (not self.multi_label and (first.ndim < 2 or first.shape[0] != 1)):
            raise ValueError(
                f"labels must share a type and the shape {'(structure, *spatial)' if self.multi_label else '(1, *spatial)'}"
                f", got {sorted((shape, str(dtype)) for shape, dtype in kinds)}."
            )
        dtype = _SIGNED.get(first.dtype, first.dtype) if self.allow_missing else first.dtype
        slots = [
            torch.full(first.shape, MISSING_RATER, dtype=dtype, device=first.device)
            if tensor is None
            else plain(tensor).to(first.device, dtype)
            for tensor in tensors
        ]
        return with_meta_of(torch.stack(slots) if self.multi_label else torch.cat(slots), first)


class StackRatersd(MapTransform):
    """Dictionary version of :class:`StackRaters`: joins the keys' labels under one new key and leaves the keys as they are.

    Args:
        keys: one key for each rater.
        name: where the joined label goes.
        allow_missing: a key that is missing, or holds None, is a missing rater. False raises KeyError or ValueError.
        multi_label: labels are (structure, *spatial) channels of 0 and 1.
        overwrite: replace what the data holds under ``name``; False refuses.

    Raises:
        ValueError: as :class:`StackRaters`, or if the data holds ``name`` already.

    Example:
        >>> import torch
        >>> stack = StackRatersd(("label_1", "label_2", "label_3"), allow_missing=True)
        >>> one = torch.ones(1, 4, 4, dtype=torch.int16)
        >>> stack({"label_1": one, "label_3": 0 * one})["label"].as_tensor()[:, 0, 0]
        tensor([ 1, -1,  0], dtype=torch.int16)
    """

    backend = StackRaters.backend

    def __init__(
        self,
        keys: KeysCollection,
        name: str = "label",
        allow_missing: bool = False,
        multi_label: bool = False,
        overwrite: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys=allow_missing)
        self.name, self.overwrite = name, overwrite
        self.transform = StackRaters(allow_missing, multi_label)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor | None]) -> dict[Hashable, Any]:
        """Add the joined label."""
        d: dict[Hashable, Any] = dict(data)
        check_new_keys(d, self.overwrite, name=[self.name])
        there = set(self.key_iterator(d))
        d[self.name] = self.transform([d[key] if key in there else None for key in self.keys])
        return d


StackRatersD = StackRatersDict = StackRatersd
