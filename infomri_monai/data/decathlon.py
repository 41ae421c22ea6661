"""Slices of any MONAI or Decathlon data list (a JSON file of images and labels), one label or several raters' an image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from monai.data import load_decathlon_datalist

from infomri_monai.data.folder import read_volume
from infomri_monai.data.headers import Volume, file_volume
from infomri_monai.data.prepare import check_split, split_cases

__all__ = ["decathlon_slices"]

_SECTIONS = {"train": "training", "validation": "validation", "test": "test"}


def decathlon_slices(
    data_list: str | Path,
    split: str,
    axis: int = 2,
    raters: int = 1,
    labelled_only: bool = False,
    channel: int = 0,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    base_dir: str | Path | None = None,
) -> list[dict[str, Any]]:
    """List the slices of a data list, for :class:`~infomri_monai.data.ReadLabelledSliced`; all headers are checked first.

    Split: the list's own "training", "validation" and "test" where their items have labels (those of the Decathlon's "test"
    have none). A part that the list lacks is taken from "training" by
    :func:`~infomri_monai.data.prepare.split_cases`: items in the order of the list, ``seed``, the fractions of "train" and the
    lacking parts scaled to a sum of 1. An item is never divided: one file a patient, and no patient is on two sides.

    Args:
        data_list: the JSON file, ``dataset.json`` of the Decathlon.
        split: "train", "validation" or "test".
        axis: spatial axis to cut across, 0 to 2; a 2D image is its one slice.
        raters: R. An item's "label" is a path, or a list of at most R paths, one a rater, ``null`` for a missing one; a shorter
            list misses the last ones.
        labelled_only: keep the slices in which a rater drew something; reads the labels.
        channel: which image of an item with several: of its list of files, or of its file's fourth axis.
        fractions: of "train", "validation" and "test".
        seed: of the division.
        base_dir: folder the paths are relative to; None is the list's own.

    Returns:
        One dictionary a slice: "image", a path; "label", ``raters`` paths, None for a missing rater; "volume", the image's file
        name without suffix (name files without identifiers); "subject", the item's number, running through training,
        validation and test; "slice", "axis" and "channel"; "simulated_raters", False.

    Raises:
        FileNotFoundError: if the list or a listed file does not exist.
        OSError: if a file is unreadable.
        ValueError: if an argument is outside its range, the list is no JSON file with "training", an item lacks image or label
            or has more labels than ``raters``, or label and image differ in grid or place.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.nii.gz", "a_label.nii.gz"):
        ...     nibabel.Nifti1Image(np.ones((4, 5, 2), np.float32), np.eye(4)).to_filename(folder / name)
        >>> text = json.dumps({"training": [{"image": "a.nii.gz", "label": "a_label.nii.gz"}]})
        >>> _ = (folder / "dataset.json").write_text(text)
        >>> [(e["volume"], e["slice"]) for e in decathlon_slices(folder / "dataset.json", "train", fractions=(1, 0, 0))]
        [('a', 0), ('a', 1)]

    References:
        Antonelli M. et al., "The Medical Segmentation Decathlon", Nature Communications 2022.
    """
    check_split(split)
    if axis not in (0, 1, 2):
        raise ValueError(f"axis must be 0, 1 or 2, got {axis}.")
    if raters < 1 or channel < 0:
        raise ValueError(f"raters must be at least 1 and channel at least 0, got {raters} and {channel}.")
    if len(fractions) != 3 or any(f < 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must be three numbers of at least 0 that sum to 1, got {tuple(fractions)}.")
    items = _divide(_sections(Path(data_list), base_dir), split, fractions, seed)
    if not items:
        raise ValueError(
            f"split {split!r} is empty: too few items in {Path(data_list).name} for fractions={tuple(fractions)}."
        )
    cases = [_case(number, item, raters, channel) for number, item in items]
    return [entry for case in cases for entry in _slices(case, axis, labelled_only)]


def _sections(path: Path, base_dir: str | Path | None) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """Numbered items of each part of the list that has labels."""
    if not path.is_file():
        raise FileNotFoundError(f"data_list: there is no file {path}.")
    try:
        content = json.loads(path.read_text())
        keys = [key for key in _SECTIONS.values() if content.get(key)]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"data_list {path.name} must be a JSON object with a list 'training'.") from error
    if "training" not in keys:
        raise ValueError(f"data_list {path.name} has no 'training' items; it has {', '.join(content) or 'nothing'}.")
    base = Path(base_dir or path.parent).absolute()
    sections: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    number = 0
    for part, key in _SECTIONS.items():
        items = load_decathlon_datalist(path, True, key, base) if key in keys else []
        for item in items:
            if isinstance(item.get("label"), list):  # MONAI leaves the paths of a list with null as they are
                item["label"] = [p and str(base / p) for p in item["label"]]
        if items and (key != "test" or all(item.get("label") for item in items)):
            sections[part] = list(enumerate(items, number))
        number += len(items)
    return sections


def _divide(
    sections: dict[str, list[tuple[int, dict[str, Any]]]], split: str, fractions: Sequence[float], seed: int
) -> list[tuple[int, dict[str, Any]]]:
    if split != "train" and split in sections:
        return sections[split]
    shares = {part: f for part, f in zip(_SECTIONS, fractions, strict=True) if part == "train" or part not in sections}
    total = sum(shares.values())
    if total <= 0:
        raise ValueError(f"fractions {tuple(fractions)} leave nothing of 'training' for {', '.join(shares)}.")
    return split_cases(sections["train"], {part: f / total for part, f in shares.items()}, seed)[split]


class _Case(NamedTuple):
    number: int
    image: Volume
    labels: list[Volume | None]
    channel: int


def _case(number: int, item: dict[str, Any], raters: int, channel: int) -> _Case:
    """The headers of one item, checked against each other."""
    image, label = item.get("image"), item.get("label")
    if not image or not label:
        raise ValueError(f"item {number} of the data list lacks {'image' if not image else 'label'}.")
    volume = _image([image] if isinstance(image, str) else list(image), number, channel)
    labels = [label] if isinstance(label, str) else list(label)
    if len(labels) > raters or not any(labels):
        raise ValueError(f"item {number} must have labels of 1 to {raters} raters (raters={raters}), got {labels}.")
    slots = [_header(p, (2, 3)) if p else None for p in labels] + [None] * (raters - len(labels))
    for slot in slots:
        if slot is not None:
            _check_same_place(volume, slot)
    return _Case(number, volume, slots, channel)


def _image(paths: list[str], number: int, channel: int) -> Volume:
    """The header of the file that holds the channel."""
    channels = len(paths)
    if channels == 1:
        shape = _header(paths[0], (2, 3, 4)).shape
        channels = shape[3] if len(shape) == 4 else 1
    if channel >= channels:
        raise ValueError(f"item {number} has {channels} image channels, channel={channel} does not exist.")
    return _header(paths[channel], (2, 3)) if len(paths) > 1 else _header(paths[0], (2, 3, 4))


def _header(path: str, axes: tuple[int, ...]) -> Volume:
    return file_volume(Path(path), Path(path).name, axes)


def _check_same_place(image: Volume, label: Volume) -> None:
    """Refuse a label of another grid, or whose corners lie more than half a pixel from the image's (a flip, say)."""
    grid = image.shape[:3]
    if label.shape != grid:
        raise ValueError(f"{label.path.name}: label and image must have one grid, got {label.shape} and {grid}.")
    if any(volume.path.suffix.lower() == ".png" for volume in (image, label)):
        return
    ours, theirs = (np.asarray(nibabel.load(v.path).affine) for v in (image, label))  # type: ignore[attr-defined]
    corners = np.array([(*c, 1) for c in product(*((0, n - 1) for n in (*grid, 1)[:3]))])
    apart = np.linalg.norm((corners @ (ours - theirs).T)[:, :3], axis=1).max()
    pixel = np.linalg.norm(ours[:3, :3], axis=0).min()
    if apart > pixel / 2:
        raise ValueError(
            f"{label.path.name}: label and image must lie in one place, their affines put corners {apart:.3g} mm apart "
            f"(accepted: half a pixel, {pixel / 2:.3g} mm)."
        )


def _slices(case: _Case, axis: int, labelled_only: bool) -> list[dict[str, Any]]:
    shape = case.image.shape[:3]
    kept = np.ones(shape[axis] if len(shape) == 3 else 1, dtype=bool)
    if labelled_only:
        drawn = [read_volume(label).numpy()[0].reshape((*shape, 1)[:3]) != 0 for label in case.labels if label]
        across = tuple(a for a in range(3) if a != (axis if len(shape) == 3 else 2))
        kept = np.any([label.any(axis=across) for label in drawn], axis=0)
    paths = [None if label is None else str(label.path) for label in case.labels]
    names = {"image": str(case.image.path), "volume": case.image.name, "subject": case.number}
    place = {"axis": axis, "channel": case.channel, "simulated_raters": False}
    return [{**names, **place, "label": list(paths), "slice": int(index)} for index in np.flatnonzero(kept)]
