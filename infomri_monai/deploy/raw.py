"""Raw k-space of an input folder as cases: ISMRMRD and fastMRI HDF5 files, ``.npz`` and ``.npy``.

Also here: Patient, study and equipment of raw data as DICOM attributes, from an ISMRMRD header.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.ismrmrd import is_ismrmrd, read_ismrmrd
from infomri_monai.data.ismrmrd_header import Encoding, RawDataError, RawFileError, centred_affine, parse_encoding
from infomri_monai.data.kspace_file import KSPACE_SUFFIXES, read_kspace_file
from infomri_monai.deploy.case import EXIT_USAGE, CaseSource, DeployCase, DeployError, system_words
from infomri_monai.deploy.dicom.common import new_uid
from infomri_monai.deploy.files import FoundFiles, find_files
from infomri_monai.deploy.logs import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["RawCandidate", "find_raw", "raw_attributes", "read_raw"]

pydicom, _ = optional_import("pydicom")


_POSITIONS = ("HFP", "HFS", "HFDR", "HFDL", "FFP", "FFS", "FFDR", "FFDL")


def _text(length: int) -> Callable[[str], str]:
    """Text without control characters and backslashes, of limited length; else nothing."""
    return lambda value: value if len(value) <= length and value.isprintable() and "\\" not in value else ""


def _name(value: str) -> str:
    """A person's name: at most three groups of five components."""
    groups = value.split("=")
    fits = len(groups) <= 3 and all(len(group) <= 64 and group.count("^") <= 4 for group in groups)
    return _text(194)(value) if fits else ""


def _date(value: str) -> str:
    try:
        return datetime.date.fromisoformat(value[:10]).strftime("%Y%m%d")
    except ValueError:
        return ""


def _time(value: str) -> str:
    digits = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(\.\d{1,6})?\d*(Z|[+-]\d\d:\d\d)?", value)
    return "".join(part or "" for part in digits.groups()[:4]) if digits else ""


def _uid(value: str) -> str:
    return value if len(value) <= 64 and re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", value) else ""


def _number(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return ""
    return f"{number:.8g}" if 0 <= number < 1e8 else ""


def _one_of(*values: str) -> Callable[[str], str]:
    return lambda value: value if value in values else ""


#: (element of the header, attribute, how its value becomes a DICOM value); attributes that are empty if they are not known
_KEPT: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("subjectInformation/patientName", "PatientName", _name),
    ("subjectInformation/patientID", "PatientID", _text(64)),
    ("subjectInformation/patientBirthdate", "PatientBirthDate", _date),
    ("subjectInformation/patientGender", "PatientSex", _one_of("M", "F", "O")),
    ("studyInformation/studyID", "StudyID", _text(16)),
    ("studyInformation/studyDate", "StudyDate", _date),
    ("studyInformation/studyTime", "StudyTime", _time),
    ("studyInformation/accessionNumber", "AccessionNumber", _text(16)),
    ("studyInformation/referringPhysicianName", "ReferringPhysicianName", _name),
)
#: attributes that are made new if they are not known
_UNIQUE = (
    ("studyInformation/studyInstanceUID", "StudyInstanceUID", _uid),
    ("measurementInformation/frameOfReferenceUID", "FrameOfReferenceUID", _uid),
)
#: attributes that are left out if they are not known
_OPTIONAL = (
    ("subjectInformation/patientWeight_kg", "PatientWeight", _number),
    ("subjectInformation/patientHeight_m", "PatientSize", _number),
    ("studyInformation/studyDescription", "StudyDescription", _text(64)),
    (
        "studyInformation/bodyPartExamined",
        "BodyPartExamined",
        lambda v: v if re.fullmatch(r"[A-Z0-9_ ]{1,16}", v) else "",
    ),
    ("measurementInformation/patientPosition", "PatientPosition", _one_of(*_POSITIONS)),
    ("measurementInformation/protocolName", "ProtocolName", _text(64)),
    ("acquisitionSystemInformation/systemVendor", "Manufacturer", _text(64)),
    ("acquisitionSystemInformation/systemModel", "ManufacturerModelName", _text(64)),
    ("acquisitionSystemInformation/institutionName", "InstitutionName", _text(64)),
    ("acquisitionSystemInformation/stationName", "StationName", _text(16)),
    ("acquisitionSystemInformation/deviceSerialNumber", "DeviceSerialNumber", _text(64)),
    ("acquisitionSystemInformation/systemFieldStrength_T", "MagneticFieldStrength", _number),
    ("sequenceParameters/TR", "RepetitionTime", _number),
    ("sequenceParameters/TE", "EchoTime", _number),
    ("sequenceParameters/flipAngle_deg", "FlipAngle", _number),
)


