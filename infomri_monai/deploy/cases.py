"""The cases of an input: DICOM series, and raw k-space in ISMRMRD and fastMRI HDF5 files, ``.npz`` and ``.npy``."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from xml.etree import ElementTree

import h5py
import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from infomri_monai.data.dicom.quiet import quiet
from infomri_monai.data.dicom.series import SeriesCandidate, find_series
from infomri_monai.data.found_files import find_files
from infomri_monai.data.hdf5_records import StoredRecords
from infomri_monai.data.ismrmrd import is_ismrmrd, read_ismrmrd, settle_columns
from infomri_monai.data.ismrmrd_header import Encoding, RawDataError, RawFileError, centred_affine, parse_encoding
from infomri_monai.data.kspace_file import KSPACE_SUFFIXES, read_kspace_file
from infomri_monai.deploy.case import CaseSource, DeployCase, DeployError
from infomri_monai.deploy.dicom.identity import item, new_uid
from infomri_monai.deploy.dicom.series import read_case
from infomri_monai.deploy.selection import Rules, selected
from infomri_monai.files import system_words

__all__ = ["ACCEPTED", "KSPACE_SUFFIXES", "ReadableCase", "find_cases", "raw_attributes", "read_raw"]

#: what an input may hold, in words
ACCEPTED = (
    "DICOM MR images under any name, but not packed (.zip, .gz), and raw k-space: ISMRMRD (.h5, .mrd), fastMRI HDF5 (.h5, .hdf5), "
    ".npz and .npy; not NIfTI"
)


@dataclass(frozen=True)
class ReadableCase:
    """A case that was found in the input: reads it and gives it a number; DeployError if that cannot be done.

    Attributes:
        read: reads it.
        about: what identifies it, for the list of cases that a user may ask for; never for a log.
    """

    read: Callable[[int], DeployCase]
    about: Mapping[str, Any] = field(repr=False)

    def __call__(self, number: int) -> DeployCase:
        """Read the case."""
        return self.read(number)


def find_cases(path: Path, rules: Rules = ()) -> tuple[list[ReadableCase], list[str]]:
    """Find all cases of an input: first the DICOM series, then raw k-space, each in the order of their paths.

    Args:
        path: an existing folder, or one file of raw k-space.
        rules: which series are cases, see :func:`~infomri_monai.deploy.selection.selected`; with rules, raw k-space is none.

    Returns:
        The cases, also those that can be told from the headers to fail; and notes on what was passed over, without identifiers.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = write_example_series(folder / "head", slices=2)
        >>> cases, notes = find_cases(folder)
        >>> cases[0](7).number, notes
        (7, [])
    """
    if not path.is_dir():
        return [_raw_case(path)], []
    found = find_files(path)
    scan = find_series(path, KSPACE_SUFFIXES, found)
    chosen = [candidate for candidate in scan.candidates if selected(candidate, rules)]
    series = [ReadableCase(partial(read_case, candidate), _about(candidate)) for candidate in chosen]
    raw = [_raw_case(file) for file in found.files if file.suffix.lower() in KSPACE_SUFFIXES]
    notes = [*scan.notes, *(f"case {n}: {note}" for n, candidate in enumerate(chosen, 1) for note in candidate.notes)]
    if not rules:
        return [*series, *raw], notes
    if left := len(scan.candidates) - len(chosen) + len(raw):
        notes.append(f"passed over {left} series or raw files that the rules do not select")
    return [*series], notes


def _about(candidate: SeriesCandidate) -> dict[str, Any]:
    """What identifies a series."""
    names = {"SeriesInstanceUID": candidate.uid, "SeriesNumber": candidate.series_number}
    names |= {"SeriesDescription": candidate.description, "problem": candidate.problem}
    return {**names, "files": [str(path) for path in candidate.files]}


def _raw_case(path: Path) -> ReadableCase:
    return ReadableCase(partial(read_raw, path), {"files": [str(path)]})


class _RawData(NamedTuple):
    """k-space and mask (slice, readout, phase encoding), the affine, whether it is the file's, the header and warnings."""

    kspace: NDArray[np.complex64]
    mask: NDArray[np.float32]
    affine: NDArray[np.float64]
    has_geometry: bool
    xml: str | bytes | None
    warnings: tuple[str, ...]
    thickness: float | None


