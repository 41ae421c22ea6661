"""The pieces that our structured reports are made of, and the DICOM object around them (template TID 1500).

Also here: Codes of our structured reports for what DICOM's own coding schemes have no word for.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

from infomri_monai.deploy.case import CaseSource, Derivation
from infomri_monai.deploy.dicom.common import guarded, new_uid, series_attributes, unnamed
from infomri_monai.deploy.dicom.references import identity_arguments

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "AUTOMATIC",
    "NATS",
    "ONE",
    "SCHEME",
    "case_group",
    "document",
    "label_code",
    "measurements",
    "own_code",
    "percentile_code",
    "unit",
]

coding, _ = optional_import("pydicom.sr.coding")


#: private coding scheme; its designator begins with 99, as the standard asks of private ones
SCHEME = "99INFOMRI"

_MEANINGS = {
    "AGREEMENT": "Agreement: mean pairwise Dice coefficient of the samples",
    "MEAN_ENTROPY": "Mean predictive entropy per pixel",
    "ENTROPY": "Predictive entropy",
    "MUTUAL_INFO": "Mutual information of label and mask",
    "SAMPLES": "Number of posterior samples",
    "MASKS": "Number of sampling masks",
    "RATIO": "Sampling ratio, mean over slices and masks",
    "RATIO_ALL_MASKS": "Sampling ratio of all masks together",
    "ACCELERATION": "Acceleration",
    "SIMULATED": "k-space was simulated from images",
    "REVIEW": "A person must review the segmentation",
    "MOST_PROBABLE": "Most probable label",
    "ABOVE_HALF": "Label of a probability above one half",
    "REVIEW_WORDS": "What the review decision means",
    "ACQUISITION": "Acquisition",
    "MEANING": "What the numbers mean",
    "NO_IMAGE": "Privacy",
    "SLICES": "Values of every slice",
    "WARNING": "Warning",
}

#: UCUM codes of units and their meanings
ONE, NATS = "1", "{nat}"
_UNITS = {
    ONE: "no units",
    NATS: "nat",
    "mm3": "cubic millimeter",
    "{voxels}": "voxels",
    "{nat}/{pixel}": "nat per pixel",
}


def own_code(value: str) -> Any:
    """One of our codes, ``pydicom.sr.coding.Code``.

    Example:
        >>> own_code("RATIO").meaning
        'Sampling ratio, mean over slices and masks'
    """
    return coding.Code(value, SCHEME, _MEANINGS[value])


def percentile_code(percent: int) -> Any:
    """The 5th or the 95th percentile, as the derivation of a number (SNOMED CT, in plain words)."""
    return coding.Code({5: "371888009", 95: "371889001"}[percent], "SCT", f"{percent}th percentile")


def unit(value: str) -> Any:
    """A unit of UCUM; what is in braces is an annotation of a number without unit."""
    return coding.Code(value, "UCUM", _UNITS[value])


def label_code(label: str) -> Any:
    """The code of a classifier's label: the label itself, or a hash of it where it is too long for a code or not plain ASCII.

    Args:
        label: 1 to 64 characters.

    Example:
        >>> label_code("right").value, label_code("right, behind").value
        ('right', 'd0cb410f6d5400c3')
    """
    plain = re.fullmatch(r"[A-Za-z0-9_.+-]{1,16}", label) is not None and label not in _MEANINGS
    return coding.Code(label if plain else hashlib.sha256(label.encode()).hexdigest()[:16], SCHEME, label)


schemes, _ = optional_import("highdicom.coding_schemes")
reports, _ = optional_import("highdicom.sr")
pydicom, _ = optional_import("pydicom")
coding, _ = optional_import("pydicom.sr.coding")
codes, _ = optional_import("pydicom.sr.codedict", name="codes")


#: of our series attributes what a report, which is no image, does not have
_OF_IMAGES = ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "BodyPartExamined", "Laterality")
#: of an instance, what a reference to it is made of
_REFERENCE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
#: stands in every report
AUTOMATIC = "Written by software; no person has verified it."


def measurements(rows: Iterable[tuple[Any, float, str, Any]]) -> list[Any]:
    """Measurements (TID 300) of the numbers that are known.

    Args:
        rows: code of the name, number (finite, or NaN for one that is left out), UCUM unit, and code of the derivation or None.
    """
    made = []
    for name, value, units, derivation in rows:
        if not math.isnan(value):
            made.append(reports.Measurement(name=name, value=value, unit=unit(units), derivation=derivation))
    return made


def _algorithm(derivation: Derivation) -> Any:
    """The model (TID 4019)."""
    name, version, checksum = derivation.model
    return reports.AlgorithmIdentification(
        name=name,
        version=version,
        manufacturer="infomri_monai",
        family=codes.DCM.ArtificialIntelligence,
        parameters=[f"SHA-256 of the weights: {checksum}"],
    )


def case_group(
    rows: Sequence[tuple[Any, float, str, Any]],
    evaluations: Sequence[tuple[Any, Any]],
    instances: Sequence[Any],
    derivation: Derivation,
) -> Any:
    """The measurement group of the whole case (TID 1501), with its source and the model.

    Args:
        rows: as for :func:`measurements`.
        evaluations: codes of a question and its answer.
        instances: images that the numbers were computed from; none for raw k-space.
        derivation: how k-space came about, and the model.
    """
    simulated = codes.SCT.Yes if derivation.simulated else codes.SCT.No
    return reports.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=reports.TrackingIdentifier(identifier="case"),
        measurements=measurements(rows),
        qualitative_evaluations=[
            reports.QualitativeEvaluation(name, value)
            for name, value in (*evaluations, (own_code("SIMULATED"), simulated))
        ],
        source_images=[
            reports.SourceImageForMeasurementGroup(str(image.SOPClassUID), str(image.SOPInstanceUID))
            for image in instances
        ],
        algorithm_id=_algorithm(derivation),
    )


def document(
    groups: Sequence[Any],
    texts: Sequence[tuple[str, str]],
    source: CaseSource,
    derivation: Derivation,
    series_number: int,
    evidence: Sequence[Dataset] = (),
) -> Dataset:
    """A Comprehensive SR around measurement groups and texts.

    Args:
        groups: measurement groups (TID 1411 or 1501) of highdicom, at least one.
        texts: one of our codes and the text, in the order of reading.
        source: of the case.
        derivation: title, and the model as the observer.
        series_number: of the new series.
        evidence: instances that the numbers were computed from or the content refers to; none for raw k-space.

    Returns:
        ``highdicom.sr.ComprehensiveSR``, complete, preliminary and not verified by a person.

    Raises:
        ValueError: as :func:`~infomri_monai.deploy.dicom.common.series_attributes`.
        DeployError: if highdicom refuses the source's header.
    """
    series = series_attributes(source, derivation, series_number, "SR")
    for keyword in _OF_IMAGES:
        series.pop(keyword, None)
    with guarded("making the report"):
        content = reports.MeasurementReport(
            observation_context=_observer(derivation),
            procedure_reported=codes.LN.MRIUnspecifiedBodyRegion,
            imaging_measurements=groups,
        )
        content[0].ContentSequence.append(_texts(texts))
        made = reports.ComprehensiveSR(
            evidence=[_evidence(instance) for instance in evidence] or [_nothing(series)],
            content=content,
            is_complete=True,
            is_final=False,
            coding_schemes=[_scheme()],
            **identity_arguments(series, derivation),
        )
        if not evidence:
            del made.CurrentRequestedProcedureEvidenceSequence
        made.update(series)
    return made


def _evidence(instance: Any) -> Dataset:
    """A reference without identity: highdicom takes patient and study from it, which are replaced."""
    return unnamed(**{keyword: str(instance[keyword].value) for keyword in _REFERENCE})


def _nothing(series: Dataset) -> Dataset:
    """Stands for evidence where there is none, because highdicom wants some; the reference is deleted again."""
    uids = (pydicom.uid.RawDataStorage, new_uid(), series.StudyInstanceUID, new_uid())
    return unnamed(**dict(zip(_REFERENCE, uids, strict=True)))


def _observer(derivation: Derivation) -> Any:
    """This software with its model as the observer (TID 1004); one model is one device."""
    name, version, checksum = derivation.model
    uid = pydicom.uid.generate_uid(entropy_srcs=["infomri_monai", name, version, checksum])
    device = reports.DeviceObserverIdentifyingAttributes(
        uid=uid, name="infomri_monai", manufacturer_name="infomri_monai", model_name=f"{name} {version}"
    )
    context = reports.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return reports.ObservationContext(observer_device_context=context)


def _texts(texts: Sequence[tuple[str, str]]) -> Any:
    """The container of texts: rows 12 and on of TID 1500."""
    container = reports.ContainerContentItem(
        name=coding.Code("C0034375", "UMLS", "Qualitative Evaluations"), relationship_type="CONTAINS"
    )
    items = [
        reports.TextContentItem(name=own_code(code), value=text, relationship_type="CONTAINS") for code, text in texts
    ]
    container.ContentSequence = reports.ContentSequence(items)
    return container


def _scheme() -> Any:
    """Our coding scheme, by name."""
    return schemes.CodingSchemeIdentificationItem(
        designator=SCHEME, name="infomri_monai", responsible_organization="infomri_monai"
    )