def raw_attributes(xml: str | bytes | None) -> Dataset:
    """Make the attributes of a :class:`~infomri_monai.deploy.case.CaseSource` from an ISMRMRD header.

    Values are read as text, so that an accession number keeps its zeros. One that DICOM cannot hold counts as not known: a date
    that is none, an identifier that is too long or has a backslash.

    Args:
        xml: the header; None, or one that cannot be read, gives empty attributes.

    Returns:
        Patient and study, empty where not known; study and frame of reference UIDs, new where not known; equipment, protocol and
        times of the sequence where known. Text is for UTF-8 (SpecificCharacterSet).

    Example:
        >>> header = "<h><subjectInformation><patientID>7</patientID><patientGender>x</patientGender></subjectInformation></h>"
        >>> attributes = raw_attributes(header)
        >>> attributes.PatientID, attributes.PatientSex, attributes.StudyInstanceUID[:5]
        ('7', '', '2.25.')

    References:
        ISMRMRD schema (ismrmrd.xsd); DICOM PS3.5 2024e, 6.2 (value representations).
    """
    try:
        root = ElementTree.fromstring(xml or "<none/>")
    except (ElementTree.ParseError, ValueError, LookupError):
        root = ElementTree.Element("none")
    attributes = pydicom.Dataset()
    attributes.SpecificCharacterSet = "ISO_IR 192"
    for path, keyword, convert in (*_KEPT, *_UNIQUE, *_OPTIONAL):
        text = root.findtext("/".join(f"{{*}}{part}" for part in path.split("/"))) or ""
        value = convert(text.strip())
        if keyword.endswith("UID"):
            value = value or new_uid()
        if value or any(keyword == kept for _, kept, _ in _KEPT):
            setattr(attributes, keyword, value)
    return attributes


h5py, _ = optional_import("h5py")


@dataclass(frozen=True)
class RawCandidate:
    """One file that may hold raw k-space. Its representation shows no path.

    Attributes:
        number: from 1, in the order of the files' paths.
        path: the file.
    """

    number: int
    path: Path = field(repr=False)

    def read(self, number: int) -> DeployCase:
        """Read it, see :func:`read_raw`."""
        return read_raw(self, number)


class _RawData(NamedTuple):
    """k-space and mask (slice, readout, phase encoding), the affine, whether it is the file's, the header and warnings."""

    kspace: NDArray[np.complex64]
    mask: NDArray[np.float32]
    affine: NDArray[np.float64]
    has_geometry: bool
    xml: str | bytes | None
    warnings: tuple[str, ...]
    thickness: float | None


def find_raw(folder: str | Path, found: FoundFiles | None = None) -> tuple[RawCandidate, ...]:
    """Find the files below a folder that may hold raw k-space, by their suffix; none is opened.

    Args:
        folder: existing folder, or one file.
        found: what :func:`~infomri_monai.deploy.files.find_files` found in the folder, where that is known.

    Returns:
        Candidates in the order of their paths, of what :func:`~infomri_monai.deploy.files.find_files` finds; folders that cannot be
        looked into are told by :func:`~infomri_monai.deploy.dicom.scan.find_series`.

    Raises:
        DeployError: if there is no such folder or file.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> np.save(root / "scan.npy", np.ones((4, 4), np.complex64))
        >>> find_raw(root)
        (RawCandidate(number=1),)
    """
    root = Path(folder)
    if not root.exists():
        raise DeployError("the input must be an existing folder or file.", EXIT_USAGE)
    paths = (root,) if root.is_file() else (found or find_files(root)).files
    kspace = [path for path in paths if path.suffix.lower() in KSPACE_SUFFIXES]
    return tuple(RawCandidate(number, path) for number, path in enumerate(kspace, 1))


def read_raw(candidate: RawCandidate, number: int) -> DeployCase:
    """Read one file; what the network sees is what ``python -m monai.bundle run ... --kind kspace`` has of it.

    Patient, study and equipment come from the ISMRMRD header, which fastMRI's files have, too; values that are not known or that
    DICOM cannot hold are empty, UIDs are made new. Where the file has no geometry, slices are axial, one slice thickness apart,
    with the pixel size of the header's field of view, else 1 mm.

    Args:
        candidate: from :func:`find_raw`.
        number: of the case.

    Returns:
        A case of domain "kspace": readout, phase encoding, slice.

    Raises:
        DeployError: if the file cannot be read, holds something else than 2D Cartesian k-space of one contrast, or nothing
            but zeros.

    Example:
        >>> import tempfile
        >>> from hospital.raw_scan import write_example_ismrmrd
        >>> root = Path(tempfile.mkdtemp())
        >>> write_example_ismrmrd(root / "scan.h5", np.ones((2, 8, 6), np.complex64), lines=[1, 3, 4])
        >>> case = read_raw(find_raw(root)[0], 1)
        >>> tuple(case.data.shape), case.has_geometry, str(case.source.attributes.PatientName)
        ((1, 8, 6, 2), True, 'EXAMPLE^RAW')
    """
    start = perf_counter()
    try:
        candidate.path.open("rb").close()
    except OSError as error:
        raise DeployError(f"raw data: the file cannot be read ({system_words(error)}).") from None
    try:
        with quiet():
            raw = _ismrmrd(candidate.path) if is_ismrmrd(candidate.path) else _array(candidate.path)
            source = CaseSource((), raw_attributes(raw.xml))
            warnings = (*raw.warnings, *_silent_slices(raw.kspace), *_nameless(source.attributes))
            if raw.thickness is not None:
                source.attributes.SliceThickness = round(raw.thickness, 6)
    except ImportError:
        raise DeployError("reading raw data needs the extra infomri-monai[deploy].") from None
    except (RawDataError, RawFileError) as error:  # their messages name neither file nor patient; all others may
        raise DeployError(f"raw data: {error}") from None
    except Exception as error:
        kind = type(error).__name__
        raise DeployError(f"raw data: the file is damaged or of an unknown kind ({kind}).") from None
    return DeployCase(
        number=number,
        domain="kspace",
        data=torch.from_numpy(np.moveaxis(raw.kspace, 0, -1)[None].copy()),
        affine=raw.affine,
        source=source,
        mask=torch.from_numpy(np.moveaxis(raw.mask, 0, -1)[None].astype(np.float32)),
        has_geometry=raw.has_geometry,
        warnings=warnings,
        seconds={"load": perf_counter() - start},
    )


