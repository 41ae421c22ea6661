"""Queries of a PACS: what is asked, and the answers as records. DIMSE and DICOMweb share the attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from monai.utils import optional_import

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.pacs.matching import matching_date, matching_modality, matching_text

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "SeriesRecord",
    "StudyQuery",
    "StudyRecord",
    "series_record",
    "series_request",
    "study_record",
    "study_request",
]


@dataclass(frozen=True)
class StudyQuery:
    """Which studies to look for; what is empty matches all.

    Attributes:
        patient_id: of the patient, at most 64 characters; DICOM's wildcards ``*`` and ``?`` are passed on.
        accession_number: of the request, at most 16 characters; likewise.
        date: YYYYMMDD or YYYY-MM-DD, or a range of two joined by "-", of which either may be left out; kept as DICOM writes it.
        modality: e.g. "MR"; studies with a series of it; kept in capitals.

    Raises:
        DeployError: if one of them cannot be in a DICOM header; exit code ``EXIT_USAGE``.

    Example:
        >>> StudyQuery(date="2024-02-01-2024-02-29", modality="mr").date
        '20240201-20240229'
    """

    patient_id: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
    date: str = field(default="", repr=False)
    modality: str = ""

    def __post_init__(self) -> None:
        kept = {
            "patient_id": matching_text(self.patient_id, "patient_id", 64),
            "accession_number": matching_text(self.accession_number, "accession_number", 16),
            "date": matching_date(self.date),
            "modality": matching_modality(self.modality),
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class StudyRecord:
    """A study that was found. Its repr shows no identifier.

    Attributes:
        study_uid: Study Instance UID.
        patient_id: of the patient; empty where the PACS does not say.
        date: YYYYMMDD.
        modalities: of its series.
        series: how many, None where the PACS does not say.
        instances: how many, None where the PACS does not say.
    """

    study_uid: str = field(repr=False)
    patient_id: str = field(repr=False)
    date: str = field(repr=False)
    modalities: tuple[str, ...]
    series: int | None
    instances: int | None


@dataclass(frozen=True)
class SeriesRecord:
    """A series that was found. Its repr shows no identifier.

    Attributes:
        series_uid: Series Instance UID.
        description: free text, which may name the patient.
        number: Series Number, None where the PACS does not say.
        modality: e.g. "MR".
        instances: how many, None where the PACS does not say.
    """

    series_uid: str = field(repr=False)
    description: str = field(repr=False)
    number: int | None
    modality: str
    instances: int | None


def study_request(query: StudyQuery) -> Dataset:
    """The identifier of a query for studies: what is to match, and empty what is to be returned."""
    request = pydicom.Dataset()
    if not (query.patient_id + query.accession_number).isascii():
        request.SpecificCharacterSet = "ISO_IR 192"  # without it pydicom sends "?", which matches any letter
    request.QueryRetrieveLevel = "STUDY"
    request.PatientID = query.patient_id
    request.AccessionNumber = query.accession_number
    request.StudyDate = query.date
    request.ModalitiesInStudy = query.modality
    for keyword in ("StudyInstanceUID", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"):
        setattr(request, keyword, None)
    return request


def series_request(study_uid: str, series_uid: str = "") -> Dataset:
    """The identifier of a query for all series of a study, or of a request for one of them."""
    request = pydicom.Dataset()
    request.QueryRetrieveLevel = "SERIES"
    request.StudyInstanceUID = study_uid
    request.SeriesInstanceUID = series_uid
    if not series_uid:
        for keyword in ("Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances"):
            setattr(request, keyword, None)
    return request


def study_record(found: Dataset) -> StudyRecord:
    """The record of an answer.

    Raises:
        DeployError: if it names no study.
    """
    return StudyRecord(
        study_uid=_uid(found, "StudyInstanceUID"),
        patient_id=_text(found, "PatientID"),
        date=_text(found, "StudyDate"),
        modalities=tuple(sorted(part for part in _text(found, "ModalitiesInStudy").split("\\") if part)),
        series=_number(found, "NumberOfStudyRelatedSeries"),
        instances=_number(found, "NumberOfStudyRelatedInstances"),
    )


def series_record(found: Dataset) -> SeriesRecord:
    """The record of an answer.

    Raises:
        DeployError: if it names no series.
    """
    return SeriesRecord(
        series_uid=_uid(found, "SeriesInstanceUID"),
        description=_text(found, "SeriesDescription"),
        number=_number(found, "SeriesNumber"),
        modality=_text(found, "Modality"),
        instances=_number(found, "NumberOfSeriesRelatedInstances"),
    )


def _uid(found: Dataset, keyword: str) -> str:
    value = _text(found, keyword)
    if not value:
        raise DeployError(f"the PACS's answer lacks {keyword}.")
    return value


def _text(found: Dataset, keyword: str) -> str:
    """The value; several are joined by a backslash, as DICOM does."""
    try:
        value = found.get(keyword)
    except Exception:  # pydicom raises various things at values that it cannot decode
        return ""
    if value is None:
        return ""
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "\\".join(map(str, value))


def _number(found: Dataset, keyword: str) -> int | None:
    try:
        return int(_text(found, keyword))
    except ValueError:
        return None
