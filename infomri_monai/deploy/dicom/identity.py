"""What all DICOM objects that we derive have in common: patient, study, series and equipment."""

from __future__ import annotations

import copy
import datetime
import zlib
from collections.abc import MutableSequence, Sequence
from functools import cache
from typing import Any

import pydicom
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

import infomri_monai
from infomri_monai.data.dicom.series import MANUFACTURER
from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.derivation import Derivation, ModelIdentity
from infomri_monai.deploy.logs import guarded

__all__ = ["copied", "copy_elements", "identity_arguments", "item", "new_uid", "series_attributes", "unnamed"]

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
#: of patient and study, which highdicom's constructors ask for
_ASKED_FOR = "PatientID PatientName PatientBirthDate PatientSex AccessionNumber StudyID StudyDate StudyTime ReferringPhysicianName"
#: body parts of PS3.16, Annex L, that have no side
UNPAIRED = (
    "HEAD BRAIN SKULL HEADNECK NECK CHEST HEART ABDOMEN PELVIS PROSTATE UTERUS BLADDER LIVER PANCREAS SPLEEN STOMACH COLON RECTUM "
    "SPINE CSPINE TSPINE LSPINE SSPINE CTSPINE TLSPINE LSSPINE COCCYX AORTA WHOLEBODY ABDOMENPELVIS CHESTABDOMEN CHESTABDPELVIS "
    "FACE JAW NOSE TONGUE THYROID LARYNX CEREBELLUM STERNUM"
)
#: number of a source's series that still fits before ours into an IS
_HIGHEST = (2**31 - 1) // 10_000 - 1
#: of the equipment module
SCANNER = "Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions InstitutionName StationName"


def item(**elements: Any) -> Dataset:
    """A dataset with these elements.

    Example:
        >>> item(Rows=4, Columns=6).Columns
        6
    """
    made: Any = Dataset()
    made.update(elements)
    return made


def unnamed(**elements: Any) -> Dataset:
    """A dataset with these elements, and empty ones of patient and study, for constructors that ask for them.

    The patient's own are set afterwards, letter by letter: highdicom quotes them in warnings and refuses some.

    Example:
        >>> unnamed(Rows=4).PatientName
        ''
    """
    return item(**dict.fromkeys(_ASKED_FOR.split(), ""), **elements)


def new_uid() -> str:
    """A unique identifier made of a random UUID, which belongs to no organisation (PS3.5, B.2).

    Example:
        >>> new_uid().startswith("2.25.")
        True
    """
    return str(generate_uid(prefix=None))


