"""DICOM objects as others read them: geometry by the standard's formula and by highdicom, numbers of structured reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from validate import assert_valid_dicom

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Grid(NamedTuple):
    """Where voxels lie: affine from their index, (column, row, slice) for DICOM, to RAS in mm; and their numbers."""

    affine: NDArray[np.float64]
    shape: tuple[int, ...]


def datasets(folder: Path) -> list[Dataset]:
    """The DICOM files of a folder, in the order of their names."""
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def frame_places(instances: Sequence[Dataset]) -> list[tuple[Any, Any, Any]]:
    """Position, orientation and pixel spacing of every slice, classic or multi-frame."""
    if "PerFrameFunctionalGroupsSequence" not in instances[0]:
        return [(d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing) for d in instances]
    shared = instances[0].SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    frames = instances[0].PerFrameFunctionalGroupsSequence
    return [(frame.PlanePositionSequence[0].ImagePositionPatient, orientation, spacing) for frame in frames]


def grid_affine(instances: Sequence[Dataset]) -> NDArray[np.float64]:
    """Affine of slices in their order (PS3.3, C.7.6.2.1.1), to RAS; a single one is 8 mm thick."""
    places = frame_places(instances)
    first, orientation, spacing = (np.array(value, dtype=float) for value in places[0])
    last, affine = np.array(places[-1][0], dtype=float), np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[:3] * spacing[1], orientation[3:] * spacing[0]
    normal = np.cross(orientation[:3], orientation[3:])
    affine[:3, 2] = (last - first) / (len(places) - 1) if len(places) > 1 else normal * 8
    affine[:3, 3] = first
    affine[:2] *= -1
    return affine


def grid_of(instances: Sequence[Dataset]) -> Grid:
    """Of a series in the order of its slices."""
    shape = (int(instances[0].Columns), int(instances[0].Rows), len(frame_places(instances)))
    return Grid(grid_affine(instances), shape)


def volume(path: Path) -> Any:
    """A ``highdicom.Volume``: of a folder's series, a segmentation (segments on the last axis) or another image."""
    if path.is_dir():
        return highdicom.get_volume_from_series(datasets(path))
    if pydicom.dcmread(path, stop_before_pixels=True).Modality == "SEG":
        return highdicom.seg.segread(path).get_volume(dtype=np.float32)
    return highdicom.imread(path).get_volume(dtype=np.float32)


def on_grid(found: Any, grid: Grid) -> tuple[NDArray[Any], float]:
    """The volume's values at the voxels of a grid, and how far from these its voxels lie at most, mm.

    Any order and direction of axes will do; each voxel of the volume must be one of the grid.
    """
    points = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    wanted = points @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    affine = LPS_TO_RAS @ found.affine
    index = np.rint((wanted - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    assert (index >= 0).all()
    assert (index < found.spatial_shape).all()
    assert np.prod(found.spatial_shape) == np.prod(grid.shape)
    distance = np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - wanted, axis=-1).max()
    return found.array[tuple(np.moveaxis(index, -1, 0))], float(distance)


def six(value: float) -> float:
    """A number to six significant digits, as the reports tell it."""
    return float(f"{value:.6g}")


def numbers(group: Any) -> dict[tuple[str, str | None], tuple[float, str]]:
    """{(name, derivation): (number, unit)} of a measurement group."""
    rows = group.get_measurements()
    return {(m.name.meaning, m.derivation and m.derivation.meaning): (m.value, m.unit.value) for m in rows}


def evaluations(group: Any) -> dict[str, Any]:
    """{question: answer} of a measurement group."""
    return {evaluation.name.meaning: evaluation.value for evaluation in group.get_qualitative_evaluations()}


def evidence(report: Dataset) -> set[tuple[str, str]]:
    """(SOP class, instance) of all that a report refers to."""
    return {
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence", [])
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def own(objects: Iterable[Dataset]) -> set[tuple[str, str]]:
    """The same of objects themselves."""
    return {(item.SOPClassUID, item.SOPInstanceUID) for item in objects}


def read_report(report, path):
    """The report as highdicom reads it from its file, after the validator."""
    report.save_as(path, enforce_file_format=True)
    assert_valid_dicom(path)
    found = highdicom.sr.srread(path)
    assert "PixelData" not in found
    assert not any(element.tag.group == 0x7FE0 for element in found.iterall())
    return found
