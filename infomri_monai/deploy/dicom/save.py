"""Write the DICOM objects of a case: all of them or none."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.logs import guarded

__all__ = ["IMPLEMENTATION_CLASS_UID", "save_objects"]

#: says in a file's meta information that this package wrote it
IMPLEMENTATION_CLASS_UID = "2.25.8380565393973013362215493460770012740"
IMPLEMENTATION_VERSION_NAME = "INFOMRI_MONAI"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def save_objects(objects: Mapping[str, Dataset], folder: str | os.PathLike[str]) -> None:
    """Write DICOM objects into a new folder, all or none.

    They are written into a hidden folder beside it and read back and compared; only then the folder gets its name.

    Args:
        objects: file name below ``folder`` (with "/" between folders, e.g. ``reconstruction/slice_0001.dcm``) to object. Names must
            hold no identifier. Objects without file meta information get it (explicit little endian).
        folder: must not exist, or be empty; the folders above it are made if absent.

    Raises:
        DeployError: if something failed; its message holds neither identifiers nor paths.

    Example:
        >>> import tempfile
        >>> report = Dataset()
        >>> report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "2.25.1"
        >>> root = Path(tempfile.mkdtemp())
        >>> save_objects({"report.dcm": report}, root / "case_0001")
        >>> [path.relative_to(root).as_posix() for path in root.rglob("*")]
        ['case_0001', 'case_0001/report.dcm']

    References:
        DICOM PS3.10 2024e, 7.1 (File Meta Information).
    """
    target = Path(folder)
    part = target.with_name(f".{uuid.uuid4().hex[:12]}")
    with guarded("writing the DICOM files"):
        try:
            for name, dataset in objects.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                _write(dataset, part / name, f"{target.name}/{name}")
            os.replace(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _write(dataset: Any, path: Path, name: str) -> None:
    """Write an object, read it back and compare."""
    dataset.file_meta = meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    meta.TransferSyntaxUID = meta.get("TransferSyntaxUID", ExplicitVRLittleEndian)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.save_as(path, enforce_file_format=True)
    read = pydicom.dcmread(path)
    same = len(read) == len(dataset) and read.SOPInstanceUID == dataset.SOPInstanceUID
    if not (same and all(_raw(read, keyword) == _raw(dataset, keyword) for keyword in _PIXELS)):
        raise DeployError(
            f"{name} was not read back as it was written; is the disk full or broken? Nothing was written."
        )


def _raw(dataset: Any, keyword: str) -> bytes | None:
    """Pixels as bytes, without what pads them to an even number."""
    value = dataset.get(keyword)
    return None if value is None else bytes(value).rstrip(b"\0")
