"""The one DICOM object of a privacy-preserving classification: a structured report without any pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from infomri_monai.data.dicom.quiet import quiet
from infomri_monai.deploy.bundle import DeployBundle, Inference
from infomri_monai.deploy.case import CaseSource, DeployCase
from infomri_monai.deploy.derivation import Derivation, derived
from infomri_monai.deploy.dicom.report import (
    AUTOMATIC,
    NATS,
    ONE,
    case_group,
    document,
    label_code,
    measurements,
    own_code,
)
from infomri_monai.deploy.logs import guarded
from infomri_monai.engines import VolumeClassification

__all__ = ["build_objects", "classification_report"]

_REPORT = 9200


@quiet()
def build_objects(case: DeployCase, inference: Inference, bundle: DeployBundle) -> dict[str, Dataset]:
    """``report.dcm``: probabilities of all labels, their uncertainty, and how k-space was acquired.

    Args:
        case: what was classified.
        inference: the bundle's result.
        bundle: the bundle.
    """
    result: VolumeClassification = inference.result
    report = classification_report(
        result,
        bundle.names,
        case.source,
        derived("classification", result.record, result.ratio, bundle.identity),
        _REPORT,
        warnings=(*case.warnings, *inference.warnings),
    )
    return {"report.dcm": report}


def classification_report(
    result: VolumeClassification,
    labels: Sequence[str],
    source: CaseSource,
    derivation: Derivation,
    series_number: int,
    *,
    warnings: Sequence[str] = (),
) -> Dataset:
    """A diagnosis from undersampled k-space: probabilities and how sure they are; no pixel data, and no image to refer to.

    A measurement group for every label (TID 1501: its probability), one of the case (entropy, mutual information of label and
    mask, number of masks, sampling ratio, acceleration, most probable label), then texts with the values of every slice.
    Numbers that are not known are left out: one mask has no mutual information.

    Args:
        result: of the case.
        labels: names of the classes or labels, one for each, 1 to 64 characters.
        source: of the case; raw k-space has no instances, and its report refers to nothing.
        derivation: title and text, and the model.
        series_number: of the new series.
        warnings: what a reader must know.

    Returns:
        A ``highdicom.sr.ComprehensiveSR``.

    Raises:
        ValueError: if the labels are not one different name for each probability, or ``derivation.simulated`` is not the
            result's.
        DeployError: if highdicom refuses the source's header.

    References:
        DICOM PS3.16 2024e, TID 1500 and TID 1501.
    """
    names = tuple(labels)
    valid = not isinstance(labels, str) and all(isinstance(name, str) and 0 < len(name) <= 64 for name in names)
    if not valid or len(set(names)) < len(names) or len(names) != len(result.probabilities):
        raise ValueError(
            f"labels must be {len(result.probabilities)} different names of 1 to 64 characters, got {labels!r}."
        )
    if derivation.simulated is not result.record.simulated:
        raise ValueError(f"derivation.simulated must be the result's, {result.record.simulated}.")
    known = dict(zip(names, result.probabilities.tolist(), strict=True))
    with guarded("making the report"):
        groups = [_probability(name, probability) for name, probability in known.items()]
        groups.append(_case_of_masks(result, known, source.instances, derivation))
    texts = [
        ("NO_IMAGE", _no_image(float(result.ratio_of_all_masks.max()))),
        ("ACQUISITION", derivation.description),
        ("MEANING", f"{_meaning(result, names)} {AUTOMATIC}"),
        ("SLICES", _table(result, names)),
        *(("WARNING", warning) for warning in warnings),
    ]
    return document(groups, texts, source, derivation, series_number, evidence=source.instances)


def _no_image(ratio: float) -> str:
    """What the network saw of the image, and that nothing of it is here; of complete k-space it saw all."""
    seen = (
        "the zero-filled transform of undersampled k-space"
        if ratio < 1
        else "complete k-space, which is the whole image"
    )
    kept = "" if ratio < 1 else " Nothing was withheld from the network: this acquisition protects nobody's privacy."
    return f"No image was reconstructed or stored: the network took {seen}, in memory only.{kept} This report holds no pixel data."


def _meaning(result: VolumeClassification, names: Sequence[str]) -> str:
    """What the case's probabilities and their entropy are."""
    if result.case_rule == "mean":
        slices = "the mean over the slices"
    elif result.multi_label:
        slices = "the highest of all slices"
    else:
        slices = f"those of the slice in which {names[0]!r} is least probable"
    masks = "from one sampling mask" if result.masks == 1 else f"averaged over {result.masks} sampling masks"
    if result.multi_label:
        return (
            f"Probabilities of independent labels, each by itself from 0 to 1: for the case, {slices}, {masks}. The entropy is "
            "that of these probabilities, summed over the labels."
        )
    return (
        f"Probabilities of exclusive classes, which add up to 1: for the case, {slices}, {masks}. The entropy is that of these "
        "probabilities."
    )


def _probability(name: str, probability: float) -> Any:
    """The measurement group of a label."""
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identifier=name),
        finding_type=label_code(name),
        measurements=measurements([(codes.DCM.Probability, probability, ONE, None)]),
    )


def _case_of_masks(
    result: VolumeClassification, known: dict[str, float], instances: Sequence[Any], derivation: Derivation
) -> Any:
    """The measurement group of the whole case."""
    ratio = float(result.ratio.double().mean())
    rows = [
        (own_code("ENTROPY"), result.entropy, NATS, None),
        (own_code("MUTUAL_INFO"), math.nan if result.masks == 1 else result.mutual_information, NATS, None),
        (own_code("MASKS"), result.masks, ONE, None),
        (own_code("RATIO"), ratio, ONE, None),
        (own_code("ACCELERATION"), 1 / ratio if ratio > 0 else math.nan, ONE, None),
        (own_code("RATIO_ALL_MASKS"), float(result.ratio_of_all_masks.double().mean()), ONE, None),
    ]
    if result.multi_label:
        said = [(own_code("ABOVE_HALF"), label_code(name)) for name, value in known.items() if value > 0.5]
    else:
        said = [(own_code("MOST_PROBABLE"), label_code(max(known, key=known.__getitem__)))]
    return case_group(rows, said, instances, derivation)


def _table(result: VolumeClassification, names: Sequence[str]) -> str:
    """The slices' values, a line each, separated by semicolons."""
    shared = result.slice_mutual_information if result.masks > 1 else result.slice_entropy * math.nan
    lines = ["; ".join(("slice", *names, "entropy/nat", "mutual information/nat", "ratio"))]
    per_slice = (result.slice_probabilities, result.slice_entropy, shared, result.ratio)
    columns = zip(*(values.tolist() for values in per_slice), strict=True)
    for number, (probabilities, *others) in enumerate(columns, start=1):
        values = ("-" if math.isnan(value) else f"{value:.4g}" for value in (*probabilities, *others))
        lines.append("; ".join((str(number), *values)))
    return "\r\n".join(lines)
