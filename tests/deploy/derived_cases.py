"""Cases whose segmentations and reports are written by the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from reading_objects import frame_places, grid_affine

from hospital.mr_series import example_datasets
from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.derivation import Derivation, ModelIdentity
from infomri_monai.deploy.dicom.identity import new_uid
from infomri_monai.deploy.dicom.mr_series import mr_series

#: columns, rows: not square
GRID = (28, 20)
MODEL = ModelIdentity("infomri_segmentation", "0.1.0", "ab" * 32)
DERIVATION = Derivation("InfoMRI segmentation 8x", "k-space was sampled at 12.5 % of its positions.", True, MODEL)
MEASURED = "k-space was measured by the scanner at 12.5 % of its positions (8x undersampled)."


class Case(NamedTuple):
    """A source, its instances in the order of the slices, the affine from their headers alone, and the shape."""

    source: CaseSource
    instances: Sequence[Dataset]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]


@cache
def _datasets(kind: str, slices: int) -> list[Dataset]:
    return example_datasets(kind, slices=slices, grid=GRID)


def image_case(kind: str, slices: int = 4) -> Case:
    """A case of an oblique MR series."""
    datasets = _datasets(kind, slices)
    frames = tuple(range(1, slices + 1)) if kind == "enhanced" else ()
    return _case(CaseSource(tuple(datasets), datasets[0], frames), datasets)


def raw_case(slices: int = 3) -> Case:
    """A case of raw k-space, without any DICOM source, and the MR series of its reconstruction."""
    attributes = Dataset()
    attributes.update({"StudyInstanceUID": new_uid(), "FrameOfReferenceUID": new_uid(), "PatientID": "RAW-SECRET"})
    source = CaseSource((), attributes)
    image = np.random.default_rng(0).random((*GRID, slices)).astype(np.float32)
    series = mr_series(image, np.diag([1.5, 2.0, 4.0, 1.0]), source, measured(), 901)
    return _case(replace(source, instances=tuple(series)), series)


def measured() -> Derivation:
    """Of k-space that a scanner measured."""
    return DERIVATION._replace(simulated=False, text=MEASURED)


def _case(source: CaseSource, instances: Sequence[Dataset]) -> Case:
    affine = grid_affine(instances)
    return Case(source, instances, affine, (*GRID, len(frame_places(instances))))
