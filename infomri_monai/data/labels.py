"""Labels in readers: classes only, the crop of the image's own k-space, simulated raters, and which classes a split holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from monai.transforms import ResizeWithPadOrCrop
from numpy.typing import NDArray

from infomri_monai.acquisition import image_to_kspace, kspace_to_image
from infomri_monai.arrays import as_label
from infomri_monai.data.prepare import check_size, crop_kspace_keeping_intensity, prepare_images
from infomri_monai.transforms import MISSING_RATER, SimulateRaters, check_label
from infomri_monai.transforms.common import plain

__all__ = [
    "add_raters",
    "check_classes",
    "check_labels",
    "class_frequencies",
    "crop_labels",
    "fit_to_grid",
    "join_raters",
    "rater_model",
]


def check_labels(label: NDArray, num_classes: int, where: str) -> NDArray[np.int16]:
    """Return label values as integers after checking that they are classes.

    Args:
        label: any real array; files often hold floats.
        num_classes: C; the classes are 0 (background) to C - 1.
        where: the source's name, for the message.

    Raises:
        ValueError: naming the source, the values outside the classes, and the classes.

    Example:
        >>> check_labels(np.array([0.0, 3.0]), 3, "label.nii.gz")
        Traceback (most recent call last):
        ValueError: label.nii.gz: label values must be classes 0 to 2 (num_classes=3), got also [3.0].
    """
    values = np.unique(label)
    bad = values[~np.isin(values, np.arange(num_classes))]
    if len(bad):
        raise ValueError(
            f"{where}: label values must be classes 0 to {num_classes - 1} (num_classes={num_classes}), "
            f"got also {bad[:5].tolist()}."
        )
    return label.astype(np.int16)


def join_raters(
    labels: Sequence[NDArray | None], names: Sequence[str], grid: Sequence[int], num_classes: int
) -> NDArray[np.int16]:
    """Check one image's labels and join them.

    Args:
        labels: one a rater, (height, width), values as for :func:`check_labels`; None where a rater did not draw the image.
        names: each label's source, for messages.
        grid: (height, width) of the image.
        num_classes: C.

    Returns:
        int16, shape (raters, height, width), the slot of a missing rater ``MISSING_RATER``.

    Raises:
        ValueError: naming the source, if a label has another grid than the image or a value outside the classes.

    Example:
        >>> join_raters([np.ones((2, 2)), None], ["a.nii", ""], (2, 2), 2)[:, 0, 0].tolist()
        [1, -1]
    """
    joined = np.full((len(labels), *grid), MISSING_RATER, np.int16)
    for slot, label, name in zip(joined, labels, names, strict=True):
        if label is not None:
            if label.shape != tuple(grid):
                raise ValueError(f"{name}: label and image must have one grid, got {label.shape} and {tuple(grid)}.")
            slot[...] = check_labels(label, num_classes, name)
    return joined


def crop_labels(label: NDArray, num_classes: int, size: Sequence[int]) -> NDArray:
    """Bring a label map to a coarser grid as the image is: k-space crop of each class's indicator, then the largest.

    The resampled indicators sum to 1, so that with two classes the largest is the one above 0.5. Image and label stay aligned to a
    fraction of a pixel, because both pass through the same crop.

    Args:
        label: integer classes 0 to ``num_classes`` - 1, shape (..., height, width); a map that is -1 in every pixel (a missing
            rater) stays so.
        num_classes: C.
        size: (height, width), at most the label's.

    Returns:
        Same type, shape (..., *size). Of equal indicators the lowest class is taken.

    Raises:
        ValueError: if ``size`` does not fit or a value is outside the classes.

    Example:
        >>> left = np.tile(np.arange(8) < 4, (8, 1)).astype(np.uint8)
        >>> crop_labels(left, 2, (4, 4))[0].tolist()
        [1, 1, 0, 0]
    """
    height, width = check_size(size, "size")
    missing = (label == MISSING_RATER).all(axis=(-2, -1))
    if label.size and (((label < 0).any(axis=(-2, -1)) & ~missing).any() or label.max() >= num_classes):
        raise ValueError(
            f"label must lie in [0, {num_classes - 1}], or be {MISSING_RATER} everywhere (a missing rater), "
            f"got values from {label.min()} to {label.max()}."
        )
    if label.shape[-2:] == (height, width):
        return label.copy()
    best = np.full((*label.shape[:-2], height, width), -np.inf, np.float32)
    result = np.zeros(best.shape, label.dtype)
    for c in range(num_classes):
        indicator = torch.from_numpy((label == c).astype(np.complex64))
        kspace = crop_kspace_keeping_intensity(image_to_kspace(indicator), (height, width))
        coarse = kspace_to_image(kspace).real.numpy()
        larger = coarse > best + 1e-5  # equal indicators differ by the transform's rounding
        result[larger], best[larger] = c, coarse[larger]
    if missing.any():
        result[missing] = MISSING_RATER
    return result


def fit_to_grid(
    image: NDArray,
    label: NDArray,
    num_classes: int,
    grid: Sequence[int],
    resample: bool = True,
    magnitude: bool = False,
    normalise: bool = True,
) -> tuple[NDArray, NDArray]:
    """Bring one image and its raters' labels to a grid by the same steps.

    Args:
        image: finite real or complex, shape (height, width).
        label: integer classes, shape (raters, height, width); a missing rater is -1 in every pixel.
        num_classes: C.
        grid: (height, width) wanted.
        resample: True pads with zeros, centred, to the smallest canvas of the grid's shape that holds both, then crops k-space: the
            whole field of view, pixels stay square. False crops and pads the image itself: the pixel size is kept.
        magnitude: return the magnitude where the image is complex, or was cropped in k-space, which makes it so.
        normalise: divide the image by its largest magnitude.

    Returns:
        Image (1, *grid), float32 or complex64 as in :func:`~infomri_monai.data.prepare_images`; label (raters, *grid), type kept.

    Raises:
        ValueError: if image and label have different grids, or a size is no size.

    Example:
        >>> image, label = fit_to_grid(np.ones((6, 9)), np.ones((1, 6, 9), np.uint8), 2, (4, 4), magnitude=True)
        >>> image.shape, label[0].tolist()
        ((1, 4, 4), [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    """
    height, width = check_size(grid, "grid")
    if image.ndim != 2 or label.ndim != 3 or image.shape != label.shape[1:]:
        raise ValueError(f"label must have the image's grid {image.shape} after its rater axis, got {label.shape}.")
    missing = (label == MISSING_RATER).all(axis=(1, 2), keepdims=True)
    canvas = (height, width)
    if resample:
        scale = max(image.shape[0] / height, image.shape[1] / width, 1.0)
        canvas = (math.ceil(height * scale - 1e-9), math.ceil(width * scale - 1e-9))
    resize = ResizeWithPadOrCrop(canvas)
    image, label = (plain(resize(torch.from_numpy(np.array(a)))).numpy() for a in (image[None], label))
    label = np.where(missing, MISSING_RATER, label).astype(label.dtype) if missing.any() else label
    crop = (height, width) if canvas != (height, width) else None
    magnitude = magnitude and (crop is not None or np.iscomplexobj(image))  # a real image keeps its sign
    image = prepare_images(image, crop, magnitude, normalise)
    return image, (label if crop is None else crop_labels(label, num_classes, crop))


_OPTIONS = ("bias", "amplitude", "wavelength")


def rater_model(
    raters: int, num_classes: int, options: Mapping[str, float] | None = None, seed: int = 0
) -> SimulateRaters | None:
    """The simulation that a reader's arguments ask for.

    Args:
        raters: number of raters; 1 asks for no simulation.
        num_classes: classes of the label, background included.
        options: any of "bias", "amplitude" and "wavelength" of :class:`~infomri_monai.transforms.SimulateRaters`, pixels.
        seed: any non-negative integer; another one gives other raters.

    Returns:
        The transform, or None where ``raters`` is 1.

    Raises:
        ValueError: if an option is unknown or an argument is outside its range.

    Example:
        >>> rater_model(1, num_classes=2) is None
        True
    """
    unknown = sorted(set(options or {}) - set(_OPTIONS))
    if unknown:
        raise ValueError(f"rater_options may hold {', '.join(_OPTIONS)}, got {', '.join(unknown)}.")
    model = SimulateRaters(raters, num_classes=num_classes, seed=seed, **(options or {}))
    return model if model.raters > 1 else None


def add_raters(entry: dict[str, Any], num_classes: int, model: SimulateRaters | None) -> dict[str, Any]:
    """Replace an entry's single label by raters' labels.

    Args:
        entry: "label", integers (1, height, width); "subject" and "slice", which tell the image from the others.
        num_classes: classes of the label, background included.
        model: what simulates the raters; None keeps the single label.

    Returns:
        The same dictionary with "label", uint8 (rater, height, width), and "simulated_raters", a bool.

    Raises:
        ValueError: if the label has another grid than "image", or a value outside the classes.

    Example:
        >>> entry = {"label": np.eye(8, dtype=np.uint8)[None], "image": np.eye(8)[None], "subject": 0, "slice": 0}
        >>> add_raters(entry, 2, rater_model(3, 2))["label"].shape
        (3, 8, 8)
    """
    label, where = entry["label"], f"subject {entry['subject']}, slice {entry['slice']}: label"
    if label.shape != entry["image"].shape:
        raise ValueError(f"{where} must have the image's shape {entry['image'].shape}, got {label.shape}.")
    check_label(label, num_classes, name=where)
    label = label.astype(np.uint8)
    if model is not None:
        label = np.asarray(model(label, index=(entry["subject"], entry["slice"])))
    entry.update(label=label, simulated_raters=model is not None)
    return entry


Data = TypeVar("Data", bound=Sequence[Mapping[str, Any]])


def check_classes(
    data: Data, num_classes: int, multi_label: bool = False, name: str = "data", label_key: str = "label"
) -> Data:
    """Return the data of a classification task, if every class occurs among their labels.

    A class that a training split lacks is never predicted, and one that a test split lacks has no AUROC. A configuration puts
    this function around its readers; the shares of the classes are :func:`~infomri_monai.data.class_frequencies`.

    Args:
        data: entries with a label: a class number from 0, or (num_classes,) of 0 and 1 if ``multi_label``.
        num_classes: exclusive classes, at least 2; or labels if ``multi_label``, at least 1.
        multi_label: independent binary labels.
        name: the split's name in error messages, e.g. the configuration's argument "validation_data".
        label_key: key of the label.

    Returns:
        ``data``, as it is.

    Raises:
        ValueError: if there is no entry, an entry lacks its label, a label is no such number, or a class (of a label, a value) is
            absent.

    Example:
        >>> check_classes([{"label": 0}, {"label": 2}], num_classes=3, name="test_data")
        Traceback (most recent call last):
        ValueError: test_data: class 1 of 3 is absent from its 2 entries (0: 1, 2: 1).
    """
    if num_classes < (1 if multi_label else 2):
        raise ValueError(f"num_classes must be at least {1 if multi_label else 2}, got {num_classes}.")
    if not len(data):
        raise ValueError(f"{name} must hold at least one entry.")
    labels = _labels(data, (num_classes,) if multi_label else (), 2 if multi_label else num_classes, name, label_key)
    if not multi_label:
        counts = np.bincount(labels.astype(np.int64), minlength=num_classes)
        absent = [str(c) for c in np.flatnonzero(counts == 0)]
        if absent:
            found = ", ".join(f"{c}: {counts[c]}" for c in np.flatnonzero(counts))
            raise ValueError(
                f"{name}: class {', '.join(absent)} of {num_classes} is absent from its {len(data)} entries ({found})."
            )
        return data
    for value, word in ((1, "positive"), (0, "negative")):
        absent = [str(c) for c in np.flatnonzero((labels != value).all(0))]
        if absent:
            raise ValueError(
                f"{name}: label {', '.join(absent)} of {num_classes} has no {word} entry among {len(data)}."
            )
    return data


def _labels(data: Sequence[Mapping[str, Any]], shape: tuple[int, ...], below: int, name: str, key: str) -> NDArray:
    """All labels, (entry, *shape), each a whole number in [0, below)."""
    found = []
    for number, entry in enumerate(data):
        if key not in entry:
            raise ValueError(f"{name}: entry {number} lacks {key!r}.")
        label = _array(entry[key], f"{name}: entry {number}: {key!r}")
        if label.shape != shape or label.dtype.kind not in "buif" or not np.isin(label, np.arange(below)).all():
            raise ValueError(
                f"{name}: entry {number}: {key!r} must have shape {shape} and values 0 to {below - 1}, "
                f"got shape {label.shape}: {np.array2string(label, threshold=8)}."
            )
        found.append(label)
    return np.stack(found)


def _array(label: Any, name: str) -> NDArray:
    """A label of any kind, or the list of one, as a native array."""
    tensor = as_label(np.asarray(label) if isinstance(label, (list, tuple)) else label, name).detach().cpu()
    array: NDArray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array.astype(np.uint8) if array.dtype == bool else array


def class_frequencies(
    data: Iterable[Mapping[str, Any]], num_classes: int, multi_label: bool = False, label_key: str = "label"
) -> list[float]:
    """Share of every class, over all pixels of all images and raters; a missing rater (-1) does not count.

    Args:
        data: entries with a label, (R, *spatial) of class numbers, or (R, label, *spatial) of 0 and 1 if ``multi_label``. Or one
            label an image: a class number, or (label,) of 0 and 1 if ``multi_label``; it counts as a pixel does.
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels.
        label_key: key of the label.

    Returns:
        ``num_classes`` shares, each at least one pixel in ten million, so that its logarithm is finite. Of exclusive classes they
        sum to 1.

    Raises:
        ValueError: if there is no labelled pixel, or a label holds another class or another number of labels.

    Example:
        >>> class_frequencies([{"label": np.array([[[0, 0, 0, 1]]])}], num_classes=2)
        [0.75, 0.25]
        >>> class_frequencies([{"label": 1}, {"label": 0}, {"label": 1}, {"label": 1}], num_classes=2)
        [0.25, 0.75]
    """
    counts, pixels = np.zeros(num_classes), 0
    for entry in data:
        label = _array(entry[label_key], label_key)
        if label.dtype.kind == "f":
            if not np.array_equal(label, np.round(label)):
                raise ValueError(f"{label_key} must hold whole numbers, got {label.dtype} with others.")
            label = label.astype(np.int64)
        if label.size and label.max() >= (2 if multi_label else num_classes):
            raise ValueError(f"{label_key} must lie below {2 if multi_label else num_classes}, got {label.max()}.")
        if multi_label:
            known = label >= 0
            per_label = np.atleast_2d(label)  # (label,) is that of one rater of one pixel
            if per_label.shape[1] != num_classes:
                raise ValueError(f"{label_key} must hold {num_classes} labels (num_classes), got shape {label.shape}.")
            counts += (per_label == 1).sum(axis=(0, *range(2, per_label.ndim)))
            pixels += int(known.sum()) // num_classes
        else:
            counts += np.bincount(label[label >= 0].ravel(), minlength=num_classes)
            pixels += int((label >= 0).sum())
    if not pixels:
        raise ValueError(f"data must hold at least one labelled pixel under {label_key!r}.")
    return [float(share) for share in np.clip(counts / pixels, 1e-7, 1 - 1e-7)]
