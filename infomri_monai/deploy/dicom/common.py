"""What all DICOM objects that we derive have in common: patient, study, series and equipment."""

from __future__ import annotations

import copy
import datetime
from collections.abc import MutableSequence
from functools import cache
from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

from infomri_monai.deploy.case import CaseSource, Derivation
from infomri_monai.deploy.dicom.guard import guarded
from infomri_monai.deploy.dicom.wording import equipment, series_description

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["copied", "copy_elements", "new_uid", "series_attributes"]

# keywords, separated by spaces
#: must be those of the source letter by letter, or a PACS sorts the result under another patient or study
IDENTITY = "PatientName PatientID IssuerOfPatientID PatientBirthDate StudyInstanceUID StudyID AccessionNumber FrameOfReferenceUID"
#: of the patient, study and frame of reference modules; empty where the source has no valid value (type 2)
REQUIRED = "PatientSex StudyDate StudyTime ReferringPhysicianName PositionReferenceIndicator"
#: left out where the source has no valid value (types 1C and 3)
OPTIONAL = (
    "IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence EthnicGroup PatientIdentityRemoved DeidentificationMethod "
    "DeidentificationMethodCodeSequence QualityControlSubject StudyDescription IssuerOfAccessionNumberSequence "
    "ProcedureCodeSequence PatientAge PatientSize PatientWeight PregnancyStatus ClinicalTrialSponsorName "
    "ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID "
    "ClinicalTrialSubjectReadingID PatientPosition BodyPartExamined Laterality"
)
#: body parts of PS3.16, Annex L, that have no side
UNPAIRED = (
    "HEAD BRAIN SKULL HEADNECK NECK CHEST HEART ABDOMEN PELVIS PROSTATE UTERUS BLADDER LIVER PANCREAS SPLEEN STOMACH COLON RECTUM "
    "SPINE CSPINE TSPINE LSPINE SSPINE CTSPINE TLSPINE LSSPINE COCCYX AORTA WHOLEBODY ABDOMENPELVIS CHESTABDOMEN CHESTABDPELVIS "
    "FACE JAW NOSE TONGUE THYROID LARYNX CEREBELLUM STERNUM"
)
#: of the equipment module
SCANNER = "Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions InstitutionName StationName"


def new_uid() -> str:
    """A unique identifier made of a random UUID, which belongs to no organisation (PS3.5, B.2).

    Example:
        >>> new_uid().startswith("2.25.")
        True
    """
    return str(pydicom.uid.generate_uid(prefix=None))


