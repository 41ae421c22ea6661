"""Structured reports of a case, and how they read as plain text.

Also here: The structured report of a classification: probabilities and how sure they are, without any image. The
structured report of a segmentation: what its samples say about the case, and whether a person must look. A structured
report as plain text, for people without a viewer; no identifier of patient, study or image is in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

from infomri_monai.deploy.case import CaseSource, Derivation
from infomri_monai.deploy.dicom.common import derivation_text, guarded
from infomri_monai.deploy.dicom.report_content import (
    AUTOMATIC,
    NATS,
    ONE,
    case_group,
    document,
    label_code,
    measurements,
    own_code,
    percentile_code,
)
from infomri_monai.deploy.dicom.segmentation import segment_code
from infomri_monai.engines.classification import VolumeClassification
from infomri_monai.triage import ReviewThreshold, StructureVolume, WorklistEntry

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["classification_report", "report_text", "triage_report"]

reports, _ = optional_import("highdicom.sr")
codes, _ = optional_import("pydicom.sr.codedict", name="codes")


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
        ("ACQUISITION", derivation_text(derivation)),
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
    return reports.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=reports.TrackingIdentifier(identifier=name),
        finding_type=label_code(name),
        measurements=measurements([(codes.DCM.Probability, probability, ONE, None)]),
    )


def _case_of_masks(
    result: VolumeClassification, known: dict[str, float], instances: Sequence[Any], derivation: Derivation
) -> Any:
    """The measurement group of the whole case."""
    rows = [
        (own_code("ENTROPY"), result.entropy, NATS, None),
        (own_code("MUTUAL_INFO"), math.nan if result.masks == 1 else result.mutual_information, NATS, None),
        (own_code("MASKS"), result.masks, ONE, None),
        *_sampled(float(result.ratio.double().mean())),
        (own_code("RATIO_ALL_MASKS"), float(result.ratio_of_all_masks.double().mean()), ONE, None),
    ]
    if result.multi_label:
        said = [(own_code("ABOVE_HALF"), label_code(name)) for name, value in known.items() if value > 0.5]
    else:
        said = [(own_code("MOST_PROBABLE"), label_code(max(known, key=known.__getitem__)))]
    return case_group(rows, said, instances, derivation)


def _sampled(ratio: float) -> list[tuple[Any, float, str, Any]]:
    """The sampling ratio and what it amounts to."""
    fast = [(own_code("ACCELERATION"), 1 / ratio, ONE, None)] if ratio > 0 else []
    return [(own_code("RATIO"), ratio, ONE, None), *fast]


def _table(result: VolumeClassification, names: Sequence[str]) -> str:
    """The slices' values, a line each, separated by semicolons."""
    shared = result.slice_mutual_information if result.masks > 1 else result.slice_entropy * math.nan
    lines = ["; ".join(("slice", *names, "entropy/nat", "mutual information/nat", "ratio"))]
    columns = zip(
        result.slice_probabilities.tolist(),
        result.slice_entropy.tolist(),
        shared.tolist(),
        result.ratio.tolist(),
        strict=True,
    )
    for number, (probabilities, *others) in enumerate(columns, start=1):
        values = ("-" if math.isnan(value) else f"{value:.4g}" for value in (*probabilities, *others))
        lines.append("; ".join((str(number), *values)))
    return "\r\n".join(lines)


reports, _ = optional_import("highdicom.sr")
codes, _ = optional_import("pydicom.sr.codedict", name="codes")


#: units of volume by the names that the worklist gives them
_VOLUME_UNITS = {"mm3": "mm3", "voxels": "{voxels}"}


