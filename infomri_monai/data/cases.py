"""What inference reconstructs: one entry per case, found and checked before any work."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from infomri_monai.data.embedded import embedded_subjects
from infomri_monai.data.embedded_lesions import embedded_lesions as make_lesions
from infomri_monai.data.headers import find_volumes
from infomri_monai.data.kspace_file import KSPACE_SUFFIXES, check_kspace_file

__all__ = ["inference_cases"]

_EMBEDDED_SUBJECTS, _EMBEDDED_LESION_SUBJECTS = 2, 4


def inference_cases(
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "embedded",
    pattern: str = "**/*",
    kind: str = "image",
    embedded_grid: Sequence[int] = (96, 96),
    embedded_lesions: bool = False,
) -> list[dict[str, Any]]:
    """List the cases of a folder, of one file or of a list of files; all headers are checked, no pixel is read.

    Args:
        dataset_dir: a folder; a file; a list of files and folders; or "embedded" (also ""), two subjects of the test split of
            :func:`~infomri_monai.data.embedded_subjects`, complex, which need no download.
        pattern: glob pattern of the files below a folder. Of a DICOM folder always the whole series is taken.
        kind: ``"image"`` for images, whose acquisition is simulated: NIfTI (2D or 3D, real or complex), PNG and DICOM series.
            ``"kspace"`` for raw undersampled k-space: ``.npz``, ``.npy`` and HDF5 (an array "kspace" as fastMRI's files have it, or
            ISMRMRD), see :func:`~infomri_monai.data.kspace_file.read_kspace`.
        embedded_grid: (height, width) of the embedded subjects.
        embedded_lesions: "embedded" is four subjects of :func:`~infomri_monai.data.embedded_lesions.embedded_lesions`, with a
            simulated lesion in some slices.

    Returns:
        One dictionary a case, in the order of the names, for :class:`~infomri_monai.data.ReadCased`: "image" or "kspace", the
        path (embedded: the array); "reader", the MONAI reader of an image; "name", the path below ``dataset_dir`` without
        suffix; "index", from 1.

    Raises:
        FileNotFoundError: if a path does not exist, or there is no file of the kind.
        OSError: if a file is unreadable.
        ValueError: if ``kind`` is unknown, two cases have one name, k-space is real or no 2D Cartesian acquisition, or an
            image has colours or more than three axes.

    Example:
        >>> import tempfile, nibabel
        >>> folder = tempfile.mkdtemp()
        >>> nibabel.Nifti1Image(np.zeros((4, 5, 2), np.float32), np.eye(4)).to_filename(folder + "/head.nii.gz")
        >>> [(case["name"], case["index"]) for case in inference_cases(folder)]
        [('head', 1)]
    """
    if kind not in ("image", "kspace"):
        raise ValueError(f"kind must be 'image' (simulated acquisition) or 'kspace' (raw data), got {kind!r}.")
    if isinstance(dataset_dir, str) and dataset_dir in ("", "embedded"):
        if kind != "image":
            raise ValueError(
                "dataset_dir: the embedded data are images; kind='kspace' needs a folder or a list of files."
            )
        return _embedded(embedded_grid, embedded_lesions)
    root, patterns = _search(dataset_dir, pattern)
    found = _images(root, patterns) if kind == "image" else _kspaces(root, patterns)
    if not found:
        formats = "NIfTI, PNG or DICOM" if kind == "image" else "/".join(KSPACE_SUFFIXES)
        raise FileNotFoundError(f"dataset_dir {root} holds no {formats} file that matches {pattern!r} (kind={kind!r}).")
    twice = [name for name, count in Counter(case["name"] for case in found).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} names belong to several files, the first is {twice[0]!r}: choose by pattern.")
    return [{**case, "index": index} for index, case in enumerate(sorted(found, key=lambda c: str(c["name"])), 1)]


def _search(dataset_dir: Any, pattern: str) -> tuple[Path, list[str]]:
    """The folder to search and the glob patterns of the files in it."""
    if isinstance(dataset_dir, (str, os.PathLike)) and Path(dataset_dir).is_dir():
        return Path(dataset_dir), [pattern]
    paths = [Path(p) for p in ([dataset_dir] if isinstance(dataset_dir, (str, os.PathLike)) else dataset_dir)]
    missing = [str(path) for path in paths if not path.exists()]
    if missing or not paths:
        raise FileNotFoundError(
            f"dataset_dir: there is no {missing[0]}." if missing else "dataset_dir is an empty list."
        )
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    escaped = [glob.escape(path.absolute().relative_to(root).as_posix()) for path in paths]
    return root, [f"{e}/{pattern}" if path.is_dir() else e for e, path in zip(escaped, paths, strict=True)]


def _images(root: Path, patterns: list[str]) -> list[dict[str, Any]]:
    volumes = {(v.path, v.name): v for pattern in patterns for v in find_volumes(root, pattern)}
    return [{"image": str(v.path), "reader": v.reader, "name": str(PurePosixPath(v.name))} for v in volumes.values()]


def _kspaces(root: Path, patterns: list[str]) -> list[dict[str, Any]]:
    paths = {path for pattern in patterns for path in root.glob(pattern)}
    paths = {path for path in paths if path.is_file() and path.suffix.lower() in KSPACE_SUFFIXES}
    for path in sorted(paths):
        try:
            check_kspace_file(path)
        except (OSError, ValueError) as error:
            # RawDataError and RawFileError promise not to name a file
            kind = OSError if isinstance(error, OSError) else ValueError
            raise kind(f"{path.relative_to(root).as_posix()}: {error}") from None
    return [{"kspace": str(path), "name": path.relative_to(root).with_suffix("").as_posix()} for path in paths]


def _embedded(grid: Sequence[int], lesions: bool) -> list[dict[str, Any]]:
    if lesions:
        slices = make_lesions("test", subjects=_EMBEDDED_LESION_SUBJECTS, grid=grid)
    else:
        slices = embedded_subjects("test", subjects=_EMBEDDED_SUBJECTS, grid=grid)
    subjects = sorted({entry["subject"] for entry in slices})
    return [
        {
            "image": np.stack([entry["image"] for entry in slices if entry["subject"] == subject], axis=-1),
            "name": f"subject_{subject:03d}",
            "index": index,
        }
        for index, subject in enumerate(subjects, 1)
    ]
