"""BRISC 2025, segmentation task: contrast-enhanced T1 slices of brain tumours with one mask each (JPEG and PNG).

The published layout::

    segmentation_task/train/images/brisc2025_train_00001_gl_ax_t1.jpg   segmentation_task/train/masks/... .png
    segmentation_task/test/images/brisc2025_test_00001_gl_ax_t1.jpg     segmentation_task/test/masks/... .png

with split, number, tumour (``gl`` glioma, ``me`` meningioma, ``pi`` pituitary), plane (``ax``, ``co``, ``sa``) and
sequence; 3933 and 860 pairs. The images were collected from public sets: sizes vary, some are stored in colour, patients
are not named, and some images occur twice.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.labels import add_raters, fit_to_grid, rater_model
from infomri_monai.data.prepare import (
    check_present,
    check_size,
    check_split,
    check_validation,
    existing_folder,
    split_cases,
)

__all__ = ["brisc"]

_NAME = re.compile(r"brisc2025_(train|test)_(?P<number>\d+)_(?P<tumour>[a-z]+)_(?P<view>[a-z]+)_[a-z0-9]+")
_SUFFIXES = (".jpg", ".jpeg", ".png")


class _Pair(NamedTuple):
    number: int
    tumour: str
    view: str
    image: Path
    mask: Path


def brisc(
    folder: str | Path,
    split: str,
    grid: Sequence[int] = (128, 128),
    raters: int = 1,
    rater_options: Mapping[str, float] | None = None,
    seed: int = 0,
    validation: float = 0.15,
    magnitude: bool = True,
) -> list[dict[str, Any]]:
    """Read BRISC 2025 slices with their tumour masks.

    Split: "test" is the official one. Of the official training pairs, "validation" is the last 15 % by number of every
    tumour and plane and "train" the rest: contiguous blocks, because patients are unknown and neighbours may share one. A
    training image that is a byte-for-byte copy of a validation or test image is left out, a validation image that is a
    copy of a test image likewise.

    Args:
        folder: the folder that holds ``segmentation_task``.
        split: "train", "validation" or "test".
        grid: (height, width). Each slice is made grey, padded to the grid's shape and cropped in k-space, the mask by the same
            crop and a threshold of 0.5, see :func:`~infomri_monai.data.labels.fit_to_grid`.
        raters: 1 gives the published mask; more give as many simulated raters, drawn on the coarse grid.
        rater_options: "bias", "amplitude", "wavelength" of :class:`~infomri_monai.transforms.SimulateRaters`, in pixels of
            the grid.
        seed: of the simulated raters.
        validation: fraction of the training pairs in "validation".
        magnitude: False keeps the image complex after the crop.

    Returns:
        One dictionary a slice: "image", float32 (complex64 if not ``magnitude``), (1, *grid), largest magnitude 1; "label",
        uint8, (raters, *grid), 0 or 1; "subject" and "slice", both the image's number, unique in the official split;
        "tumour" and "view", the codes of the name; "simulated_raters", whether ``raters`` exceeds 1.

    Raises:
        FileNotFoundError: if a folder does not exist or holds no image, or an image has no mask.
        OSError: if a file is unreadable.
        ValueError: if an argument is outside its range, a name does not follow the pattern, or image and mask differ in size.

    Example:
        >>> brisc("nowhere", "test")
        Traceback (most recent call last):
        FileNotFoundError: folder: there is no folder nowhere/segmentation_task/test/images.

    References:
        Fateh A. et al., "BRISC: Annotated dataset for brain tumor segmentation and classification", 2025.
    """
    check_split(split)
    size = check_size(grid, "grid")
    parts = check_validation(validation)
    model = rater_model(raters, 2, rater_options, seed)
    entries = []
    for pair in _choose(Path(folder) / "segmentation_task", split, parts):
        image, mask = _read(pair)
        image, label = fit_to_grid(image, mask[None], 2, size, magnitude=magnitude)
        names = {"subject": pair.number, "slice": pair.number, "tumour": pair.tumour, "view": pair.view}
        entries.append(add_raters({"image": image, "label": label, **names}, 2, model))
    return entries


def _choose(folder: Path, split: str, parts: Mapping[str, float]) -> list[_Pair]:
    """The pairs of a split, none of them a copy of a pair that is held back."""
    test = _pairs(folder / "test")
    if split == "test":
        return test
    groups = defaultdict(list)
    for pair in _pairs(folder / "train"):
        groups[pair.tumour, pair.view].append(pair)
    divided = [split_cases(group, parts) for group in groups.values()]
    chosen = {part: sorted(pair for group in divided for pair in group[part]) for part in parts}
    held = {_digest(pair.image) for pair in (test if split == "validation" else [*chosen["validation"], *test])}
    kept = [pair for pair in chosen[split] if _digest(pair.image) not in held]
    if not kept:
        raise ValueError(f"split {split!r} is empty: too few images for validation={parts['validation']}.")
    return kept


def _pairs(folder: Path) -> list[_Pair]:
    """Images with their masks by number, after checking all names."""
    images, masks = (existing_folder(folder / name) for name in ("images", "masks"))
    pairs = []
    for path in sorted(p for p in images.iterdir() if p.suffix.lower() in _SUFFIXES):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise ValueError(f"{path.name} must be named brisc2025_SPLIT_NUMBER_TUMOUR_PLANE_SEQUENCE.")
        number, tumour, view = int(match["number"]), match["tumour"], match["view"]
        pairs.append(_Pair(number, tumour, view, path, masks / f"{path.stem}.png"))
    if not pairs:
        raise FileNotFoundError(f"folder {images} holds no image ({', '.join(_SUFFIXES)}).")
    check_present([pair.mask for pair in pairs], masks)
    return sorted(pairs)


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _read(pair: _Pair) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Grey image and 0/1 mask, both (height, width)."""
    image, mask = _grey(pair.image), _grey(pair.mask)
    if image.shape != mask.shape:
        raise ValueError(f"{pair.mask.name}: mask and image must have one size, got {mask.shape} and {image.shape}.")
    level = 127 if mask.max() > 1 else 0  # borders are published with intermediate greys
    return image.astype(np.float32), (mask > level).astype(np.uint8)


def _grey(path: Path) -> NDArray[np.uint8]:
    pil_image, _ = optional_import("PIL.Image")
    try:
        with pil_image.open(path) as file:
            return np.asarray(file.convert("L"))
    except OSError as error:
        raise OSError(f"{path.name} is not a readable image ({type(error).__name__}).") from error