def read_raw(path: Path, number: int) -> DeployCase:
    """Read one file; what the network sees is what ``python -m monai.bundle run ... --kind kspace`` has of it.

    Patient, study and equipment come from the ISMRMRD header, which fastMRI's files have, too; values that are not known or that
    DICOM cannot hold are empty, UIDs are made new. Where the file has no geometry, slices are axial, one slice thickness apart,
    with the pixel size of the header's field of view, else 1 mm.

    Args:
        path: the file.
        number: of the case.

    Returns:
        A case of domain "kspace": readout, phase encoding, slice.

    Raises:
        DeployError: if the file cannot be read, holds something else than 2D Cartesian k-space of one contrast, or nothing
            but zeros.

    Example:
        >>> import tempfile
        >>> from hospital.raw_scan import write_example_ismrmrd
        >>> path = Path(tempfile.mkdtemp()) / "scan.h5"
        >>> write_example_ismrmrd(path, np.ones((2, 8, 6), np.complex64), lines=[1, 3, 4])
        >>> case = read_raw(path, 1)
        >>> tuple(case.data.shape), case.has_geometry, str(case.source.attributes.PatientName)
        ((1, 8, 6, 2), True, 'EXAMPLE^RAW')
    """
    start = perf_counter()
    try:
        path.open("rb").close()
    except OSError as error:
        raise DeployError(f"raw data: the file cannot be read ({system_words(error)}).") from None
    try:
        with quiet():
            raw = _ismrmrd(path) if is_ismrmrd(path) else _array(path)
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


def _nameless(attributes: Dataset) -> tuple[str, ...]:
    """A warning if nothing says whose scan it is."""
    if attributes.get("PatientID") or attributes.get("PatientName"):
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
    if encoding is not None and encoding.narrower is not None and kspace.shape[1] == encoding.samples:
        slices = ((plane[None], given) for plane, given in zip(kspace, mask, strict=True))
        encoding, text = settle_columns(encoding, slices)
        warnings = (*warnings, text) if text else warnings
    affine, warning = _made_up((kspace.shape[1], kspace.shape[2]), encoding)
    return _RawData(kspace, mask, affine, False, xml, (*warnings, warning), encoding.thickness if encoding else None)


def _embedded_header(path: Path) -> bytes | None:
    """The ISMRMRD header in a fastMRI file; None if there is none, or one that cannot be read."""
    if path.suffix.lower() in (".npz", ".npy"):
        return None
    try:
        with h5py.File(path, "r") as file:
            return StoredRecords(file["ismrmrd_header"]).part(0).tobytes() if "ismrmrd_header" in file else None
    except Exception:  # h5py differs in what it raises; k-space is what counts
        return None


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


#: element of the header: attribute
_ATTRIBUTES = {
    "subjectInformation/patientName": "PatientName",
    "subjectInformation/patientID": "PatientID",
    "subjectInformation/patientBirthdate": "PatientBirthDate",
    "subjectInformation/patientGender": "PatientSex",
    "subjectInformation/patientWeight_kg": "PatientWeight",
    "subjectInformation/patientHeight_m": "PatientSize",
    "studyInformation/studyInstanceUID": "StudyInstanceUID",
    "studyInformation/studyID": "StudyID",
    "studyInformation/studyDate": "StudyDate",
    "studyInformation/studyTime": "StudyTime",
    "studyInformation/accessionNumber": "AccessionNumber",
    "studyInformation/referringPhysicianName": "ReferringPhysicianName",
    "studyInformation/studyDescription": "StudyDescription",
    "studyInformation/bodyPartExamined": "BodyPartExamined",
    "measurementInformation/frameOfReferenceUID": "FrameOfReferenceUID",
    "measurementInformation/patientPosition": "PatientPosition",
    "measurementInformation/protocolName": "ProtocolName",
    "measurementInformation/initialSeriesNumber": "SeriesNumber",
    "measurementInformation/seriesDescription": "SeriesDescription",
    "acquisitionSystemInformation/systemVendor": "Manufacturer",
    "acquisitionSystemInformation/systemModel": "ManufacturerModelName",
    "acquisitionSystemInformation/institutionName": "InstitutionName",
    "acquisitionSystemInformation/stationName": "StationName",
    "acquisitionSystemInformation/deviceSerialNumber": "DeviceSerialNumber",
    "acquisitionSystemInformation/systemFieldStrength_T": "MagneticFieldStrength",
    "sequenceParameters/TR": "RepetitionTime",
    "sequenceParameters/TE": "EchoTime",
    "sequenceParameters/flipAngle_deg": "FlipAngle",
}
_TERMS = {
    "PatientSex": ("M", "F", "O"),
    "PatientPosition": ("HFP", "HFS", "HFDR", "HFDL", "FFP", "FFS", "FFDR", "FFDL"),
}


