"""Simulated raters: one label becomes several, each with its boundaries moved a little."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, ensure_tuple, optional_import
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.transforms.common import plain, with_meta_of
from infomri_monai.transforms.raters import check_label
from infomri_monai.transforms.smooth_field import smooth_field

ndimage, _ = optional_import("scipy.ndimage")

__all__ = ["SimulateRaters", "SimulateRatersD", "SimulateRatersDict", "SimulateRatersd"]

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
            if int(value) != value or value < lowest:
                raise ValueError(f"{name} must be a whole number of at least {lowest}, got {value!r}.")
        for name, size in (("bias", bias), ("amplitude", amplitude)):
            if not 0 <= size < np.inf:
                raise ValueError(f"{name} must be a finite number of pixels, at least 0, got {size!r}.")
        if not 0 < wavelength < np.inf:
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
    words = [zlib.crc32(v.encode()) if isinstance(v, str) else int(v) for v in values]
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
