"""The shared brain tumours: their segmentation, and on which side of the head they lie, a classification task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.labels import add_raters, crop_labels, rater_model
from infomri_monai.data.npz import load_arrays
from infomri_monai.data.prepare import check_finite, check_size, check_split, check_subset, prepare_images, split_cases

__all__ = ["brain_tumour_1380", "brain_tumour_side", "tumour_offset", "tumour_rows"]

#: share of the contiguous blocks of slices in each split
PARTS = {"train": 0.7, "validation": 0.15, "test": 0.15}
#: the tumour file's slices in this many equal blocks of neighbours, none of which is in two splits
BLOCKS = 60
#: slices left out at the borders of the splits inside a stretch
GAP = 3
_BATCH = 64  # slices whose k-space is in memory at one time


def brain_tumour_1380(
    path: str | Path,
    split: str,
    kspace_crop: Sequence[int] = (64, 64),
    raters: int = 6,
    rater_options: Mapping[str, float] | None = None,
    seed: int = 0,
    subset: int | None = None,
    stretches: int = 1,
) -> list[dict[str, Any]]:
    """Contrast-enhanced T1 brain slices with a tumour, binary label, raters simulated.

    Patients are unknown and neighbours share one, so that the splits are contiguous in the file's order: 966, 207 and 207
    slices. The file is sorted by kind of tumour and by view, however: the first 70 % hold nearly all meningiomas and pituitary
    tumours, the rest gliomas, so that these splits ask for a kind of tumour that training has hardly seen. ``stretches=20``
    cuts the file into 20 stretches and splits each of them so, leaving out 3 slices at every border (a patient has two or
    three neighbours of one view here): the same kinds and views everywhere, 880, 160 and 160 slices.

    Image and label pass through the same k-space crop (the label's indicator, then the threshold 0.5), so that they stay
    aligned; the raters are simulated on the coarse grid.

    Args:
        path: ``brain_tumour_1380.npz``.
        split: "train", "validation" or "test".
        kspace_crop: (height, width) kept of k-space's centre; (256, 256) keeps all.
        raters: number of simulated raters; 1 keeps the expert's label as it is.
        rater_options: "bias", "amplitude", "wavelength" of :class:`~infomri_monai.transforms.SimulateRaters`, in pixels of
            the coarse grid.
        seed: of the simulated raters.
        subset: keep every n-th slice of the split.
        stretches: number of stretches that are each split, from 1 to 30.

    Returns:
        One dictionary a slice: "image", magnitude, float32 (1, height, width), maximum 1; "label", uint8 (rater, height, width);
        "subject", the number of one of 60 equal blocks of neighbouring slices in the file (23 slices in the whole file), which
        with "slice" seeds the simulated raters; "slice", the slice's id in the source; "simulated_raters", a bool.

        "subject" is not a patient. With one stretch no block is in two splits. With several stretches the splits' borders run
        through blocks, so that one number can be in two splits (20 numbers are in validation and in test with
        ``stretches=20``), although no slice is: there it must not be compared between splits. What keeps a patient out of two
        splits are the 3 slices left out at every border.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an argument is outside its range, the file lacks an array, or images, masks and ids do not fit.

    Example:
        >>> brain_tumour_1380("brain_tumour_1380.npz", split="all")
        Traceback (most recent call last):
        ValueError: split must be one of ('train', 'validation', 'test'), got 'all'.

    References:
        Cheng J., "Brain tumor dataset", figshare 1512427, 2017 (CC BY 4.0).
    """
    check_split(split, PARTS)
    size, step = check_size(kspace_crop, "kspace_crop"), check_subset(subset)
    model = rater_model(raters, 2, rater_options, seed)
    check_stretches(stretches)
    images, masks, ids = load_tumours(path)
    block = np.arange(len(ids)) * BLOCKS // len(ids)
    rows = tumour_rows(len(ids), split, stretches)[::step]
    entries: list[dict[str, Any]] = []
    for some in np.split(rows, range(_BATCH, len(rows), _BATCH)):
        check_finite(images[some], some.tolist(), Path(path).name)
        coarse = prepare_images(images[some], size, magnitude=True)
        labels = crop_labels(masks[some], 2, size)
        for row, image, label in zip(some.tolist(), coarse, labels, strict=True):
            where = {"subject": int(block[row]), "slice": int(ids[row])}
            entries.append(add_raters({"image": image[None], "label": label[None], **where}, 2, model))
    return entries


def load_tumours(path: str | Path) -> tuple[NDArray, NDArray[np.uint8], NDArray[np.integer]]:
    """Images, masks and ids of the tumour file, checked against each other.

    Args:
        path: ``brain_tumour_1380.npz``.

    Returns:
        Images and 0/1 masks, (slice, height, width), and the slices' ids in the source, (slice,).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it lacks an array, or the arrays do not fit each other.

    Example:
        >>> load_tumours("absent.npz")
        Traceback (most recent call last):
        FileNotFoundError: path: there is no file absent.npz.
    """
    arrays = load_arrays(path, ["images", "masks_packed", "ids"])
    images, ids = arrays["images"], arrays["ids"]
    masks = np.unpackbits(arrays["masks_packed"], axis=-1) if arrays["masks_packed"].dtype == np.uint8 else None
    if images.ndim != 3 or masks is None or masks.shape != images.shape or ids.shape != images.shape[:1]:
        raise ValueError(
            f"{Path(path).name}: images, masks_packed (packed bits) and ids must fit each other, got {images.shape}, "
            f"{arrays['masks_packed'].shape} and {ids.shape}."
        )
    return images, masks, ids


def check_stretches(stretches: int) -> None:
    """Refuse a number of stretches that a reader of the tumour file cannot cut it into.

    Raises:
        ValueError: if it is not from 1 to 30.

    Example:
        >>> check_stretches(0)
        Traceback (most recent call last):
        ValueError: stretches must lie in [1, 30], got 0.
    """
    if not 1 <= stretches <= 30:
        raise ValueError(f"stretches must lie in [1, 30], got {stretches}.")


def tumour_rows(slices: int, split: str, stretches: int) -> NDArray[np.intp]:
    """Rows of a split of the tumour file, see :func:`brain_tumour_1380`.

    Args:
        slices: number of slices in the file.
        split: "train", "validation" or "test".
        stretches: number of stretches that are each split; 1 divides the file into contiguous blocks.

    Example:
        >>> tumour_rows(1380, "test", 1)[[0, -1]].tolist()
        [1173, 1379]
    """
    if stretches > 1:
        return np.concatenate([part[split] for part in _stretches(slices, stretches)])
    block = np.arange(slices) * BLOCKS // slices
    return np.flatnonzero(np.isin(block, split_cases(range(BLOCKS), PARTS)[split]))


def _stretches(slices: int, stretches: int) -> list[dict[str, NDArray[np.intp]]]:
    """Rows of the splits in every stretch, with ``GAP`` rows between any two splits left out."""
    found = []
    for rows in np.array_split(np.arange(slices), stretches):
        held_back = max(1, round(PARTS["test"] * (len(rows) - 3 * GAP) - 0.5))
        test = rows[len(rows) - GAP - held_back : len(rows) - GAP]
        validation = rows[len(rows) - 2 * (GAP + held_back) : len(rows) - 2 * GAP - held_back]
        train = rows[: len(rows) - 3 * GAP - 2 * held_back]
        found.append({"train": train, "validation": validation, "test": test})
    return found


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
    ndimage, _ = optional_import("scipy.ndimage")
    parts, number = ndimage.label(ndimage.binary_fill_holes(image > 0.1 * np.percentile(image, 99)))
    if not number:
        return 0.0
    head = parts == 1 + np.argmax(ndimage.sum_labels(parts > 0, parts, range(1, number + 1)))
    columns = np.flatnonzero(head.any(0))
    centre, tumour = (ndimage.center_of_mass(part)[1] for part in (head, mask))
    return float((tumour - centre) / (columns[-1] - columns[0] + 1))