def series_attributes(source: CaseSource, derivation: Derivation, series_number: int, modality: str) -> Dataset:
    """Attributes that every instance of a new, derived series carries.

    Patient and study are the source's: identifiers letter by letter, whatever they hold; other values only where they are valid.
    Text is stored as UTF-8. The scanner becomes contributing equipment, because the new instances are made by this software.

    Args:
        source: of the case; what its attributes lack is taken from its first instance.
        derivation: how the series came about.
        series_number: at least 1.
        modality: of the new series, e.g. "MR".

    Returns:
        Patient, study, series, frame of reference, equipment and dates; the SeriesInstanceUID is new.

    Raises:
        ValueError: if the source has no StudyInstanceUID or FrameOfReferenceUID, ``series_number`` is less than 1, or a text of
            the derivation is too long.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> attributes = pydicom.Dataset()
        >>> attributes.update({"PatientID": "7", "StudyInstanceUID": new_uid(), "FrameOfReferenceUID": new_uid()})
        >>> derivation = Derivation("InfoMRI 4x", "UNet", True, ModelIdentity("infomri_reconstruction", "0.1.0", "0" * 64))
        >>> series = series_attributes(CaseSource((), attributes), derivation, 901, "MR")
        >>> series.PatientID, series.PatientName, series.SeriesDescription
        ('7', '', 'InfoMRI 4x SIMULATED')

    References:
        DICOM PS3.3 2024e, C.7.1.1, C.7.2.1, C.7.3.1, C.7.4.1, C.7.5.1, C.12.1.
    """
    if series_number < 1:
        raise ValueError(f"series_number must be at least 1, got {series_number}.")
    series = pydicom.Dataset()
    series.SpecificCharacterSet = "ISO_IR 192"
    known = [source.attributes, *source.instances[:1]]
    copy_elements(series, known, IDENTITY.split(), verbatim=True)
    copy_elements(series, known, f"{REQUIRED} {OPTIONAL}".split())
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not series.get(keyword):
            raise ValueError(f"source.attributes must have a {keyword}; give raw data a new one.")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyID", "AccessionNumber", *REQUIRED.split()):
        if keyword not in series:
            setattr(series, keyword, "")
    if series.PatientSex not in ("M", "F", "O", ""):
        series.PatientSex = ""
    if modality != "SR":
        _add_position(series)
    series.Modality = modality
    series.SeriesInstanceUID, series.SeriesNumber = new_uid(), series_number
    series.SeriesDescription = series_description(derivation)
    _add_equipment(series, source, derivation)
    now = datetime.datetime.now()
    for kind in ("Series", "Content", "InstanceCreation"):
        setattr(series, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(series, f"{kind}Time", now.strftime("%H%M%S.%f"))
    return series


def copy_elements(target: Dataset, sources: list[Any], keywords: list[str], verbatim: bool = False) -> None:
    """Copy elements from the first source that has them, decoded; those with an invalid value are left out.

    Args:
        target: gets the elements.
        sources: datasets, the first one has precedence.
        keywords: of the elements.
        verbatim: copy invalid values as well.

    Raises:
        DeployError: if an element cannot be decoded.

    Example:
        >>> target = pydicom.Dataset()
        >>> copy_elements(target, [pydicom.Dataset(), pydicom.Dataset({})], ["PatientAge"])
        >>> len(target)
        0
    """
    with guarded("copying attributes of the source"):
        for tag in _tags(tuple(keywords)):
            found = next((e for source in sources if tag in source and not (e := source[tag]).is_empty), None)
            if found is not None and (verbatim or _is_valid(found)):
                target[tag] = copied(found)


@cache
def _tags(keywords: tuple[str, ...]) -> tuple[Any, ...]:
    """Tags of keywords, which are looked up once: the same are copied for every slice."""
    return tuple(pydicom.tag.Tag(keyword) for keyword in keywords)


def copied(element: Any) -> Any:
    """A copy of an element that shares nothing with it that can be changed in place; faster than copying deeply where it can be.

    Example:
        >>> made = copied(pydicom.DataElement("PatientID", "LO", "7"))
        >>> made.value
        '7'
    """
    if isinstance(element.value, MutableSequence):
        return copy.deepcopy(element)
    return pydicom.DataElement(element.tag, element.VR, element.value, already_converted=True)


def _is_valid(element: Any) -> bool:
    """Whether an element's values obey its value representation."""
    if element.VR == "SQ":
        return all(_is_valid(inner) for item in element.value for inner in item)
    values = element.value if element.VM > 1 else [element.value]
    try:
        for value in values:
            pydicom.valuerep.validate_value(element.VR, _plain(element.VR, value), pydicom.config.RAISE)
    except Exception:  # pydicom's validators raise what the value's type makes them; the message may quote it
        return False
    return True


def _plain(representation: str, value: Any) -> Any:
    """The value as it is written: pydicom checks text only."""
    return str(value) if representation in ("DS", "IS", "PN", "DA", "TM", "DT") else value


def _add_position(series: Dataset) -> None:
    """Attributes that an image must have, empty if unknown: position of the patient, side of what is or may be a paired organ."""
    if "PatientPosition" not in series:
        series.PatientPosition = ""
    if series.get("BodyPartExamined") in UNPAIRED.split():
        series.pop("Laterality", None)
    elif "Laterality" not in series:
        series.Laterality = ""


def _add_equipment(series: Dataset, source: CaseSource, derivation: Derivation) -> None:
    """This software as the equipment that made the series, and the scanner as equipment that contributed."""
    made_by = equipment(derivation)
    series.Manufacturer, series.ManufacturerModelName = made_by["manufacturer"], made_by["manufacturer_model_name"]
    series.SoftwareVersions = made_by["software_versions"]
    series.DeviceSerialNumber = made_by["device_serial_number"]
    scanner = pydicom.Dataset()
    copy_elements(scanner, [*source.instances[:1], source.attributes], SCANNER.split())
    if scanner:
        scanner.Manufacturer = scanner.get("Manufacturer", "unknown")
        scanner.PurposeOfReferenceCodeSequence = [_acquisition_equipment()]
        scanner.ContributionDescription = "Acquisition of the source"
        series.ContributingEquipmentSequence = [scanner]


def _acquisition_equipment() -> Dataset:
    """The code of equipment that acquired the source (PS3.16, CID 7005)."""
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "109101", "DCM", "Acquisition Equipment"
    return code
