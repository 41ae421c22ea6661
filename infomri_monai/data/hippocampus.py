"""The shared hippocampi: slices of small volumes with three classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import ResizeWithPadOrCrop
from numpy.typing import NDArray

from infomri_monai.data.labels import add_raters, rater_model
from infomri_monai.data.npz import load_arrays
from infomri_monai.data.prepare import check_axis, check_finite, check_size, check_split, check_subset, split_cases
from infomri_monai.transforms import check_label
from infomri_monai.transforms.common import plain

__all__ = ["hippocampus_200"]

#: share of the volumes in each split
PARTS = {"train": 0.7, "validation": 0.15, "test": 0.15}


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
    check_axis(axis)
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
