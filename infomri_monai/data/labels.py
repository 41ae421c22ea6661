"""What every reader does to labels: values inside the classes, and the image's own k-space crop of the one-hot map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.transforms import ResizeWithPadOrCrop
from numpy.typing import NDArray

from infomri_monai.acquisition import image_to_kspace, kspace_to_image
from infomri_monai.data.prepare import check_size, crop_kspace_keeping_intensity, prepare_images
from infomri_monai.transforms import MISSING_RATER
from infomri_monai.transforms.common import plain

__all__ = ["check_labels", "crop_labels", "fit_to_grid", "join_raters"]


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