def series_attributes(source: CaseSource, derivation: Derivation, series_number: int, modality: str) -> Dataset:
    """Attributes that every instance of a new, derived series carries.

    Patient and study are the source's: identifiers letter by letter, whatever they hold; other values only where they are valid
    (highdicom's ``copy_patient_and_study_information`` copies them unchecked, and warns with what they hold). Text is stored as
    UTF-8. The scanner becomes contributing equipment, because the new instances are made by this software.

    Args:
        source: of the case.
        derivation: how the series came about; the model's name and version have at most 64 characters together.
        series_number: at least 1; after ten thousand times the source's own, so that results of several series differ (where it
            has none, or one that leaves no room, after that of a checksum of its SeriesInstanceUID).
        modality: of the new series, e.g. "MR".

    Returns:
        Patient, study, series, frame of reference, equipment and dates; the SeriesInstanceUID is new.

    Raises:
        ValueError: if the source has no StudyInstanceUID or FrameOfReferenceUID, ``series_number`` is less than 1, or a text of
            the derivation is empty or too long.

    Example:
        >>> attributes = item(PatientID="7", StudyInstanceUID=new_uid(), FrameOfReferenceUID=new_uid())
        >>> derivation = Derivation("InfoMRI 4x", "UNet", True, ModelIdentity("infomri_reconstruction", "0.1.0", "0" * 64))
        >>> series = series_attributes(CaseSource((), attributes), derivation, 901, "MR")
        >>> series.PatientID, series.PatientName, series.SeriesDescription
        ('7', '', 'InfoMRI 4x SIMULATED')
        >>> series.Manufacturer, series.SoftwareVersions[1], series.DeviceSerialNumber[:4]
        ('infomri_monai', 'infomri_reconstruction 0.1.0', '0000')

    References:
        DICOM PS3.3 2024e, C.7.1.1, C.7.2.1, C.7.3.1, C.7.4.1, C.7.5.1, C.12.1.
    """
    if series_number < 1:
        raise ValueError(f"series_number must be at least 1, got {series_number}.")
    series = item(SpecificCharacterSet="ISO_IR 192")
    copy_elements(series, [source.attributes], IDENTITY.split(), verbatim=True)
    copy_elements(series, [source.attributes], f"{REQUIRED} {OPTIONAL}".split())
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
    _complete(series)
    series.Modality, series.SeriesInstanceUID = modality, new_uid()
    series.SeriesNumber, series.SeriesDescription = _named(source.attributes, derivation, series_number)
    _add_equipment(series, source.attributes, derivation.model)
    now = datetime.datetime.now()
    for kind in ("Series", "Content", "InstanceCreation"):
        setattr(series, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(series, f"{kind}Time", now.strftime("%H%M%S.%f"))
    return series


def _named(attributes: Dataset, derivation: Derivation, own: int) -> tuple[int, str]:
    """Number and description of a new series, with those of its source, by which results of several series are told apart."""
    known = Dataset()
    copy_elements(known, [attributes], ["SeriesNumber", "SeriesDescription", "ProtocolName"])
    number = int(known.get("SeriesNumber") or 0)
    text = known.get("SeriesDescription") or known.get("ProtocolName") or ""
    text = text if isinstance(text, str) else " ".join(text)  # a backslash in it makes it several
    words = " ".join(f"{number if number > 0 else ''} {text}".split())
    title = derivation.series_description
    uid = str(attributes.get("SeriesInstanceUID") or "")
    if not 0 < number <= _HIGHEST:  # of each series another one all the same
        number = 1 + zlib.crc32(uid.encode()) % _HIGHEST if uid else 0
    return number * 10_000 + own, f"{title} of {words}"[:64].strip() if words else title


def _complete(series: Dataset) -> None:
    """What the standard asks for beside optional elements that were copied (types 1C and 2); without it they go, too."""
    if series.get("PregnancyStatus") not in (None, 1, 2, 3, 4):
        del series.PregnancyStatus
    method = series.get("DeidentificationMethod") or series.get("DeidentificationMethodCodeSequence")
    if series.get("PatientIdentityRemoved") == "YES" and not method:
        series.DeidentificationMethod = "not stated by the source"
    trial = [element.keyword for element in series if element.keyword.startswith("ClinicalTrial")]
    subject = {"ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"} & set(trial)
    if subject and {"ClinicalTrialSponsorName", "ClinicalTrialProtocolID"} <= set(trial):
        for keyword in ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName"):
            series.setdefault(keyword, "")
    else:
        for keyword in trial:
            delattr(series, keyword)


def identity_arguments(series: Dataset) -> dict[str, Any]:
    """Which instance of which series a constructor of highdicom makes, and with which equipment: the only one of its series.

    Args:
        series: from :func:`series_attributes`.

    Example:
        >>> model = ModelIdentity("unet", "0.2.0", "ab" * 32)
        >>> attributes = item(StudyInstanceUID=new_uid(), FrameOfReferenceUID=new_uid())
        >>> made = series_attributes(CaseSource((), attributes), Derivation("8x", "UNet", False, model), 901, "MR")
        >>> arguments = identity_arguments(made)
        >>> arguments["series_number"], arguments["instance_number"], arguments["manufacturer_model_name"]
        (901, 1, 'unet')
    """
    return {
        "series_instance_uid": series.SeriesInstanceUID,
        "series_number": int(series.SeriesNumber),
        "sop_instance_uid": new_uid(),
        "instance_number": 1,
        "manufacturer": series.Manufacturer,
        "manufacturer_model_name": series.ManufacturerModelName,
        "software_versions": list(series.SoftwareVersions),
        "device_serial_number": series.DeviceSerialNumber,
    }


def copy_elements(target: Dataset, sources: Sequence[Any], keywords: Sequence[str], verbatim: bool = False) -> None:
    """Copy elements from the first source that has them, decoded; those with an invalid value are left out.

    Args:
        target: gets the elements.
        sources: datasets, the first one has precedence.
        keywords: of the elements.
        verbatim: copy invalid values as well.

    Raises:
        DeployError: if an element cannot be decoded.

    Example:
        >>> target = Dataset()
        >>> copy_elements(target, [Dataset(), item(PatientAge="030Y")], ["PatientAge", "PatientWeight"])
        >>> len(target), target.PatientAge
        (1, '030Y')
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
    # pydicom checks text only
    kind = str if element.VR in ("DS", "IS", "PN", "DA", "TM", "DT") else lambda value: value
    try:
        for value in element.value if element.VM > 1 else [element.value]:
            pydicom.valuerep.validate_value(element.VR, kind(value), pydicom.config.RAISE)
    except Exception:  # pydicom's validators raise what the value's type makes them; the message may quote it
        return False
    return True


def _add_position(series: Dataset) -> None:
    """Attributes that an image must have, empty if unknown: position of the patient, side of what is or may be a paired organ."""
    if "PatientPosition" not in series:
        series.PatientPosition = ""
    if series.get("BodyPartExamined") in UNPAIRED.split():
        series.pop("Laterality", None)
    elif "Laterality" not in series:
        series.Laterality = ""


def _add_equipment(series: Dataset, attributes: Dataset, model: ModelIdentity) -> None:
    """This software and the model as the equipment that made the series, and the scanner as equipment that contributed."""
    name, version, checksum = model
    versions = [f"infomri_monai {infomri_monai.__version__}", f"{name} {version}"]
    for text in (name, checksum, *versions):
        if not 0 < len(text) <= 64 or "\\" in text:
            raise ValueError(f"derivation.model: texts must have 1 to 64 characters and no backslash, got {text!r}.")
    series.Manufacturer, series.ManufacturerModelName = MANUFACTURER, name
    series.SoftwareVersions, series.DeviceSerialNumber = versions, checksum
    scanner = Dataset()
    copy_elements(scanner, [attributes], SCANNER.split())
    if scanner:
        scanner.Manufacturer = scanner.get("Manufacturer", "unknown")
        scanner.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.AcquisitionEquipment)]
        scanner.ContributionDescription = "Acquisition of the source"
        series.ContributingEquipmentSequence = [scanner]
