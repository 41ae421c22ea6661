"""What all DICOM objects that we derive have in common: patient, study, series and equipment.

Also here: Datasets made of keywords and values: items of sequences, and stand-ins without a patient. What a derived
DICOM object says about itself: how it was made, by which model, and whether k-space was simulated. Calls into DICOM
libraries whose messages may quote a patient's header: nothing that they say gets out.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

import infomri_monai
from infomri_monai.deploy.case import CaseSource, DeployError, Derivation, system_words
from infomri_monai.deploy.logs import quiet

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "MANUFACTURER",
    "SIMULATED",
    "content_description",
    "copied",
    "copy_elements",
    "derivation_text",
    "equipment",
    "guarded",
    "image_type",
    "item",
    "new_uid",
    "series_attributes",
    "series_description",
    "unnamed",
]

pydicom, _ = optional_import("pydicom")


#: of patient and study, which highdicom's constructors ask for
_IDENTITY = "PatientID PatientName PatientBirthDate PatientSex AccessionNumber StudyID StudyDate StudyTime ReferringPhysicianName"


def item(**elements: Any) -> Dataset:
    """A dataset with these elements.

    Example:
        >>> item(Rows=4, Columns=6).Columns
        6
    """
    made = pydicom.Dataset()
    made.update(elements)
    return made


def unnamed(**elements: Any) -> Dataset:
    """A dataset with these elements, and empty ones of patient and study, for constructors that ask for them.

    The patient's own are set afterwards, letter by letter: highdicom quotes them in warnings and refuses some.

    Example:
        >>> unnamed(Rows=4).PatientName
        ''
    """
    return item(**dict.fromkeys(_IDENTITY.split(), ""), **elements)


#: of everything that this software makes
MANUFACTURER = "infomri_monai"
#: stands in the series description and as fourth value of the image type of everything made from simulated k-space
SIMULATED = "SIMULATED"
#: before the derivation text of everything made from simulated k-space
SIMULATION_NOTE = "SIMULATED from magnitude images, not acquired. "


def equipment(derivation: Derivation) -> dict[str, Any]:
    """This software and the model, as the constructors of highdicom name them.

    Args:
        derivation: names the model; its name and version have at most 64 characters together.

    Returns:
        ``manufacturer``, ``manufacturer_model_name`` (the model's name), ``software_versions`` (ours, the model's) and
        ``device_serial_number`` (SHA-256 of the weights).

    Raises:
        ValueError: if a text is empty or too long.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> made_by = equipment(Derivation("", "", False, ModelIdentity("unet", "0.2.0", "ab" * 32)))
        >>> made_by["manufacturer"], made_by["software_versions"][1], made_by["device_serial_number"][:4]
        ('infomri_monai', 'unet 0.2.0', 'abab')
    """
    name, version, checksum = derivation.model
    texts = {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": name,
        "software_versions": [f"infomri_monai {infomri_monai.__version__}", f"{name} {version}"],
        "device_serial_number": checksum,
    }
    for text in (name, checksum, *texts["software_versions"]):
        if not 0 < len(text) <= 64 or "\\" in text:
            raise ValueError(f"derivation.model: texts must have 1 to 64 characters and no backslash, got {text!r}.")
    return texts


def series_description(derivation: Derivation) -> str:
    """The title, marked as simulated where it is and does not say so.

    Raises:
        ValueError: if it has more than 64 characters, the mark included.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> series_description(Derivation("sigma 8x", "", True, ModelIdentity("unet", "1", "0")))
        'sigma 8x SIMULATED'
    """
    title = derivation.title.strip()
    if derivation.simulated and SIMULATED not in title.upper():
        title = f"{title} {SIMULATED}"
    return _text("title", title, 64)


def derivation_text(derivation: Derivation) -> str:
    """The derivation description, which begins with the mark of a simulation where there is one.

    Raises:
        ValueError: if it has more than 1024 characters, the mark included.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> derivation_text(Derivation("", "Posterior mean, 8x.", True, ModelIdentity("unet", "1", "0")))
        'SIMULATED from magnitude images, not acquired. Posterior mean, 8x.'
    """
    return _text("text", (SIMULATION_NOTE if derivation.simulated else "") + derivation.text.strip(), 1024)


def content_description(what: str, derivation: Derivation) -> str:
    """What the pixels of an object are, marked as simulated where they are.

    Args:
        what: at most 53 characters; the mark takes 11 of DICOM's 64.
        derivation: whether k-space was simulated.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> content_description("Predictive entropy", Derivation("", "", True, ModelIdentity("unet", "1", "0")))
        'SIMULATED: Predictive entropy'
    """
    return f"{SIMULATED}: {what}" if derivation.simulated else what


def _text(name: str, text: str, longest: int) -> str:
    """The text, if DICOM takes it."""
    if not 0 < len(text) <= longest or "\\" in text:
        raise ValueError(
            f"derivation.{name} must have 1 to {longest} characters (a mark of a simulation included) and no backslash, got "
            f"{len(text)}: {text!r}."
        )
    return text


def image_type(derivation: Derivation) -> list[str]:
    """Values of ImageType of a derived image: DERIVED, SECONDARY, OTHER and, where k-space was simulated, SIMULATED.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> image_type(Derivation("", "", True, ModelIdentity("unet", "1", "0")))
        ['DERIVED', 'SECONDARY', 'OTHER', 'SIMULATED']

    References:
        DICOM PS3.3 2024e, C.8.3.1.1.1 (values 4 and on are an implementation's own).
    """
    return ["DERIVED", "SECONDARY", "OTHER", *([SIMULATED] if derivation.simulated else [])]


@contextmanager
def guarded(action: str) -> Iterator[None]:
    """Silence the libraries' log records and warnings, and keep nothing of their exceptions but the type.

    Args:
        action: what is done in the block, for the message, e.g. "writing the segmentation".

    Raises:
        DeployError: instead of any exception of the block that is not one already.

    Example:
        >>> with guarded("writing the report"):
        ...     raise ValueError("DOE^JANE is no name")
        Traceback (most recent call last):
        infomri_monai.deploy.case.DeployError: writing the report failed: ValueError. ...
    """
    try:
        with quiet():
            yield
    except DeployError:
        raise
    except OSError as error:
        raise DeployError(f"{action} failed: {system_words(error)}.") from None
    except Exception as error:  # whatever a library raises may quote the header
        kind = type(error).__name__
        raise DeployError(
            f"{action} failed: {kind}. Its message is not shown, because it may hold identifiers; check the source's headers."
        ) from None


pydicom, _ = optional_import("pydicom")


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
