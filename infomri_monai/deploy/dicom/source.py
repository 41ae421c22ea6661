"""What derived DICOM objects take over from a series: its instances without pixels, patient, study, equipment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from monai.utils import optional_import

from infomri_monai.deploy.case import CaseSource

pydicom, _ = optional_import("pydicom")
pydicom_uid, _ = optional_import("pydicom.uid")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["case_source"]

#: always there, empty if the series does not say
_KEPT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
#: new if the series has none
_UNIQUE = ("StudyInstanceUID", "FrameOfReferenceUID")
#: there if the series has them
_OPTIONAL = (
    "SpecificCharacterSet",
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "PositionReferenceIndicator",
    "PatientPosition",
    "BodyPartExamined",
    "Laterality",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "InstitutionName",
    "MagneticFieldStrength",
)


def case_source(instances: Sequence[Dataset], frames: Sequence[int] = ()) -> tuple[CaseSource, tuple[str, ...]]:
    """Make a case's source. To be called within ``quiet``.

    All values are decoded here, so that none is decoded (and perhaps quoted in a warning) later; elements that cannot be decoded
    are dropped. A missing StudyInstanceUID or FrameOfReferenceUID is made new, in the instances, too.

    Args:
        instances: without pixel data, in the order of the slices.
        frames: number (from 1) of the frame of each slice of a multi-frame instance.

    Returns:
        The source, and warnings.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> datasets = example_datasets(slices=2)
        >>> del datasets[0].FrameOfReferenceUID, datasets[1].FrameOfReferenceUID
        >>> source, warnings = case_source(datasets)
        >>> source.attributes.FrameOfReferenceUID == source.instances[1].FrameOfReferenceUID, warnings
        (True, ('FrameOfReferenceUID was missing and is made new.',))
    """
    for instance in instances:
        _decode(instance)
    first, attributes, warnings = instances[0], pydicom.Dataset(), []
    for keyword in _UNIQUE:
        if not first.get(keyword):
            new = pydicom_uid.generate_uid()
            for instance in instances:
                setattr(instance, keyword, new)
            warnings.append(f"{keyword} was missing and is made new.")
    for keyword in (*_KEPT, *_UNIQUE, *_OPTIONAL):
        if keyword in first:
            attributes[keyword] = first[keyword]
        elif keyword in _KEPT:
            setattr(attributes, keyword, "")
    return CaseSource(tuple(instances), attributes, tuple(frames)), tuple(warnings)


def _decode(dataset: Dataset) -> None:
    """Turn raw bytes into values, everywhere; drop what cannot be."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # damaged values raise whatever their parser does
            del dataset[tag]
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                _decode(item)
