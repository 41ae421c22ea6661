"""Data lists of the shared segmentation sets: brain tumours (binary) and hippocampi (three classes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import ResizeWithPadOrCrop
from numpy.typing import NDArray

from infomri_monai.data.labels import add_raters, check_subset, crop_labels, rater_model
from infomri_monai.data.npz import load_arrays
from infomri_monai.data.prepare import check_finite, check_size, check_split, prepare_images, split_cases
from infomri_monai.transforms import check_label
from infomri_monai.transforms.common import plain

__all__ = ["brain_tumour_1380", "check_stretches", "hippocampus_200", "load_tumours", "tumour_rows"]

#: share of the contiguous blocks of slices (tumours) and of the volumes (hippocampi) in each split
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


def hippocampus_200(
    path: str | Path,
    split: str,
    grid: Sequence[int] = (48, 64),
    slices_per_volume: int | None = None,
    axis: int = 2,
    raters: int = 6,
    rater_options: Mapping[str, float] | None = None,
    seed: int = 0,
    subset: int | None = None,
    keep_unlabelled: bool = False,
) -> list[dict[str, Any]]:
    """Slices of 200 hippocampus volumes, classes 0 background, 1 anterior, 2 posterior, raters simulated.

    The splits are by volume, 140, 30 and 30 in the order of their keys. Each volume is divided by its own 99.5th percentile
    and clipped to [0, 1], one scale for all its slices. Slices are padded with zeros, or cropped, about
    their centre to ``grid``, without resampling; image and label alike.

    Args:
        path: ``hippocampus_200.npz``.
        split: "train", "validation" or "test".
        grid: (height, width) in pixels.
        slices_per_volume: this many slices of each volume (fewer where it has fewer), evenly spread; None for all.
        axis: axis that runs through the slices: 0, 1 or 2.
        raters: number of simulated raters; 1 keeps the expert's label as it is.
        rater_options: "bias", "amplitude", "wavelength" of :class:`~infomri_monai.transforms.SimulateRaters`, pixels.
        seed: of the simulated raters.
        subset: keep every n-th volume of the split.
        keep_unlabelled: also slices whose label is background everywhere.

    Returns:
        One dictionary a slice: "image", float32 (1, *grid), in [0, 1]; "label", uint8 (rater, *grid); "subject", the number in
        the volume's key; "slice", the index along ``axis``; "simulated_raters", a bool.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if an argument is outside its range, an image lacks its label, their shapes differ, an image has negative,
            NaN or Inf values or is zero everywhere, or a label has a value above 2.

    Example:
        >>> hippocampus_200("hippocampus_200.npz", "test", axis=3)
        Traceback (most recent call last):
        ValueError: axis must be 0, 1 or 2, got 3.

    References:
        Antonelli M. et al., "The Medical Segmentation Decathlon", Nature Communications 2022, task 4 (CC BY-SA 4.0).
    """
    check_split(split, PARTS)
    if axis not in (0, 1, 2):
        raise ValueError(f"axis must be 0, 1 or 2, got {axis!r}.")
    if slices_per_volume is not None and slices_per_volume < 1:
        raise ValueError(f"slices_per_volume must be None or at least 1, got {slices_per_volume!r}.")
    fit = ResizeWithPadOrCrop(check_size(grid, "grid"))
    step, model = check_subset(subset), rater_model(raters, 3, rater_options, seed)
    arrays = load_arrays(path)
    volumes = sorted(key.removesuffix("_img") for key in arrays if key.endswith("_img"))
    if not volumes:
        raise ValueError(
            f"{Path(path).name} holds no array hippocampus_NNN_img; it holds {', '.join(arrays) or 'none'}."
        )
    entries: list[dict[str, Any]] = []
    for volume in split_cases(volumes, PARTS)[split][::step]:
        image, label = _volume(arrays, volume, axis)
        eligible = np.arange(len(label)) if keep_unlabelled else np.flatnonzero(label.any((1, 2)))
        chosen = _spread(eligible, slices_per_volume)
        images, labels = (plain(fit(torch.from_numpy(stack[chosen]))).numpy() for stack in (image, label))
        for index, x, y in zip(chosen, images, labels, strict=True):
            where = {"subject": int(volume.rpartition("_")[2]), "slice": int(index)}
            entries.append(add_raters({"image": x[None], "label": y[None], **where}, 3, model))
    return entries


def _volume(arrays: Mapping[str, NDArray], key: str, axis: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One volume's image, scaled to [0, 1], and label, both (slice, height, width)."""
    image, label = arrays[f"{key}_img"], arrays.get(f"{key}_lab")
    if label is None or label.shape != image.shape or image.ndim != 3:
        found = "none" if label is None else str(label.shape)
        raise ValueError(f"{key}_lab must have the shape of {key}_img, three axes, {image.shape}, got {found}.")
    check_label(label, 3, name=f"{key}_lab")
    image = np.moveaxis(image.astype(np.float32), axis, 0)
    check_finite(image, range(len(image)), f"{key}_img")
    top = float(np.percentile(image, 99.5))
    if image.min() < 0 or top <= 0:
        raise ValueError(f"{key}_img must have no negative value and a positive 99.5th percentile.")
    return np.clip(image / top, 0, 1), np.moveaxis(label, axis, 0).astype(np.uint8)


def _spread(eligible: NDArray[np.intp], number: int | None) -> NDArray[np.intp]:
    """``number`` of the slices, in the middle of equal parts of their list."""
    if number is None or number >= len(eligible):
        return eligible
    return eligible[((np.arange(number) + 0.5) * len(eligible) / number).astype(int)]