def triage_report(
    entry: WorklistEntry,
    samples: int,
    segmentation: Dataset,
    source: CaseSource,
    reference_instances: Sequence[Any],
    derivation: Derivation,
    series_number: int,
    *,
    threshold: ReviewThreshold | None = None,
    volume_unit: str = "mm3",
    warnings: Sequence[str] = (),
) -> Dataset:
    """What the samples of a case's segmentation say: volumes with their spread, agreement, and whether a person must look.

    A measurement group of the segment for every structure (TID 1411: volume with the derivations median, 5th and 95th
    percentile) and one of the case (TID 1501: agreement, entropy, number of samples, acceleration, review), then texts. Numbers
    that are not known (NaN) are left out: of a single sample there is neither an interval nor an agreement.

    Args:
        entry: the case's row of the worklist; its name and picture are not used.
        samples: number of samples that it was computed from.
        segmentation: from :func:`~infomri_monai.deploy.dicom.segmentation.binary_segmentation`, its segments labelled with the
            names of the entry's structures, in any order.
        source: patient and study.
        reference_instances: what was segmented, as for the segmentation.
        derivation: title and text, and the model.
        series_number: of the new series.
        threshold: what decided ``entry.review``, whose meaning is written out; None if nothing did.
        volume_unit: of the entry's volumes, "mm3" or "voxels" (a source without geometry).
        warnings: what a reader must know. A case with a warning goes to review whatever the threshold says.

    Returns:
        A ``highdicom.sr.ComprehensiveSR`` that refers to the segmentation and the source.

    Raises:
        ValueError: if a structure has no segment, ``entry.review`` is not what the threshold says (with a warning: True), or
            another argument is invalid.
        DeployError: if highdicom refuses the source's header.

    References:
        DICOM PS3.16 2024e, TID 1500, TID 1411, TID 1501; CID 7464 and CID 230.
    """
    if not reference_instances:
        raise ValueError(
            "reference_instances must be what was segmented, got none; for raw k-space the series made of it."
        )
    _check_entry(entry, samples, threshold, volume_unit, bool(warnings))
    segments = _segments(segmentation, entry)
    with guarded("making the report"):
        units = _VOLUME_UNITS[volume_unit]
        groups = [_volume(volume, segments[volume.structure], segmentation, units) for volume in entry.volumes]
        groups.append(_case_of_samples(entry, samples, reference_instances, derivation))
    texts = [
        ("REVIEW_WORDS", _review_words(entry, threshold, bool(warnings))),
        ("ACQUISITION", derivation_text(derivation)),
        ("MEANING", f"{_structure_meaning(samples)} {AUTOMATIC}"),
        *(("WARNING", warning) for warning in warnings),
    ]
    return document(groups, texts, source, derivation, series_number, evidence=[*reference_instances, segmentation])


def _check_entry(
    entry: WorklistEntry, samples: int, threshold: ReviewThreshold | None, volume_unit: str, warned: bool
) -> None:
    """Refuse what contradicts the entry or is out of range."""
    if volume_unit not in _VOLUME_UNITS:
        raise ValueError(f"volume_unit must be one of {tuple(_VOLUME_UNITS)}, got {volume_unit!r}.")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    said = _by_threshold(entry, threshold)
    if entry.review is not (True if warned else said):
        wanted = "True for a case with a warning" if warned else f"what the threshold says ({said})"
        raise ValueError(f"entry.review must be {wanted}, got {entry.review}.")


def _by_threshold(entry: WorklistEntry, threshold: ReviewThreshold | None) -> bool | None:
    """Whether the agreement alone asks for review; None without a threshold."""
    return None if threshold is None else bool(threshold.needs_review([entry.agreement]))


def _segments(segmentation: Dataset, entry: WorklistEntry) -> dict[str, Any]:
    """The segments by their labels; every structure of the entry has one."""
    segments = {str(segment.SegmentLabel): segment for segment in segmentation.SegmentSequence}
    if missing := [volume.structure for volume in entry.volumes if volume.structure not in segments]:
        raise ValueError(f"segmentation must have a segment for every structure of the entry, it lacks {missing}.")
    return segments


def _structure_meaning(samples: int) -> str:
    """What volumes and agreement are."""
    if samples == 1:
        return (
            "Volumes are those of a single sample of the segmentation, of which there is neither spread nor agreement."
        )
    return (
        f"A volume has a median and a central 90 % interval (5th to 95th percentile) over {samples} samples of the segmentation; "
        "the interval is the spread of the samples, not a range of normal values. Agreement is 1 if all samples are the same."
    )


def _volume(volume: StructureVolume, segment: Any, segmentation: Dataset, units: str) -> Any:
    """The measurement group of a structure's segment."""
    code = segment_code(volume.structure)
    derivations = (codes.SCT.Median, percentile_code(5), percentile_code(95))
    rows = [(codes.SCT.Volume, value, units, how) for value, how in zip(volume[1:], derivations, strict=True)]
    return reports.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=reports.TrackingIdentifier(uid=segment.TrackingUID, identifier=volume.structure),
        referenced_segment=reports.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=int(segment.SegmentNumber),
            source_series=reports.SourceSeriesForSegmentation(
                str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
            ),
        ),
        finding_category=code.category,
        finding_type=code.type,
        finding_sites=None if code.modifier is None else [reports.FindingSite(code.type, None, code.modifier)],
        measurements=measurements(rows),
    )


