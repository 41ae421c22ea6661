"""The DICOM objects of a segmentation: SEG of majority and probability, entropy map, triage report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from torch import Tensor

from infomri_monai.acquisition.fourier import kspace_to_image
from infomri_monai.acquisition.measurement import apply_mask
from infomri_monai.data.dicom.quiet import quiet
from infomri_monai.deploy.bundle import DeployBundle, Inference, volume_of
from infomri_monai.deploy.case import CaseSource, DeployCase, counted
from infomri_monai.deploy.derivation import Derivation, derived
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.deploy.dicom.report import (
    AUTOMATIC,
    ONE,
    case_group,
    document,
    measurements,
    own_code,
    percentile_code,
)
from infomri_monai.deploy.dicom.segmentation import binary_segmentation, fractional_segmentation, segment_code
from infomri_monai.deploy.logs import guarded
from infomri_monai.deploy.reconstruction.objects import series_files
from infomri_monai.engines import VolumeSegmentation
from infomri_monai.handlers.cases import scaled_entry, worklist_entry
from infomri_monai.triage import ReviewThreshold, StructureVolume, WorklistEntry

__all__ = ["build_objects", "triage_report"]

_IMAGE, _SIGMA, _MAJORITY, _PROBABILITY, _ENTROPY, _TRIAGE = range(9100, 9106)


@quiet()
def build_objects(case: DeployCase, inference: Inference, bundle: DeployBundle) -> dict[str, Dataset]:
    """``segmentation.dcm``, ``probability.dcm``, ``entropy.dcm`` and ``triage.dcm``.

    A reconstruction, if the bundle gives one, is written as ``reconstruction/slice_<n>.dcm`` with ``sigma.dcm``. Raw k-space has no
    instances that a segmentation could refer to: then it refers to the reconstruction, or else to
    ``zero_filled/slice_<n>.dcm``. Nor has a mosaic any for its slices: then it refers to ``source/slice_<n>.dcm``, the mosaic
    unpacked.

    Args:
        case: what was segmented.
        inference: the bundle's result.
        bundle: the bundle.
    """
    result: VolumeSegmentation = inference.result
    warnings = (*case.warnings, *inference.warnings)
    said = partial(derived, record=result.record, ratio=result.ratio, model=bundle.identity, warnings=warnings)
    files, source = _images(case, result, bundle, said)
    place = case.affine, source
    multi_label = result.segmentation.ndim > result.entropy.ndim
    mean = f"mean probability over {counted(len(result.volumes), 'sample')}"
    chosen = f"Where the {mean} is above 1/2." if multi_label else f"Most probable class by the {mean}."
    masks = volume_of(result.segmentation, case, bundle, int(multi_label))
    probabilities = volume_of(result.class_probabilities, case, bundle, 1)
    entropy = volume_of(result.entropy, case, bundle)
    hows = (said("segmentation", more=chosen), said("probability", more=f"{mean.capitalize()}."))
    empty = bundle.keep_empty_frames
    majority = binary_segmentation(masks, bundle.names, *place, hows[0], _MAJORITY, keep_empty=empty)
    probability = fractional_segmentation(probabilities, bundle.names, *place, hows[1], _PROBABILITY, keep_empty=empty)
    how = said("entropy", more="Entropy of the mean class probabilities.")
    return {
        **files,
        "segmentation.dcm": majority,
        "probability.dcm": probability,
        "entropy.dcm": parametric_map(entropy, *place, how, "entropy", _ENTROPY),
        "triage.dcm": _triage(case, result, bundle, majority, source, warnings),
    }


def _triage(
    case: DeployCase,
    result: VolumeSegmentation,
    bundle: DeployBundle,
    majority: Dataset,
    source: CaseSource,
    warnings: Sequence[str],
) -> Dataset:
    """The report; its warnings are texts of their own, so its derivation has none. A case with a warning goes to review."""
    voxel = abs(float(np.linalg.det(case.affine[:3, :3]))) if case.has_geometry else None
    entry = worklist_entry(result, case.number, f"case_{case.number:04d}", bundle.names, bundle.threshold)
    if warnings:
        entry = entry._replace(review=True)
    return triage_report(
        scaled_entry(entry, voxel),
        len(result.volumes),
        majority,
        source,
        derived("triage", result.record, result.ratio, bundle.identity),
        _TRIAGE,
        threshold=bundle.threshold,
        volume_unit="voxels" if voxel is None else "mm3",
        warnings=warnings,
    )


def _images(
    case: DeployCase, result: VolumeSegmentation, bundle: DeployBundle, said: Callable[..., Derivation]
) -> tuple[dict[str, Dataset], CaseSource]:
    """Images that are written beside the segmentation, and the source that it refers to."""
    if result.mean is not None and result.sigma is not None:
        mean, sigma = (volume_of(m, case, bundle) for m in (result.mean, result.sigma))
        how = said("reconstruction", more="Auxiliary reconstruction of the segmentation's network.")
        files, source = series_files("reconstruction", mean, case, how, _IMAGE)
        how = said("sigma", more="Standard deviation of the auxiliary reconstruction's magnitude.")
        return {**files, "sigma.dcm": parametric_map(sigma, case.affine, source, how, "sigma", _SIGMA)}, source
    if case.source.tiled:
        text = "Slices of the source, a Siemens mosaic, unpacked and otherwise unchanged."
        return series_files(
            "source", case.data, case, Derivation("InfoMRI source", text, False, bundle.identity), _IMAGE
        )
    if case.source.instances:
        return {}, case.source
    how = said("zero-filled", more="Zero-filled image, shown for orientation only: it has aliasing.")
    return series_files("zero_filled", volume_of(_zero_filled(case), case, bundle), case, how, _IMAGE)


def _zero_filled(case: DeployCase) -> Tensor:
    """Magnitude of the inverse Fourier transform of what was measured, (readout, phase encoding, slices)."""
    kspace = case.data if case.mask is None else apply_mask(case.data, case.mask)
    return kspace_to_image(kspace[0].movedim(-1, 0), 2).abs().movedim(0, -1)


#: units of volume by the names that the worklist gives them
_VOLUME_UNITS = {"mm3": "mm3", "voxels": "{voxels}"}


def triage_report(
    entry: WorklistEntry,
    samples: int,
    segmentation: Dataset,
    source: CaseSource,
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
        source: patient and study; its instances are what was segmented.
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
    if not source.instances:
        raise ValueError(
            "source.instances must be what was segmented, got none; for raw k-space the series made of it."
        )
    _check_entry(entry, samples, threshold, volume_unit, bool(warnings))
    segments = _segments(segmentation, entry)
    with guarded("making the report"):
        units = _VOLUME_UNITS[volume_unit]
        groups = [_volume(volume, segments[volume.structure], segmentation, units) for volume in entry.volumes]
        groups.append(_case_of_samples(entry, samples, source.instances, derivation))
    texts = [
        ("REVIEW_WORDS", _review_words(entry, threshold, bool(warnings))),
        ("ACQUISITION", derivation.description),
        ("MEANING", f"{_structure_meaning(samples)} {AUTOMATIC}"),
        *(("WARNING", warning) for warning in warnings),
    ]
    return document(groups, texts, source, derivation, series_number, evidence=[*source.instances, segmentation])


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
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=segment.TrackingUID, identifier=volume.structure),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=int(segment.SegmentNumber),
            source_series=sr.SourceSeriesForSegmentation(
                str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
            ),
        ),
        finding_category=code.category,
        finding_type=code.type,
        finding_sites=None if code.modifier is None else [sr.FindingSite(code.type, None, code.modifier)],
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
