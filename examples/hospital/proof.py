"""The proof that an application's results are in the PACS: what queries, and the objects that come back, say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from infomri_monai.data.dicom.slices import slice_headers
from infomri_monai.deploy.case import DeployError, counted
from infomri_monai.deploy.logs import guarded

__all__ = ["prove"]

#: of the study and the patient: the same in all instances
SHARED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID"),
    *("StudyDate", "AccessionNumber"),
)
#: mm
TOLERANCE = 1e-4


def prove(
    found: int, series: int, sources: Sequence[Dataset], made: Sequence[Dataset], back: Sequence[Dataset]
) -> list[str]:
    """Check that results are in a PACS, in the right study, and refer to their source.

    Args:
        found: how often a query by the patient finds the study.
        series: that a query finds in the study.
        sources: headers of all source instances, classic or enhanced MR of one study.
        made: the results, as they were before they were stored.
        back: all that the PACS has of the study.

    Returns:
        What was proved, without identifiers.

    Raises:
        DeployError: if something is not as it must be.
    """
    _must(found == 1, f"a query by the patient finds the study {found} times, not once")
    came = {str(dataset.SOPInstanceUID): dataset for dataset in back}
    expected = {str(dataset.SOPInstanceUID) for dataset in (*sources, *made)}
    _must(
        came.keys() == expected,
        f"the PACS has {counted(len(came), 'instance')} of the study, not the {len(expected)} stored",
    )
    kinds = Counter(came[str(dataset.SOPInstanceUID)].SOPClassUID.name for dataset in made)
    results = [came[str(dataset.SOPInstanceUID)] for dataset in made]
    with guarded("comparing what came back"):
        for number, (before, after) in enumerate(zip(made, results, strict=True), 1):
            _must(before == after, f"result {number} did not come back as it was made")
            _check_header(number, after, sources[0])
    covered, largest = _check_references(results, sources)
    return [
        f"queries find the patient's study with {counted(series, 'series')}, {counted(len(came), 'instance')}",
        "among them, as they were made: " + ", ".join(f"{count} x {kind}" for kind, count in kinds.items()),
        "in the source's patient and study; every series refers to "
        f"{'all ' * (len(sources) > 1)}{counted(len(sources), 'source instance')}",
        f"{covered} frames lie on the slices that they refer to, within {largest:.1g} mm, in the same frame of reference",
    ]


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DeployError(f"the proof fails: {otherwise}.")


def _check_header(number: int, result: Dataset, source: Dataset) -> None:
    for keyword in SHARED:
        same = (result.get(keyword) or "") == (source.get(keyword) or "")
        _must(same, f"result {number} has another {keyword} than its source")
    if "FrameOfReferenceUID" in result:
        same = result.FrameOfReferenceUID == source.FrameOfReferenceUID
        _must(same, f"result {number} has another frame of reference than its source")


def _check_references(results: Sequence[Dataset], sources: Sequence[Dataset]) -> tuple[int, float]:
    """Check what results refer to; number of frames that do, and the farthest that one lies from its slice, mm."""
    known = {str(dataset.SOPInstanceUID) for dataset in sources}
    segmentations = {str(dataset.SOPInstanceUID) for dataset in results if dataset.Modality == "SEG"}
    referred: dict[str, set[str]] = defaultdict(set)
    frames, largest = 0, 0.0
    with guarded("reading references"):
        positions = _positions(sources)
        for result in results:
            series = referred[str(result.SeriesInstanceUID)]
            series |= {str(e.value) for e in result.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
            if result.Modality == "SR" and segmentations:
                _must(bool(segmentations & series), "the report does not refer to a segmentation")
            for distance in _distances(result, positions):
                frames, largest = frames + 1, max(largest, distance)
    for number, series in enumerate(referred.values(), 1):
        missing = len(known - series)
        _must(
            not missing,
            f"series {number} of the results does not refer to {missing} of {counted(len(known), 'source instance')}",
        )
    _must(largest <= TOLERANCE, f"a frame lies {largest:.2g} mm from its source's slice")
    return frames, largest


def _positions(sources: Sequence[Dataset]) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Position of every source slice by instance and number of the frame, 1 in classic ones."""
    return {
        (str(dataset.SOPInstanceUID), number): header.position
        for dataset in sources
        for number, header in enumerate(slice_headers(dataset), 1)
    }


def _distances(result: Dataset, positions: Mapping[tuple[str, int], NDArray[np.float64]]) -> Iterator[float]:
    """From every frame of a result, or a classic image, to the slice that it says it was made of, mm; none of a report."""
    if result.Modality == "SR":
        return
    for frame in result.get("PerFrameFunctionalGroupsSequence") or [None]:
        source = (result if frame is None else frame.DerivationImageSequence[0]).SourceImageSequence[0]
        place = (result if frame is None else frame.PlanePositionSequence[0]).ImagePositionPatient
        number = np.atleast_1d(source.get("ReferencedFrameNumber") or 1)[0]
        key = str(source.ReferencedSOPInstanceUID), int(number)
        _must(key in positions, "a frame refers to a slice that is not of the source")
        yield float(np.linalg.norm(np.array(place, dtype=float) - positions[key]))
