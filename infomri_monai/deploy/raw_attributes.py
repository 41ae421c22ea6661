"""Patient, study and equipment of raw data as DICOM attributes, from an ISMRMRD header."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from monai.utils import optional_import

from infomri_monai.deploy.dicom.common import new_uid

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["raw_attributes"]

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
