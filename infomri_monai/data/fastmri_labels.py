"""fastMRI+ labels of knee slices: ACL sprain, meniscus tear and abnormal, from the published annotation files.

The published format: ``knee.csv`` with the columns file, slice, study_level, x, y, width, height, label, one annotation a row;
``knee_file_list.csv``, the names of the volumes that were looked through, one a line, in its last line "Knee data". A slice's
number is its index in the volume's HDF5 file. A finding of a whole study has study_level "Yes" and no box.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["KNEE_LABELS", "Annotations", "read_annotations", "read_file_list", "slice_labels"]

#: the labels of a slice
KNEE_LABELS = ("ACL sprain", "meniscus tear", "abnormal")
#: what counts as each, in lower case
ACL = ("ligament - acl low grade sprain", "ligament - acl high grade sprain")
MENISCUS = ("meniscus tear",)
#: says something about the image, nothing about the knee
NO_FINDING = ("artifact",)
_COLUMNS = ("file", "slice", "study_level", "label")


class Annotations(NamedTuple):
    """Annotations of one volume, in lower case."""

    slices: dict[int, set[str]]
    study: set[str]


def read_annotations(path: str | Path) -> dict[str, Annotations]:
    """Read an annotation file of fastMRI+.

    Args:
        path: ``knee.csv``.

    Returns:
        Volume name, without ".h5": its annotations. Volumes without any do not occur.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing, or a row has no volume, no label or no slice number; the row is named.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "knee.csv"
        >>> _ = path.write_text("file,slice,study_level,x,y,width,height,label\\nfile1000001,14,No,90,173,35,10,Meniscus Tear\\n")
        >>> read_annotations(path)["file1000001"].slices
        {14: {'meniscus tear'}}

    References:
        Zhao R. et al., "fastMRI+, clinical pathology annotations for knee and brain fully sampled multi-coil MRI data",
        Scientific Data 2022.
    """
    path, found = _existing(path, "labels_csv"), dict[str, Annotations]()
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (rows.fieldnames or [])]
        if missing:
            raise ValueError(f"labels_csv {path.name} lacks the column {', '.join(missing)}; it has {rows.fieldnames}.")
        for row in rows:
            volume, index, level, label = ((row[name] or "").strip() for name in _COLUMNS)
            level, label = level.lower(), label.lower()
            if not volume or not label or level not in ("yes", "no") or (level == "no" and not index.isdecimal()):
                raise ValueError(
                    f"labels_csv {path.name}, line {rows.line_num}: needs file, label, study_level Yes or No, and a slice number "
                    f"from 0 if No, got {volume!r}, {label!r}, {level!r} and {index!r}."
                )
            annotations = found.setdefault(volume.removesuffix(".h5"), Annotations({}, set()))
            if level == "yes":
                annotations.study.add(label)
            else:
                annotations.slices.setdefault(int(index), set()).add(label)
    return found


def read_file_list(path: str | Path) -> list[str]:
    """Read the names of the volumes that fastMRI+'s radiologist looked through; those without annotation are negative.

    Args:
        path: ``knee_file_list.csv``; a line that does not begin with "file" is no volume.

    Returns:
        The names, without ".h5", sorted, each once.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it names no volume.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "knee_file_list.csv"
        >>> _ = path.write_text("file1000001\\nfile1000000\\nKnee data\\n")
        >>> read_file_list(path)
        ['file1000000', 'file1000001']
    """
    path = _existing(path, "file_list_csv")
    names = {line.strip().strip(",").removesuffix(".h5") for line in path.read_text(encoding="utf-8-sig").splitlines()}
    volumes = sorted(name for name in names if name.startswith("file") and name != "file")
    if not volumes:
        raise ValueError(f"file_list_csv {path.name} names no volume: a line must be a name such as file1000000.")
    return volumes


def slice_labels(
    annotations: Annotations | None, slices: int, abnormal: str = "any", volume: str = "volume"
) -> NDArray[np.float32]:
    """Labels of a volume's slices.

    A finding of the whole study holds for every slice; an artifact is no finding.

    Args:
        annotations: of the volume; None if it has none.
        slices: number of slices of the volume.
        abnormal: what the third label means: "any" finding, the first two included, or any "other" finding.
        volume: its name, for messages.

    Returns:
        0 and 1, float32, (slices, 3), in the order of ``KNEE_LABELS``.

    Raises:
        ValueError: if ``abnormal`` is unknown, or an annotation is of a slice that the volume does not have.

    Example:
        >>> slice_labels(Annotations({1: {"meniscus tear"}}, set()), 2).tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    """
    if abnormal not in ("any", "other"):
        raise ValueError(f"abnormal must be 'any' or 'other', got {abnormal!r}.")
    annotations = annotations or Annotations({}, set())
    beyond = [index for index in sorted(annotations.slices) if index >= slices]
    if beyond:
        raise ValueError(
            f"{volume} has {slices} slices, but labels_csv annotates its slice {', '.join(map(str, beyond))}."
        )
    found = [annotations.slices.get(index, set()) | annotations.study for index in range(slices)]
    return np.array([_labels(findings, abnormal) for findings in found], dtype=np.float32).reshape(
        slices, len(KNEE_LABELS)
    )


def _labels(findings: Iterable[str], abnormal: str) -> Sequence[bool]:
    left = set(findings) - set(NO_FINDING)
    other = left - {*ACL, *MENISCUS}
    return bool(left & {*ACL}), bool(left & {*MENISCUS}), bool(left if abnormal == "any" else other)


def _existing(path: str | Path, name: str) -> Path:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{name}: there is no file {path}.")
    return Path(path)
