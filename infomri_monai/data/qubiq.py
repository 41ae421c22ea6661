"""QUBIQ 2021 prostate: one T2-weighted slice a case, two structures, six raters (NIfTI, one file a task and rater).

The published layout::

    training_data_v3_QC/prostate/Training/caseNN/             image.nii.gz  task01_seg01.nii.gz ... task02_seg06.nii.gz
    validation_data_qubiq2021_QC/prostate/Validation/caseNN/  the same

The archive of the official test cases holds no labels. One case has five of the six raters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infomri_monai.data.image_files import file_volume, read_volume
from infomri_monai.data.labels import fit_to_grid, join_raters
from infomri_monai.data.prepare import check_size, check_split, check_validation, existing_folder, split_cases

__all__ = ["qubiq_prostate"]

_TRAINING = "training_data_v3_QC/prostate/Training"
_VALIDATION = "validation_data_qubiq2021_QC/prostate/Validation"
_TASKS = (1, 2)


def qubiq_prostate(
    folder: str | Path,
    split: str,
    task: int = 1,
    raters: int = 6,
    grid: Sequence[int] = (128, 128),
    validation: float = 0.15,
    seed: int = 0,
    magnitude: bool = True,
) -> list[dict[str, Any]]:
    """Read QUBIQ 2021 prostate slices with the labels of all raters.

    Split: the official training cases are divided into "train" and "validation" by
    :func:`~infomri_monai.data.prepare.split_cases` (cases in the order of their numbers, ``seed``); the official validation
    cases are "test", because no labels of the official test cases are public. Both tasks have the same split.

    Args:
        folder: where the two archives were unpacked.
        split: "train", "validation" or "test".
        task: 1 or 2, the structure: ``taskTT`` of the files' names.
        raters: R, number of raters; a file that is absent is a missing rater.
        grid: (height, width); axes as in the files, (x, y). Each slice is padded to the grid's shape and cropped in k-space, see
            :func:`~infomri_monai.data.labels.fit_to_grid`.
        validation: fraction of the official training cases in "validation".
        seed: of that division.
        magnitude: False keeps the image complex after the crop.

    Returns:
        One dictionary a case: "image", float32 (complex64 if not ``magnitude``), (1, *grid), largest magnitude 1; "label",
        int16, (raters, *grid), 0 or 1, a missing rater -1 in every pixel; "subject", the case's number; "slice", 0;
        "simulated_raters", False.

    Raises:
        FileNotFoundError: if the folder of the split does not exist or holds no case, or a case lacks its image.
        OSError: if a file is unreadable.
        ValueError: if an argument is outside its range, the split is empty, a case has no label of the task or one of a rater
            beyond ``raters``, label and image have different grids, or a label is not 0/1.

    Example:
        >>> qubiq_prostate("nowhere", "test")
        Traceback (most recent call last):
        FileNotFoundError: folder: there is no folder nowhere/validation_data_qubiq2021_QC/prostate/Validation.

    References:
        Li H. B. et al., "QUBIQ: Uncertainty quantification for biomedical image segmentation challenge", 2024.
    """
    check_split(split)
    if task not in _TASKS:
        raise ValueError(f"task must be one of {_TASKS}, got {task!r}.")
    if raters < 1:
        raise ValueError(f"raters must be at least 1, got {raters}.")
    parts = check_validation(validation)
    size = check_size(grid, "grid")
    cases = _cases(Path(folder) / (_VALIDATION if split == "test" else _TRAINING))
    if split != "test":
        cases = split_cases(cases, parts, seed)[split]
    if not cases:
        raise ValueError(f"split {split!r} is empty: too few training cases for validation={validation}.")
    entries = []
    named = [_labels(path, task, raters) for _, path in cases]  # all names are checked before the first read
    for (number, _), (image_path, label_paths) in zip(cases, named, strict=True):
        image = _plane(image_path)
        labels = [None if path is None else _plane(path) for path in label_paths]
        names = ["" if path is None else f"{path.parent.name}/{path.name}" for path in label_paths]
        label = join_raters(labels, names, image.shape, 2)
        image, label = fit_to_grid(image, label, 2, size, magnitude=magnitude)
        entries.append({"image": image, "label": label, "subject": number, "slice": 0, "simulated_raters": False})
    return entries


def _cases(folder: Path) -> list[tuple[int, Path]]:
    """Number and folder of each case, by number."""
    existing_folder(folder)
    found = [(re.fullmatch(r"case(\d+)", path.name), path) for path in folder.iterdir() if path.is_dir()]
    cases = sorted((int(match[1]), path) for match, path in found if match)
    if not cases:
        raise FileNotFoundError(f"folder {folder} holds no folder caseNN.")
    return cases


def _labels(case: Path, task: int, raters: int) -> tuple[Path, list[Path | None]]:
    """The image's path and one path a rater, None for a missing rater."""
    paths = {int(path.name[-9:-7]): path for path in case.glob(f"task{task:02d}_seg[0-9][0-9].nii.gz")}
    beyond = sorted(set(paths) - set(range(1, raters + 1)))
    if beyond:
        raise ValueError(f"{case.name} has labels of rater {', '.join(map(str, beyond))}: raters={raters} is too few.")
    if not paths:
        raise ValueError(f"{case.name} holds no label task{task:02d}_segRR.nii.gz of any of the {raters} raters.")
    if not (case / "image.nii.gz").is_file():
        raise FileNotFoundError(f"{case.name} lacks image.nii.gz.")
    return case / "image.nii.gz", [paths.get(rater) for rater in range(1, raters + 1)]


def _plane(path: Path) -> NDArray[np.float32]:
    volume = file_volume(path, f"{path.parent.name}/{path.name}")
    if volume.shape[2:] not in ((), (1,)):
        raise ValueError(f"{volume.name} must hold one slice, got shape {volume.shape}.")
    return read_volume(volume).numpy().reshape(volume.shape[:2])
