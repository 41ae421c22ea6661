"""Labels of fastMRI knee slices from the annotation files of fastMRI+: ACL sprain, meniscus tear and abnormal."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infomri_monai.data.fastmri import fastmri_knee, read_split, read_volume_file
from infomri_monai.data.prepare import check_split, check_subset, read_text, split_cases

__all__ = [
    "FASTMRI_PLUS_VOLUMES",
    "KNEE_LABELS",
    "Annotations",
    "fastmri_plus_knee",
    "fastmri_plus_volumes",
    "read_annotations",
    "read_file_list",
    "slice_labels",
]

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
    path, text, found = Path(path), read_text(path, "labels_csv"), dict[str, Annotations]()
    try:
        rows = csv.DictReader(text.splitlines())
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
    except csv.Error as error:
        raise ValueError(f"labels_csv {path.name} is no table ({error}).") from None
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
    names = {line.strip().strip(",").removesuffix(".h5") for line in read_text(path, "file_list_csv").splitlines()}
    volumes = sorted(name for name in names if name.startswith("file") and name != "file")
    if not volumes:
        raise ValueError(f"file_list_csv {Path(path).name} names no volume: a line must be a name such as file1000000.")
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


#: volumes of each split, the paper's
FASTMRI_PLUS_VOLUMES = {"train": 816, "validation": 176, "test": 175}
FAT_SUPPRESSED = "CORPDFS_FBK"  # value of the attribute "acquisition"


def fastmri_plus_knee(
    folder: str | Path | Sequence[str | Path],
    split: str,
    labels_csv: str | Path,
    file_list_csv: str | Path,
    names: Sequence[str] | None = None,
    split_file: str | Path | None = None,
    split_seed: int = 0,
    abnormal: str = "any",
    subset: int | None = None,
    require: Sequence[str] = ("kspace",),
) -> list[dict[str, Any]]:
    """Slices of fastMRI single-coil knee volumes with three independent labels: ACL sprain, meniscus tear, abnormal.

    The labels are fastMRI+'s, slice by slice (decision 26): "ACL sprain" of low or high grade; "meniscus tear"; "abnormal", any
    annotated finding, the first two included. The paper has "abnormal" stand for the less frequent pathologies, after [75], which
    can also be read as any finding but the two: ``abnormal="other"``. Artifacts are no finding. A slice without annotation is
    negative if its volume is in the file list, whose volumes a radiologist looked through; a volume that is not has no labels.

    The splits are by volume, see :func:`fastmri_plus_volumes`, or given by ``names`` or ``split_file``. fastMRI names no patients
    in the file's names, and patient identifiers are not read: two volumes can be of one patient.

    "attribute" is a second label that the diagnosis does not need: whether the acquisition suppressed fat.

    Args:
        folder: folder with the ``.h5`` files, or several (``singlecoil_train``, ``singlecoil_val``).
        split: "train", "validation" or "test".
        labels_csv: fastMRI+'s ``knee.csv``.
        file_list_csv: fastMRI+'s ``knee_file_list.csv``.
        names: file names of this split, instead of the rule's.
        split_file: text file with these names, one a line; not together with ``names``.
        split_seed: of the rule.
        abnormal: "any" or "other".
        subset: keep every n-th slice.
        require: arrays that every file must hold, as in :func:`~infomri_monai.data.fastmri_knee`.

    Returns:
        One dictionary a slice: "kspace", the file's path; "slice"; "volume", the file's name without suffix; "subject", the number
        in it; "label", float32 (3,), 0 or 1, in the order of ``KNEE_LABELS``; "attribute", int64, 1 where fat was suppressed
        ("CORPDFS_FBK"). :class:`~infomri_monai.data.ReadFastMRISliced` reads the image and crops it to the grid.

    Raises:
        FileNotFoundError: if a file or folder does not exist, or the folders lack a volume of the split.
        ValueError: if the labels of a volume are missing, an argument is outside its range, or a file is damaged.
        monai.utils.OptionalImportError: if h5py is not installed (extra ``data``).

    Example:
        >>> fastmri_plus_knee("singlecoil_train", "training", "knee.csv", "knee_file_list.csv")
        Traceback (most recent call last):
        ValueError: split must be one of ('train', 'validation', 'test'), got 'training'.

    References:
        Zhao R. et al., "fastMRI+", Scientific Data 2022.
        Zbontar J. et al., "fastMRI: An open dataset and benchmarks for accelerated MRI", 2018.
    """
    check_split(split, FASTMRI_PLUS_VOLUMES)
    step = check_subset(subset)
    slice_labels(None, 0, abnormal)  # checks the argument before files are opened
    if names is not None and split_file is not None:
        raise ValueError("give names or split_file, not both.")
    annotations, listed = read_annotations(labels_csv), read_file_list(file_list_csv)
    given = read_split(split_file) if split_file is not None else names
    volumes = _cohort(annotations, listed, split_seed)[split] if given is None else [Path(n).stem for n in given]
    missing = sorted(set(volumes) - set(listed))
    if missing:
        raise ValueError(
            f"labels missing for volume {', '.join(missing[:5])} ({len(missing)} of {len(volumes)}): "
            f"file_list_csv {Path(file_list_csv).name} does not list it, so nobody looked for findings there."
        )
    folders = [Path(folder)] if isinstance(folder, str | Path) else [Path(one) for one in folder]
    # files that were found by their absolute path, the rest by name, so that the reader says which are missing
    found = [[path.resolve() for one in folders if (path := one / f"{v}.h5").is_file()] for v in volumes]
    paths = [str(here[0]) if here else f"{v}.h5" for v, here in zip(volumes, found, strict=True)]
    slices = fastmri_knee(folders[0], names=paths, require=require)
    return _label(slices, annotations, abnormal)[::step]


def fastmri_plus_volumes(
    labels_csv: str | Path, file_list_csv: str | Path, split_seed: int = 0
) -> dict[str, list[str]]:
    """Volumes of each split by the rule: the listed ones, sorted, shares of 816 / 176 / 175 drawn with a seed.

    The list has 1,172 volumes. The five of which the only annotation is an artifact of the whole study are left out, which gives
    the paper's 1,167 and so exactly its numbers; which volumes the paper had in which split is not published.

    Args:
        labels_csv: fastMRI+'s ``knee.csv``.
        file_list_csv: fastMRI+'s ``knee_file_list.csv``.
        split_seed: any non-negative integer.

    Returns:
        "train", "validation" and "test": sorted names without ".h5"; disjoint.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file is damaged or ``split_seed`` negative.

    Example:
        >>> FASTMRI_PLUS_VOLUMES
        {'train': 816, 'validation': 176, 'test': 175}
    """
    return _cohort(read_annotations(labels_csv), read_file_list(file_list_csv), split_seed)


def _cohort(annotations: dict[str, Annotations], listed: Sequence[str], seed: int) -> dict[str, list[str]]:
    unusable = {v for v, a in annotations.items() if not a.slices and a.study and a.study <= set(NO_FINDING)}
    total = sum(FASTMRI_PLUS_VOLUMES.values())
    parts = {name: number / total for name, number in FASTMRI_PLUS_VOLUMES.items()}
    return split_cases([volume for volume in listed if volume not in unusable], parts, seed)


def _label(slices: list[dict[str, Any]], annotations: dict[str, Annotations], abnormal: str) -> list[dict[str, Any]]:
    numbers: dict[str, int] = {}
    for entry in slices:
        numbers[entry["kspace"]] = max(numbers.get(entry["kspace"], 0), entry["slice"] + 1)
    labels, suppressed = {}, {}
    for path, number in numbers.items():
        volume = Path(path).stem
        labels[path] = slice_labels(annotations.get(volume), number, abnormal, volume)
        with read_volume_file(path) as file:
            sequence = file.attrs.get("acquisition", "")
        suppressed[path] = np.int64((sequence.decode() if isinstance(sequence, bytes) else sequence) == FAT_SUPPRESSED)
    return [
        entry
        | {
            "subject": int("".join(filter(str.isdigit, entry["volume"])) or 0),
            "label": labels[entry["kspace"]][entry["slice"]],
            "attribute": suppressed[entry["kspace"]],
        }
        for entry in slices
    ]