def raw_attributes(xml: str | bytes | None) -> Dataset:
    """Make the attributes of a :class:`~infomri_monai.deploy.case.CaseSource` from an ISMRMRD header.

    Values are read as text, not by ``ismrmrd.xsd`` as the encoding is: its types take an accession number's zeros away. One that
    DICOM cannot hold counts as not known: a date that is none, an identifier that is too long or has a backslash.

    Args:
        xml: the header; None, or one that cannot be read, gives empty attributes.

    Returns:
        Patient, study, equipment, protocol and times of the sequence where known; study and frame of reference UIDs, new where not
        known. Text is for UTF-8 (SpecificCharacterSet).

    Example:
        >>> header = "<h><subjectInformation><patientID>7</patientID><patientGender>x</patientGender></subjectInformation></h>"
        >>> attributes = raw_attributes(header)
        >>> attributes.PatientID, "PatientSex" in attributes, attributes.StudyInstanceUID[:5]
        ('7', False, '2.25.')

    References:
        ISMRMRD schema (ismrmrd.xsd); DICOM PS3.5 2024e, 6.2 (value representations).
    """
    try:
        root = ElementTree.fromstring(xml or "<none/>")
    except (ElementTree.ParseError, ValueError, LookupError):
        root = ElementTree.Element("none")
    attributes: Dataset = item(
        SpecificCharacterSet="ISO_IR 192", StudyInstanceUID=new_uid(), FrameOfReferenceUID=new_uid()
    )
    for path, keyword in _ATTRIBUTES.items():
        text = root.findtext("/".join(f"{{*}}{part}" for part in path.split("/"))) or ""
        if value := _value(keyword, text.strip()):
            with quiet():  # pydicom quotes a UID that it calls invalid
                setattr(attributes, keyword, value)
    if attributes.FrameOfReferenceUID == attributes.StudyInstanceUID:
        attributes.FrameOfReferenceUID = new_uid()  # one UID names one thing
    return attributes


def _value(keyword: str, text: str) -> str:
    """A text of the header as DICOM has it; "" where it cannot hold it."""
    kind = dictionary_VR(keyword)
    try:
        if kind == "DA":
            text = datetime.date.fromisoformat(text[:10]).strftime("%Y%m%d")
        elif kind == "TM":
            digits = re.fullmatch(r"(\d\d):(\d\d):(\d\d)(\.\d{1,6})?\d*(Z|[+-]\d\d:\d\d)?", text)
            text = "".join(part or "" for part in digits.groups()[:4]) if digits else ""
        elif kind == "DS":
            text = f"{float(text):.8g}" if 0 <= float(text) < 1e8 else ""
        if kind == "UI" and re.fullmatch(r"[0-9.]{1,64}", text):
            return text  # letter by letter, also with leading zeros: a PACS knows the study by no other name
        validate_value(kind, text, pydicom.config.RAISE)
    except ValueError:
        return ""
    parts = [group.count("^") for group in text.split("=")] if kind == "PN" else [0]
    fits = text.isprintable() and "\\" not in text and max(parts) <= 4  # pydicom lets these pass
    return text if fits and text in _TERMS.get(keyword, (text,)) else ""
