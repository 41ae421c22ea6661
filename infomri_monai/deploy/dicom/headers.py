"""Read the header of one file: is it a slice of an MR series, something that goes along with one, or none of our business?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from monai.utils import optional_import

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.common import MANUFACTURER
from infomri_monai.deploy.dicom.slices import SliceHeader, slice_headers

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["FileHeader", "Role", "is_dicom", "read_header"]

_MR = {
    "1.2.840.10008.5.1.4.1.1.4": "classic",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced",
    "1.2.840.10008.5.1.4.1.1.4.4": "enhanced",  # legacy converted
}
_DICOMDIR = "1.2.840.10008.1.3.10"
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: Secondary Capture, MR Spectroscopy, Raw Data, Parametric Map, Segmentation (all of them), presentation states
_COMPANION_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.4.2",
    "1.2.840.10008.5.1.4.1.1.66",
    "1.2.840.10008.5.1.4.1.1.30",
    "1.2.840.10008.5.1.4.1.1.11",
)
_COMPANIONS = (
    "SR",
    "PR",
    "KO",
    "SEG",
    "RTSTRUCT",
    "RTPLAN",
    "RTDOSE",
    "REG",
    "FID",
    "RWV",
    "DOC",
    "SC",
    "PLAN",
    "AU",
    "ECG",
)
#: modalities of images; any other word in the header is not repeated in a message
_FOREIGN = (
    "CT",
    "PT",
    "NM",
    "US",
    "CR",
    "DX",
    "MG",
    "XA",
    "RF",
    "OT",
    "XC",
    "ES",
    "SM",
    "OP",
    "OPT",
    "IVUS",
    "GM",
    "PX",
    "IO",
)


class Role(NamedTuple):
    """What an instance is to us.

    Attributes:
        name: "classic" or "enhanced" for MR images, "foreign" for other images, "companion", "localizer".
        modality: as it may stand in a message.
    """

    name: str
    modality: str


@dataclass(frozen=True)
class FileHeader:
    """One file. Its representation shows neither path nor UIDs.

    Attributes:
        path: the file.
        series: SeriesInstanceUID; "" if it could not be read.
        instance: SOPInstanceUID.
        role: what the instance is; None if it could not be found out.
        slices: of MR images that have no problem.
        problem: why the file cannot be used; "" if it can.
        number: InstanceNumber; 0 if it has none.
    """

    path: Path = field(repr=False)
    series: str = field(default="", repr=False)
    instance: str = field(default="", repr=False)
    role: Role | None = None
    slices: tuple[SliceHeader, ...] = field(default=(), repr=False)
    problem: str = ""
    number: int = 0


def is_dicom(path: Path) -> bool:
    """Whether a file claims to be DICOM: by the word after its preamble, or by its suffix.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> _ = path.write_text("no image")
        >>> is_dicom(path)
        False
    """
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_header(path: Path) -> FileHeader | None:
    """Read a DICOM file's header, not its pixels. To be called within ``quiet``.

    Args:
        path: a file that ``is_dicom``.

    Returns:
        What it is; a file that cannot be read has a problem. None for a DICOMDIR.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> read_header(write_example_series(tempfile.mkdtemp(), slices=1)[0])
        FileHeader(role=Role(name='classic', modality='MR'), problem='', number=1)
    """
    try:
        with path.open("rb") as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
            more = bool(file.read(1))
        if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR:
            return None
        return _file_header(path, dataset, more)
    except Exception as error:  # the parser passes on whatever damaged bytes lead to
        return FileHeader(path, problem=f"no readable DICOM file ({type(error).__name__})")


def _file_header(path: Path, dataset: Dataset, more: bool) -> FileHeader:
    """Judge a header; ``more`` says that something follows it in the file."""
    storage = str(dataset.get("SOPClassUID", "") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if not storage:
        return FileHeader(path, problem="truncated: its header names no SOP class")
    role = _role(dataset, storage)
    header = FileHeader(path, str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SOPInstanceUID", "")), role)
    if role.name not in ("classic", "enhanced"):
        return header
    complete = more or str(dataset.file_meta.get("TransferSyntaxUID", "")) == _DEFLATED
    if not complete or "Rows" not in dataset:
        return replace(header, problem="truncated: its header ends before the pixel data")
    try:
        _check(header, dataset)
        number = str(dataset.get("InstanceNumber", ""))
        return replace(header, slices=tuple(slice_headers(dataset)), number=int(number) if number.isdecimal() else 0)
    except DeployError as error:
        return replace(header, problem=str(error).rstrip("."))
    except Exception as error:  # values are decoded only now, and damaged ones raise whatever their parser does
        return replace(header, problem=f"damaged values in its header ({type(error).__name__})")


def _check(header: FileHeader, dataset: Dataset) -> None:
    """Raise a DeployError unless the instance is identified and greyscale."""
    if not (header.series and header.instance):
        raise DeployError("an image must have a SeriesInstanceUID and a SOPInstanceUID.")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if dataset.get("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DeployError(
            "pixels must be greyscale (MONOCHROME2), found colours or an unknown photometric interpretation."
        )


def _role(dataset: Dataset, storage: str) -> Role:
    modality = str(dataset.get("Modality", "MR" if storage in _MR else ""))
    image_type = dataset.get("ImageType") or ()
    if storage in _MR and dataset.get("Manufacturer") == MANUFACTURER:
        return Role("companion", f"MR made by {MANUFACTURER}")  # a study that is processed again
    if storage in _MR and modality == "MR":
        return Role("localizer" if "LOCALIZER" in tuple(image_type) else _MR[storage], "MR")
    if modality in _COMPANIONS or any(storage == c or storage.startswith(c + ".") for c in _COMPANION_CLASSES):
        return Role("companion", modality if modality in (*_COMPANIONS, "MR") else "other")
    if "Rows" not in dataset:
        return Role("companion", "other")
    other = "MR of another SOP class" if modality == "MR" else "another modality"
    return Role("foreign", modality if modality in _FOREIGN else other)
