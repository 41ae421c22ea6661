"""The structured report of a segmentation: what its samples say about the case, and whether a person must look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

from infomri_monai.deploy.case import CaseSource, Derivation
from infomri_monai.deploy.dicom.guard import guarded
from infomri_monai.deploy.dicom.report_codes import ONE, own_code, percentile_code
from infomri_monai.deploy.dicom.report_content import AUTOMATIC, case_group, document, measurements
from infomri_monai.deploy.dicom.segment_codes import segment_code
from infomri_monai.deploy.dicom.wording import derivation_text
from infomri_monai.triage import ReviewThreshold, StructureVolume, WorklistEntry

reports, _ = optional_import("highdicom.sr")
codes, _ = optional_import("pydicom.sr.codedict", name="codes")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["triage_report"]

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
        ("MEANING", f"{_meaning(samples)} {AUTOMATIC}"),
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


def _meaning(samples: int) -> str:
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
