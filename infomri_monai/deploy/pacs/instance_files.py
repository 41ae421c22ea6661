"""Which files below folders are to be stored in a PACS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from infomri_monai.deploy.case import EXIT_USAGE, DeployError, system_words
from infomri_monai.deploy.dicom.headers import is_dicom
from infomri_monai.deploy.files import find_files

__all__ = ["InstanceFiles", "instance_files"]


class InstanceFiles(NamedTuple):
    """What was found.

    Attributes:
        files: that claim to be DICOM or cannot be opened, in the order of the paths given, below a folder in the order of theirs.
        passed: number of files that are not DICOM.
    """

    files: tuple[Path, ...]
    passed: int


def instance_files(paths: Sequence[Path]) -> InstanceFiles:
    """Find the DICOM files among files and below folders.

    Hidden files and folders below a folder are left out, as an application that was killed may leave half a case in one; so is a
    DICOMDIR, which is an index of files. Links to folders are followed.

    Args:
        paths: files and folders.

    Raises:
        DeployError: if a path does not exist or cannot be reached, a folder cannot be read, or there is no DICOM file; exit code
            ``EXIT_USAGE``.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.dcm", ".b.dcm", "summary.json", "DICOMDIR"):
        ...     _ = (folder / name).write_bytes(b"")
        >>> found = instance_files([folder])
        >>> [file.name for file in found.files], found.passed
        (['a.dcm'], 1)
    """
    files: list[Path] = []
    passed = 0
    for number, path in enumerate(paths, 1):
        for file in _files_of(path, f"path {number} of {len(paths)}"):
            if _claims_to_be_dicom(file):
                files.append(file)
            else:
                passed += file.name.upper() != "DICOMDIR"
    if not files:
        raise DeployError("there is no DICOM file.", EXIT_USAGE)
    return InstanceFiles(tuple(files), passed)


def _files_of(path: Path, name: str) -> Sequence[Path]:
    """The file, or the files below the folder; ``name`` is what messages call it."""
    try:
        if path.is_dir():
            return _below(path)
        if path.is_file():
            return [path]
    except OSError as error:  # a name that is too long, a folder above that is closed
        raise DeployError(f"{name} cannot be read ({system_words(error)}).", EXIT_USAGE) from None
    raise DeployError(f"{name} is neither a file nor a folder.", EXIT_USAGE)


def _claims_to_be_dicom(file: Path) -> bool:
    """Also a file that cannot be opened, so that storing it fails and says so."""
    try:
        return file.name.upper() != "DICOMDIR" and is_dicom(file)
    except OSError:
        return True


def _below(folder: Path) -> tuple[Path, ...]:
    """Files below a folder, if all of it can be looked into."""
    found = find_files(folder)
    if found.unreadable:
        raise DeployError(f"a folder cannot be read ({found.unreadable[0][1]}); nothing was sent.", EXIT_USAGE)
    return found.files
