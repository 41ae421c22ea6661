"""A segmentation as it came back from the PACS: DICOM objects read by their references, as arrays for a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.deploy.case import CaseSource, DeployError
from infomri_monai.deploy.dicom.common import guarded
from infomri_monai.deploy.dicom.geometry import RAS_TO_LPS
from infomri_monai.deploy.dicom.scan import SeriesCandidate
from infomri_monai.deploy.dicom.series import read_series

highdicom, _ = optional_import("highdicom")
highdicom_seg, _ = optional_import("highdicom.seg")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ResultObjects", "SegmentedSeries", "read_result", "recognised"]


class ResultObjects(NamedTuple):
    """DICOM objects of a segmentation.

    Attributes:
        segmentation: binary.
        probability: fractional segmentation.
        entropy: parametric map.
        report: structured report of the triage.
    """

    segmentation: Dataset
    probability: Dataset
    entropy: Dataset
    report: Dataset


class SegmentedSeries(NamedTuple):
    """A series and what was said of it; slices in the order of their position along the normal, rows and columns as stored.

    Attributes:
        images: in the series' units, float32, (slices, rows, columns).
        masks: bool, (structures, slices, rows, columns).
        probabilities: in [0, 1], same shape.
        entropy: nats, (slices, rows, columns).
        names: of the structures.
        positions: of the slices' centres along the normal, mm, (slices,).
        pixel_spacing: distance of rows, distance of columns, mm.
        edges: letters of the patient's sides at the left, right, upper and lower edge, e.g. "R", "L", "A", "P".
        acceleration: as the report says.
        triage: the decision in one line.
    """

    images: NDArray[np.float32]
    masks: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    entropy: NDArray[np.float64]
    names: tuple[str, ...]
    positions: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    edges: tuple[str, str, str, str]
    acceleration: float
    triage: str


def recognised(datasets: Sequence[Dataset]) -> ResultObjects:
    """Tell the objects of one segmentation from one another and from images.

    Raises:
        DeployError: if there is not one of each.
    """
    kinds = [str(dataset.get("SegmentationType", "")) for dataset in datasets]
    fitting = {
        "binary segmentation": [d for d, kind in zip(datasets, kinds, strict=True) if kind == "BINARY"],
        "fractional segmentation": [d for d, kind in zip(datasets, kinds, strict=True) if kind == "FRACTIONAL"],
        "map of the entropy": [d for d in datasets if d.get("ContentLabel") == "ENTROPY"],
        "structured report": [d for d in datasets if d.Modality == "SR"],
    }
    for what, found in fitting.items():
        if len(found) != 1:
            raise DeployError(f"there must be one {what}, found {len(found)}.")
    return ResultObjects(*(found[0] for found in fitting.values()))


def read_result(series: SeriesCandidate, objects: ResultObjects) -> SegmentedSeries:
    """Read the objects with highdicom, frame by frame of the slices that they refer to.

    Args:
        series: the source, of a scan.
        objects: with their pixels.

    Raises:
        DeployError: if the series or an object cannot be read.
    """
    case = read_series(series)
    with guarded("reading the results"):
        segments = objects.segmentation.SegmentSequence
        masks, probabilities = (
            _pixels(highdicom_seg.Segmentation.from_dataset(each), case.source, assert_missing_frames_are_empty=True)
            for each in (objects.segmentation, objects.probability)
        )
        entropy = _pixels(highdicom.Image.from_dataset(objects.entropy), case.source)
        agreement, acceleration, review = (
            _answer(objects.report, code) for code in ("AGREEMENT", "ACCELERATION", "REVIEW")
        )
        names = tuple(str(segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) for segment in segments)
    lps = np.diag([*np.diag(RAS_TO_LPS), 1.0]) @ case.affine
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    count = case.data.shape[-1]
    centres = lps[:3, :3] @ ((np.array(case.data.shape[1:3]) - 1) / 2 @ np.eye(2, 3)) + lps[:3, 3]
    return SegmentedSeries(
        images=case.data[0].permute(2, 1, 0).numpy(),
        masks=np.moveaxis(masks, -1, 0) > 0,
        probabilities=np.moveaxis(probabilities, -1, 0),
        entropy=entropy,
        names=names,
        positions=centres @ lps[:3, 2] / steps[2] + steps[2] * np.arange(count),
        pixel_spacing=(float(steps[1]), float(steps[0])),
        edges=_edges(lps),
        acceleration=float(acceleration),
        triage=_triage(review, agreement),
    )


def _pixels(image: Any, source: CaseSource, **options: Any) -> NDArray[Any]:
    """Frames of an object, one for every slice of the source, found by what they refer to."""
    uids = [str(instance.SOPInstanceUID) for instance in source.instances]
    if source.frames:
        return np.asarray(image.get_pixels_by_source_frame(uids[0], list(source.frames), **options))
    return np.asarray(image.get_pixels_by_source_instance(uids, **options))


def _edges(affine: NDArray[np.float64]) -> tuple[str, str, str, str]:
    """Letters of the patient's sides at the edges of a slice."""
    columns, rows, _ = highdicom.spatial.get_closest_patient_orientation(affine)
    opposite = highdicom.spatial.PATIENT_ORIENTATION_OPPOSITES
    return opposite[columns].value, columns.value, opposite[rows].value, rows.value


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _items(child)


def _answer(report: Dataset, code: str) -> Any:
    """What a report says to one of our codes: a number, or the words of a code; NaN if nothing."""
    for item in _items(report):
        concepts = item.get("ConceptNameCodeSequence")
        if concepts and concepts[0].get("CodeValue") == code:
            if item.ValueType == "NUM":
                return float(item.MeasuredValueSequence[0].NumericValue)
            return str(item.ConceptCodeSequence[0].CodeMeaning)
    return float("nan")


def _triage(review: str, agreement: float) -> str:
    """The decision in words."""
    said = {"Yes": "a person must review the segmentation", "No": "the segmentation needs no review"}.get(
        review, "not decided"
    )
    return f"triage: {said}; agreement of the samples {agreement:.2f}"
