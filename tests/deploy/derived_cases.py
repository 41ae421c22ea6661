"""Cases whose segmentations and reports are written by the tests."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from hospital.mr_series import example_datasets
from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.derivation import Derivation, ModelIdentity
from infomri_monai.deploy.dicom.identity import new_uid
from infomri_monai.deploy.dicom.mr_series import mr_series

if TYPE_CHECKING:
    from collections.abc import Sequence

#: columns, rows: not square
GRID = (28, 20)
MODEL = ModelIdentity("infomri_segmentation", "0.1.0", "ab" * 32)
DERIVATION = Derivation("InfoMRI segmentation 8x", "k-space was sampled at 12.5 % of its positions.", True, MODEL)
MEASURED = "k-space was measured by the scanner at 12.5 % of its positions (8x undersampled)."


class Case(NamedTuple):
    """A source, its instances in the order of the slices, and their geometry.

    Attributes:
        affine: index to RAS, from the headers alone.
        frame_positions: ImagePositionPatient of every slice.
    """

    source: CaseSource
    instances: Sequence[Dataset]
    affine: NDArray[np.float64]
    frame_positions: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: tuple[float, float]
    frame_of_reference: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*GRID, len(self.frame_positions))


@cache
def _datasets(kind: str, slices: int) -> list[Dataset]:
    return example_datasets(kind, slices=slices, grid=GRID)


def image_case(kind: str, slices: int = 4) -> Case:
    """A case of an oblique MR series."""
    datasets = _datasets(kind, slices)
    first = datasets[0]
    if kind == "enhanced":
        shared = first.SharedFunctionalGroupsSequence[0]
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        spacing = shared.PixelMeasuresSequence[0].PixelSpacing
        positions = [f.PlanePositionSequence[0].ImagePositionPatient for f in first.PerFrameFunctionalGroupsSequence]
        source = CaseSource((first,), first, tuple(range(1, slices + 1)))
    else:
        orientation, spacing = first.ImageOrientationPatient, first.PixelSpacing
        positions = [dataset.ImagePositionPatient for dataset in datasets]
        source = CaseSource(tuple(datasets), first)
    return _case(source, datasets, positions, orientation, spacing)


def raw_case(slices: int = 3) -> Case:
    """A case of raw k-space, without any DICOM source, and the MR series of its reconstruction."""
    attributes = Dataset()
    attributes.update({"StudyInstanceUID": new_uid(), "FrameOfReferenceUID": new_uid(), "PatientID": "RAW-SECRET"})
    source = CaseSource((), attributes)
    image = np.random.default_rng(0).random((*GRID, slices)).astype(np.float32)
    series = mr_series(image, np.diag([1.5, 2.0, 4.0, 1.0]), source, measured(), 901)
    positions = [dataset.ImagePositionPatient for dataset in series]
    source = replace(source, instances=tuple(series))
    return _case(source, series, positions, series[0].ImageOrientationPatient, series[0].PixelSpacing)


def measured() -> Derivation:
    """Of k-space that a scanner measured."""
    return DERIVATION._replace(simulated=False, text=MEASURED)


def _case(source: CaseSource, instances: Sequence[Dataset], *numbers: object) -> Case:
    """Affine by the standard's formula (PS3.3 C.7.6.2.1.1), from LPS to RAS."""
    positions, orientation, spacing = (np.array(value, dtype=float) for value in numbers)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[:3] * spacing[1], orientation[3:] * spacing[0]
    normal = np.cross(orientation[:3], orientation[3:])
    affine[:3, 2] = positions[1] - positions[0] if len(positions) > 1 else normal * 8
    affine[:3, 3] = positions[0]
    affine[:2] *= -1
    frame = source.attributes.FrameOfReferenceUID
    return Case(source, instances, affine, positions, orientation, tuple(spacing), frame)