def _case_of_samples(entry: WorklistEntry, samples: int, instances: Sequence[Any], derivation: Derivation) -> Any:
    """The measurement group of the whole case."""
    review = {True: codes.SCT.Yes, False: codes.SCT.No, None: codes.SCT.Undetermined}[entry.review]
    rows = [
        (own_code("AGREEMENT"), entry.agreement, ONE, None),
        (own_code("MEAN_ENTROPY"), entry.mean_entropy, "{nat}/{pixel}", None),
        (own_code("SAMPLES"), samples, ONE, None),
        (own_code("RATIO"), 1 / entry.acceleration, ONE, None),
        (own_code("ACCELERATION"), entry.acceleration, ONE, None),
    ]
    return case_group(rows, [(own_code("REVIEW"), review)], instances, derivation)


def _review_words(entry: WorklistEntry, threshold: ReviewThreshold | None, warned: bool) -> str:
    """Whether a person must review the segmentation, and why; a reader might take "no" for "no finding"."""
    reasons = ["its samples agree too little"] * bool(_by_threshold(entry, threshold)) + [
        "there is a warning below"
    ] * warned
    said = {
        True: f"A person must review this segmentation: {', and '.join(reasons)}.",
        False: "The samples of this segmentation agree well enough for it not to need review.",
        None: "It is not decided whether a person must review this segmentation: no threshold was chosen.",
    }[entry.review]
    known = "not known" if math.isnan(entry.agreement) else f"{entry.agreement:.4f}"
    rule = [] if threshold is None else [str(threshold)]
    return " ".join([said, "This is no diagnosis of the images.", f"Agreement of this case: {known}.", *rule])


uids, _ = optional_import("pydicom.uid")


#: what only computers want to know
_HIDDEN = ("UIDREF",)


def report_text(report: Dataset) -> str:
    """The content tree of a structured report, a line each, indented.

    References are counted, not named; header, UIDs and names of persons are left out. So the text may be logged as far as the
    report's own texts may.

    Args:
        report: any structured report, e.g. of :func:`~infomri_monai.deploy.dicom.report.triage_report` or read from a file.

    Returns:
        Lines such as "Volume (Median): 812.5 mm3", without a newline at the end.

    Raises:
        DeployError: if it is no structured report.

    Example:
        >>> import pydicom
        >>> name, item, report = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        >>> name.CodeMeaning = "Warning"
        >>> item.ValueType, item.TextValue, item.ConceptNameCodeSequence = "TEXT", "no signal", [name]
        >>> report.ValueType, report.ContentSequence = "CONTAINER", [item]
        >>> print(report_text(report))
        Report
          Warning: no signal
    """
    with guarded("reading the report"):
        if report.ValueType != "CONTAINER":
            raise ValueError
        return "\n".join(_lines(report, 0))


def _lines(item: Dataset, depth: int) -> list[str]:
    """An item and what it contains."""
    children = list(item.get("ContentSequence", []))
    modifiers = [child for child in children if child.get("RelationshipType") == "HAS CONCEPT MOD"]
    inline = [_value(child) for child in modifiers] if item.ValueType == "NUM" else []
    name = _name(item) + (f" ({', '.join(inline)})" if inline else "")
    value = _value(item)
    margin = "  " * depth
    first, *more = value.splitlines() or [""]
    lines = [f"{margin}{name}: {first}" if value else f"{margin}{name}", *(f"{margin}  {line}" for line in more)]
    shown = [child for child in children if child.ValueType not in _HIDDEN and not (inline and child in modifiers)]
    for (kind, title), group in groupby(shown, key=lambda child: (child.ValueType, _name(child))):
        alike = list(group)
        if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
            classes = sorted({_class(child) for child in alike})
            lines.append(f"{margin}  {title}: {len(alike)} x {', '.join(classes)}")
        else:
            lines += [line for child in alike for line in _lines(child, depth + 1)]
    return lines


def _name(item: Dataset) -> str:
    """What an item is about."""
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else "Report"


def _class(item: Dataset) -> str:
    """The kind of object that an item refers to."""
    return str(uids.UID(item.ReferencedSOPSequence[0].ReferencedSOPClassUID).name)


def _value(item: Dataset) -> str:
    """What an item says."""
    kind = item.ValueType
    if kind == "TEXT":
        return str(item.TextValue)
    if kind == "CODE":
        return str(item.ConceptCodeSequence[0].CodeMeaning)
    if kind == "NUM":
        return _number(item)
    return ""


def _number(item: Any) -> str:
    """Number and unit."""
    if not item.MeasuredValueSequence:
        return "not known"
    measured = item.MeasuredValueSequence[0]
    value = measured.get("FloatingPointValue", measured.NumericValue)
    units = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
    return f"{float(value):.6g}" + ("" if units == "1" else f" {units.replace('{', '').replace('}', '')}")
