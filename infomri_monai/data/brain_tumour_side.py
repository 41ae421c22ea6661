"""A classification task on the shared tumour set: on which side of the head the tumour lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.labels import check_subset
from infomri_monai.data.prepare import check_finite, check_size, check_split, prepare_images
from infomri_monai.data.segmentation_sets import check_stretches, load_tumours, tumour_rows

ndimage, _ = optional_import("scipy.ndimage")

__all__ = ["brain_tumour_side", "tumour_offset"]

#: ids, first and last, of the sagittal slices, which have no left and right; looked through one by one
SAGITTAL = ((443, 707), (779, 779), (819, 917), (1167, 1281), (1641, 1839), (2541, 2545), (2731, 2759))


def brain_tumour_side(
    path: str | Path,
    split: str,
    kspace_crop: Sequence[int] = (64, 64),
    stretches: int = 8,
    margin: float = 0.06,
    subset: int | None = None,
) -> list[dict[str, Any]]:
    """Contrast-enhanced T1 brain slices with a tumour; label, the half of the head it lies in.

    The set has no slice without a tumour, so that "tumour or none" is no honest task; the side is. Left and right are the image's
    (the patient's are the opposite where slices are shown in radiological convention). Of the 1,380 slices the 360 sagittal ones
    are left out, because their two halves are front and back, and those whose tumour lies in the middle: the centre of the mask
    within ``margin`` of the head's width from the head's centre (439 of 1,020 with the default, most of the pituitary tumours).
    581 remain, 53 % of them right. With ``stretches=8`` 406 / 88 / 60 are in the splits (54 / 50 / 57 % right) and 27 in the gaps
    between them; with 1, 273 / 167 / 141 (49 / 61 / 52 %), but then the kinds of tumour differ, see
    :func:`~infomri_monai.data.brain_tumour_1380`; with 20, 398 / 59 / 59 (51 / 56 / 69 %). Mirroring an image as augmentation
    exchanges the labels.

    "attribute" is a second label, for an attacker to infer: the size of the tumour, small, middle or large by the terciles of the
    training slices of the same ``stretches`` and ``margin``.

    Args:
        path: ``brain_tumour_1380.npz``.
        split: "train", "validation" or "test".
        kspace_crop: (height, width) kept of k-space's centre; (256, 256) keeps all.
        stretches: number of stretches of the file that are each split, from 1 to 30.
        margin: distance from the middle, as a share of the head's width, below which a slice is left out; 0 to 0.3.
        subset: keep every n-th slice of the split.

    Returns:
        One dictionary a slice: "image", magnitude, float32 (1, *kspace_crop), maximum 1; "label", int64, 0 left, 1 right;
        "attribute", int64, 0 to 2; "slice", the slice's id in the source. Patients are unknown: there is no "subject".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an argument is outside its range, the file lacks an array, or images, masks and ids do not fit.

    Example:
        >>> brain_tumour_side("brain_tumour_1380.npz", "test", margin=0.5)
        Traceback (most recent call last):
        ValueError: margin must lie in [0, 0.3], got 0.5.

    References:
        Cheng J., "Brain tumor dataset", figshare 1512427, 2017 (CC BY 4.0).
    """
    check_split(split)
    size, step = check_size(kspace_crop, "kspace_crop"), check_subset(subset)
    check_stretches(stretches)
    if not 0 <= margin <= 0.3:
        raise ValueError(f"margin must lie in [0, 0.3], got {margin}.")
    images, masks, ids = load_tumours(path)

    def chosen(part: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        rows = tumour_rows(len(ids), part, stretches)
        rows = rows[~np.any([(first <= ids[rows]) & (ids[rows] <= last) for first, last in SAGITTAL], axis=0)]
        rows = rows[masks[rows].any((1, 2))]
        check_finite(images[rows], rows.tolist(), Path(path).name)
        offset = np.array([tumour_offset(images[row], masks[row]) for row in rows])
        keep = np.abs(offset) >= max(margin, 1e-9)
        return rows[keep], offset[keep]

    rows, offset = (part[::step] for part in chosen(split))
    areas = masks.sum((1, 2), dtype=np.int64)
    training = chosen("train")[0]
    terciles = np.quantile(areas[training], [1 / 3, 2 / 3]) if len(training) else np.zeros(2)
    sizes = np.searchsorted(terciles, areas[rows])
    coarse = prepare_images(images[rows], size, magnitude=True) if len(rows) else images[:0]
    return [
        {"image": image[None], "label": np.int64(where > 0), "attribute": np.int64(area), "slice": int(ids[row])}
        for row, image, where, area in zip(rows, coarse, offset, sizes, strict=True)
    ]


def tumour_offset(image: NDArray, mask: NDArray[np.uint8]) -> float:
    """Distance of the tumour's centre to the right of the head's, in units of the head's width.

    The head is the largest connected part of the image above a tenth of its 99th percentile, holes filled.

    Args:
        image: magnitude, (height, width).
        mask: the tumour, 0 and 1, (height, width), not empty.

    Returns:
        About -0.5 to 0.5; 0 where the image is empty.

    Example:
        >>> image, mask = np.zeros((8, 8)), np.zeros((8, 8), np.uint8)
        >>> image[1:7, 2:6], mask[3, 5] = 1, 1
        >>> tumour_offset(image, mask)
        0.375
    """
    parts, number = ndimage.label(ndimage.binary_fill_holes(image > 0.1 * np.percentile(image, 99)))
    if not number:
        return 0.0
    head = parts == 1 + np.argmax(ndimage.sum_labels(parts > 0, parts, range(1, number + 1)))
    columns = np.flatnonzero(head.any(0))
    centre, tumour = (ndimage.center_of_mass(part)[1] for part in (head, mask))
    return float((tumour - centre) / (columns[-1] - columns[0] + 1))