def _silent_slices(kspace: NDArray[np.complex64]) -> tuple[str, ...]:
    """A warning if slices are all zero.

    Raises:
        RawDataError: if all of them are: a scan without even noise is a damaged one.
    """
    silent = int((~kspace.any(axis=(1, 2))).sum())
    if silent == len(kspace):
        raise RawDataError("all samples are zero: nothing was received.")
    return (f"{silent} of {len(kspace)} slices of k-space are all zero.",) if silent else ()


def _nameless(attributes: Any) -> tuple[str, ...]:
    """A warning if nothing says whose scan it is."""
    if attributes.PatientID or attributes.PatientName:
        return ()
    return (
        "the raw data name no patient: the objects have no PatientName and no PatientID, and a study of their own.",
    )


def _ismrmrd(path: Path) -> _RawData:
    scan = read_ismrmrd(path)
    affine, warnings = scan.affine, scan.warnings
    if affine is None:
        affine, warning = _made_up((scan.kspace.shape[1], scan.kspace.shape[2]), scan.encoding)
        warnings = (*warnings, warning)
    return _RawData(
        scan.kspace, scan.mask, affine, scan.affine is not None, scan.xml, warnings, scan.encoding.thickness
    )


def _array(path: Path) -> _RawData:
    """fastMRI's HDF5 and NumPy files."""
    kspace, mask, warnings = read_kspace_file(path)
    if mask is None:
        mask = (kspace != 0).astype(np.float32)
    if kspace.ndim == 2:
        kspace, mask = kspace[None], mask[None]
    xml = _embedded_header(path)
    encoding = None
    if xml is not None:
        try:
            encoding = parse_encoding(xml)
        except ValueError:  # the arrays are what counts; without a field of view there is a warning below
            encoding = None
    affine, warning = _made_up((kspace.shape[1], kspace.shape[2]), encoding)
    return _RawData(kspace, mask, affine, False, xml, (*warnings, warning), encoding.thickness if encoding else None)


def _embedded_header(path: Path) -> str | bytes | None:
    """The ISMRMRD header in a fastMRI file; None if there is none, or one that cannot be read."""
    if path.suffix.lower() in (".npz", ".npy"):
        return None
    try:
        with h5py.File(path, "r") as file:
            value = np.ravel(file["ismrmrd_header"][()])[0] if "ismrmrd_header" in file else None
    except Exception:  # h5py differs in what it raises; k-space is what counts
        return None
    return value if isinstance(value, (str, bytes)) else None


def _made_up(size: tuple[int, int], encoding: Encoding | None) -> tuple[NDArray[np.float64], str]:
    """Affine of axial slices about the origin, phase encoding along the rows, and what there is to say about it."""
    pixel, thickness, words = (1.0, 1.0), 1.0, "a pixel of 1 mm"
    if encoding is not None and encoding.pixel is not None:
        fields = (encoding.pixel[0] * encoding.columns, encoding.pixel[1] * encoding.lines)
        if size[0] == encoding.samples:  # readout oversampling is kept, as in fastMRI's files
            fields = (encoding.pixel[0] * encoding.samples, fields[1])
        pixel, thickness = (fields[0] / size[0], fields[1] / size[1]), encoding.thickness or 1.0
        words = "the pixel size of the header's field of view"
    # the readout runs down, which is how such arrays are displayed
    size, pixel = (size[1], size[0]), (pixel[1], pixel[0])
    affine = centred_affine(np.zeros(3), np.eye(3), size, pixel, np.array([0.0, 0.0, thickness]))
    return affine, f"the raw data hold no geometry: position and orientation are made up (axial), with {words}."
