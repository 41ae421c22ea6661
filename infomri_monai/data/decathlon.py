"""Slices of any MONAI or Decathlon data list (a JSON file of images and labels), one label or several raters' an image."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import load_decathlon_datalist
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.data.image_files import Volume, file_volume, read_volume
from infomri_monai.data.labels import fit_to_grid, join_raters
from infomri_monai.data.prepare import check_axis, check_size, check_split, read_text, split_cases
from infomri_monai.data.volumes import extract_slice

__all__ = ["ReadLabelledSliceD", "ReadLabelledSliceDict", "ReadLabelledSliced", "decathlon_slices"]

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
    check_axis(axis)
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
    text = read_text(path, "data_list")
    try:
        content = json.loads(text)
        keys = [key for key in _SECTIONS.values() if content.get(key)]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"data_list {path.name} must be a JSON object with a list 'training'.") from error
    if "training" not in keys:
        raise ValueError(f"data_list {path.name} has no 'training' items; it has {', '.join(content) or 'nothing'}.")
    base = Path(base_dir or path.parent).absolute()
    sections: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    number = 0
    for part, key in _SECTIONS.items():
        try:
            items = load_decathlon_datalist(path, True, key, base) if key in keys else []
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"data_list {path.name}: {key!r} must list objects with paths ({type(error).__name__})."
            ) from error
        if not all(isinstance(item, dict) for item in items):
            raise ValueError(f"data_list {path.name}: {key!r} must list objects with paths.")
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


class ReadLabelledSliced(MapTransform):
    """Read one slice of an image and of its raters' labels from disk, and bring both to a grid.

    Reads the entries of :func:`~infomri_monai.data.decathlon_slices`. NIfTI and PNG; axes are in the file's order (x, y, z). The
    last case that was read is kept, so that its slices in a row cost one reading; shuffled slices want
    ``monai.data.CacheDataset`` with ``num_workers=1``. Images are taken as magnitudes of MR: no value is shifted.

    Args:
        keys: key of the image's path, replaced by float32 (complex64 where resampled and not ``magnitude``), (1, *grid).
        label_key: key of the labels' paths, None for a missing rater, replaced by (raters, *grid): uint8, or int16 with -1 in
            every pixel of a missing rater where there are several slots.
        num_classes: C; label values must be 0 to C - 1.
        grid: (height, width); None keeps the slice's own, which then must be one for a whole batch.
        resample: False crops and pads the image to the grid; True keeps the field of view and lowers the resolution in k-space, see
            :func:`~infomri_monai.data.labels.fit_to_grid`.
        magnitude: take the image's magnitude after resampling; else it is complex then.
        normalise: divide the image by its largest magnitude.
        allow_missing_keys: pass entries without the key.

    Raises:
        ValueError: if ``num_classes`` is below 2 or ``grid`` is no size; when called, if the slice does not exist, label and image
            differ in grid, a label value is outside the classes, or the image holds NaN or Inf.
        OSError: when called, if a file is unreadable.

    Example:
        >>> import tempfile, nibabel
        >>> path = tempfile.mkdtemp() + "/a.nii"
        >>> nibabel.Nifti1Image(np.ones((4, 6, 2), np.float32), np.eye(4)).to_filename(path)
        >>> entry = {"image": path, "label": [path, None], "slice": 1, "axis": 2, "channel": 0}
        >>> read = ReadLabelledSliced("image", grid=(4, 4))(entry)
        >>> read["image"].shape, read["label"].shape, read["label"][:, 0, 0].tolist()
        (torch.Size([1, 4, 4]), torch.Size([2, 4, 4]), [1, -1])
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        label_key: str = "label",
        num_classes: int = 2,
        grid: Sequence[int] | None = (128, 128),
        resample: bool = False,
        magnitude: bool = True,
        normalise: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, background included, got {num_classes}.")
        self.label_key, self.num_classes = label_key, num_classes
        self.grid = None if grid is None else check_size(grid, "grid")
        self.resample, self.magnitude, self.normalise = resample, magnitude, normalise

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            paths = (d[key], *d[self.label_key])
            volumes = _last_case(paths, int(d.pop("channel", 0)), _stamps(paths))
            place = (int(d["slice"]), int(d.pop("axis", 2)))
            image, *labels = (None if volume is None else _plane(volume, *place) for volume in volumes)
            assert image is not None
            names = ["" if path is None else Path(path).name for path in paths[1:]]
            label = join_raters(labels, names, image.shape, self.num_classes)
            grid = self.grid or image.shape
            options = (self.num_classes, grid, self.resample, self.magnitude, self.normalise)
            image, label = fit_to_grid(image, label, *options)
            label = label if len(label) > 1 else label.astype(np.uint8)
            d[key], d[self.label_key] = torch.from_numpy(image), torch.from_numpy(label)
        return d


ReadLabelledSliceD = ReadLabelledSliceDict = ReadLabelledSliced


def _stamps(paths: Sequence[str | None]) -> tuple[Any, ...]:
    """What changes with a file's content, so that a file written anew is read anew."""
    found = [Path(p).stat() if p and Path(p).is_file() else None for p in paths]
    return tuple(f and (f.st_mtime_ns, f.st_size) for f in found)


@lru_cache(maxsize=1)
def _last_case(paths: tuple[str | None, ...], channel: int, stamps: tuple[Any, ...]) -> list[Tensor | None]:
    """All volumes of one case, the image first."""
    accepted = [(2, 3, 4)] + [(2, 3)] * (len(paths) - 1)
    volumes = [p and file_volume(Path(p), Path(p).name, axes) for p, axes in zip(paths, accepted, strict=True)]
    return [read_volume(v, channel) if v else None for v in volumes]


def _plane(volume: Tensor, index: int, axis: int) -> NDArray[np.float32]:
    return extract_slice(volume, index, axis)[0].as_tensor().numpy()  # type: ignore[attr-defined]
