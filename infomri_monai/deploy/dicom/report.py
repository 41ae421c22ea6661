"""The pieces that our structured reports are made of (template TID 1500)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import RawDataStorage, generate_uid

from infomri_monai.data.dicom.series import MANUFACTURER
from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.derivation import Derivation
from infomri_monai.deploy.dicom.identity import identity_arguments, new_uid, series_attributes, unnamed
from infomri_monai.deploy.logs import guarded

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
]

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


def own_code(value: str) -> Code:
    """One of our codes, ``pydicom.sr.coding.Code``.

    Example:
        >>> own_code("RATIO").meaning
        'Sampling ratio, mean over slices and masks'
    """
    return Code(value, SCHEME, _MEANINGS[value])


def percentile_code(percent: int) -> Code:
    """The 5th or the 95th percentile, as the derivation of a number (SNOMED CT, in plain words)."""
    return Code({5: "371888009", 95: "371889001"}[percent], "SCT", f"{percent}th percentile")


def label_code(label: str) -> Code:
    """The code of a classifier's label: the label itself, or a hash of it where it is too long for a code or not plain ASCII.

    Args:
        label: 1 to 64 characters.

    Example:
        >>> label_code("right").value, label_code("right, behind").value
        ('right', 'd0cb410f6d5400c3')
    """
    plain = re.fullmatch(r"[A-Za-z0-9_.+-]{1,16}", label) is not None and label not in _MEANINGS
    return Code(label if plain else hashlib.sha256(label.encode()).hexdigest()[:16], SCHEME, label)


#: of our series attributes what a report, which is no image, does not have
_OF_IMAGES = ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "BodyPartExamined", "Laterality")
#: of an instance, what a reference to it is made of
_REFERENCE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
#: stands in every report
AUTOMATIC = "Written by software; no person has verified it."


def measurements(rows: Iterable[tuple[Any, float, str, Any]]) -> list[Any]:
    """Measurements (TID 300) of the numbers that are known, to six significant digits: more would claim what nobody knows.

    Args:
        rows: code of the name, number (finite, or NaN for one that is left out), UCUM unit, and code of the derivation or None.
    """
    return [
        sr.Measurement(name, float(f"{value:.6g}"), Code(units, "UCUM", _UNITS[units]), derivation=derivation)
        for name, value, units, derivation in rows
        if not math.isnan(value)
    ]


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
    name, version, checksum = derivation.model
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identifier="case"),
        measurements=measurements(rows),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(*pair) for pair in (*evaluations, (own_code("SIMULATED"), simulated))
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in instances
        ],
        algorithm_id=sr.AlgorithmIdentification(  # TID 4019
            name=name,
            version=version,
            manufacturer=MANUFACTURER,
            family=codes.DCM.ArtificialIntelligence,
            parameters=[f"SHA-256 of the weights: {checksum}"],
        ),
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
        ValueError: as :func:`~infomri_monai.deploy.dicom.identity.series_attributes`.
        DeployError: if highdicom refuses the source's header.
    """
    series = series_attributes(source, derivation, series_number, "SR")
    for keyword in _OF_IMAGES:
        series.pop(keyword, None)
    # highdicom takes patient and study from the evidence, and wants some where there is none: that reference is deleted again
    nothing = (RawDataStorage, new_uid(), series.StudyInstanceUID, new_uid())
    with guarded("making the report"):
        references = [{keyword: str(instance[keyword].value) for keyword in _REFERENCE} for instance in evidence]
        references = references or [dict(zip(_REFERENCE, nothing, strict=True))]
        content = sr.MeasurementReport(
            observation_context=_observer(derivation),
            procedure_reported=codes.LN.MRIUnspecifiedBodyRegion,
            imaging_measurements=groups,
        )
        content[0].ContentSequence.append(_texts(texts))
        made = sr.ComprehensiveSR(
            evidence=[unnamed(**reference) for reference in references],
            content=content,
            is_complete=True,
            is_final=False,
            coding_schemes=[
                CodingSchemeIdentificationItem(SCHEME, MANUFACTURER, responsible_organization=MANUFACTURER)
            ],
            **identity_arguments(series),
        )
        if not evidence:
            del made.CurrentRequestedProcedureEvidenceSequence
        made.update(series)
    return made


def _observer(derivation: Derivation) -> Any:
    """This software with its model as the observer (TID 1004); one model is one device."""
    name, version, checksum = derivation.model
    uid = generate_uid(entropy_srcs=[MANUFACTURER, name, version, checksum])
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid, name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=f"{name} {version}"
    )
    context = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return sr.ObservationContext(observer_device_context=context)


def _texts(texts: Sequence[tuple[str, str]]) -> Any:
    """The container of texts: rows 12 and on of TID 1500."""
    container = sr.ContainerContentItem(
        name=Code("C0034375", "UMLS", "Qualitative Evaluations"), relationship_type="CONTAINS"
    )
    items = [sr.TextContentItem(name=own_code(code), value=text, relationship_type="CONTAINS") for code, text in texts]
    container.ContentSequence = sr.ContentSequence(items)
    return container
