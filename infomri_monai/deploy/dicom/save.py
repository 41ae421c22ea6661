"""Write the DICOM objects of a case: all of them or none."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.common import guarded

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["IMPLEMENTATION_CLASS_UID", "save_objects"]

#: says in a file's meta information that this package wrote it
IMPLEMENTATION_CLASS_UID = "2.25.8380565393973013362215493460770012740"
IMPLEMENTATION_VERSION_NAME = "INFOMRI_MONAI"
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def save_objects(objects: Mapping[str, Dataset], folder: str | os.PathLike[str]) -> list[Path]:
    """Write DICOM objects below a folder, all or none.

    They are written into a hidden folder beside their places, read back and compared, and only then moved. What an earlier run
    wrote under the same names is replaced; anything else is left alone, and its name is refused. Whatever fails, also halfway
    through the moving, nothing new remains and what was there before is there again.

    Args:
        objects: file name below ``folder`` (with "/" between folders, e.g. ``case_0001/reconstruction/slice_0001.dcm``) to object.
            Names must hold no identifier. Objects without file meta information get it (explicit little endian).
        folder: made if absent.

    Returns:
        The files, in the order of ``objects``.

    Raises:
        ValueError: if there is no object, or a name is absolute, leaves the folder, repeats or does not end in .dcm.
        DeployError: if something failed; its message holds neither identifiers nor paths.

    Example:
        >>> import tempfile
        >>> report = pydicom.Dataset()
        >>> report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "2.25.1"
        >>> folder = tempfile.mkdtemp()
        >>> [path.name for path in save_objects({"case_0001/report.dcm": report}, folder)]
        ['report.dcm']
        >>> os.listdir(folder)
        ['case_0001']

    References:
        DICOM PS3.10 2024e, 7.1 (File Meta Information).
    """
    names = _checked(objects)
    root = Path(folder)
    made: list[Path] = []
    part = root / f".{uuid.uuid4().hex[:12]}"
    moved = False
    with guarded("writing the DICOM files"):
        try:
            for name in names:
                _refuse_foreign(root / name, name)
            _make_folders([root, part], made)
            for number, (name, dataset) in enumerate(objects.items()):
                _write(dataset, part / f"{number:06d}.dcm", name)
            _make_folders([(root / name).parent for name in names], made)
            _move([(part / f"{number:06d}.dcm", root / name) for number, name in enumerate(names)], part)
            moved = True
        finally:
            shutil.rmtree(part, ignore_errors=True)
            for path in [] if moved else reversed(made):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
    return [root / name for name in names]


def _checked(objects: Mapping[str, Any]) -> list[str]:
    """The names, if they are files below the folder."""
    if not objects:
        raise ValueError("objects must name at least one DICOM object, got none.")
    seen: set[PurePosixPath] = set()
    for name in objects:
        path = PurePosixPath(name)
        bad = path.is_absolute() or ".." in path.parts or "\\" in name or path.suffix != ".dcm" or path in seen
        if bad:
            raise ValueError(
                f"objects: names must be different files below the folder that end in .dcm, like case_0001/map.dcm; got {name!r}."
            )
        seen.add(path)
    return list(objects)


def _refuse_foreign(path: Path, name: str) -> None:
    """Raise unless the place is free or holds a file that this package wrote."""
    if not (path.exists() or path.is_symlink()):
        return
    ours = False
    if path.is_file() and not path.is_symlink():
        try:
            ours = (
                pydicom.filereader.read_file_meta_info(path).get("ImplementationClassUID") == IMPLEMENTATION_CLASS_UID
            )
        except Exception:
            ours = False
    if not ours:
        raise DeployError(
            f"{name} exists in the output folder and was not written by this software; nothing was written. Give an empty folder."
        )


def _make_folders(folders: Iterable[Path], made: list[Path]) -> None:
    """Make folders with their parents, and note in ``made`` which were not there."""
    for folder in folders:
        for path in [*reversed(folder.parents), folder]:
            if not path.exists():
                path.mkdir()
                made.append(path)


def _write(dataset: Any, path: Path, name: str) -> None:
    """Write an object, read it back and compare."""
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        meta = dataset.file_meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.save_as(path, enforce_file_format=True)
    read = pydicom.dcmread(path)
    same = len(read) == len(dataset) and read.SOPInstanceUID == dataset.SOPInstanceUID
    for keyword in PIXELS:
        same = same and _raw(read, keyword) == _raw(dataset, keyword)
    if not same:
        raise DeployError(
            f"{name} was not read back as it was written; is the disk full or broken? Nothing was written."
        )


def _raw(dataset: Any, keyword: str) -> bytes | None:
    """Pixels as bytes, without what pads them to an even number."""
    value = dataset.get(keyword)
    return None if value is None else bytes(value).rstrip(b"\0")


def _move(pairs: list[tuple[Path, Path]], part: Path) -> None:
    """Move every file to its place; if one cannot be moved, put everything back."""
    undo: list[tuple[Path, Path | None]] = []
    try:
        for number, (written, target) in enumerate(pairs):
            earlier = part / f"earlier_{number:06d}" if target.exists() else None
            if earlier is not None:
                os.replace(target, earlier)
            undo.append((target, earlier))
            os.replace(written, target)
    except BaseException:
        for target, earlier in reversed(undo):
            if earlier is not None:
                os.replace(earlier, target)
            else:
                target.unlink(missing_ok=True)
        raise
