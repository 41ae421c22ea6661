"""Slices with gaps between them: every object states the thickness of a slice, and that their distance is another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

pytest.importorskip("ismrmrd")
pytest.importorskip("highdicom")
from derived_cases import DERIVATION, GRID, image_case, measured
from validate import assert_valid_dicom

from hospital.raw_scan import ExampleGeometry, write_example_fastmri, write_example_ismrmrd
from infomri_monai.deploy.cases import find_cases
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.deploy.dicom.segmentation import binary_segmentation, fractional_segmentation

OBJECTS = ("MR series", "sigma", "segmentation", "probability")


def objects(shape, affine, source, derivation):
    """One of each kind that is made of slices, as the applications make them: the others refer to the series of raw k-space."""
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    series = mr_series(values, affine, source, derivation, 901)
    source = source if source.instances else replace(source, instances=tuple(series))
    place = affine, source, derivation
    return {
        "MR series": series,
        "sigma": [parametric_map(values, *place, "sigma", 902)],
        "segmentation": [binary_segmentation((values > 0.5).astype(np.uint8), ["csf"], *place, 903)],
        "probability": [fractional_segmentation(values[None], ["csf"], *place, 904)],
    }


def measures(made, folder):
    """(SliceThickness, SpacingBetweenSlices) of all slices, in mm to four digits, from valid files."""
    found = set()
    for number, dataset in enumerate(made):
        path = folder / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        assert_valid_dicom(path)
        read = pydicom.dcmread(path)
        shared = read.get("SharedFunctionalGroupsSequence")
        item = shared[0].PixelMeasuresSequence[0] if shared else read
        found.add((round(float(item.SliceThickness), 4), round(float(item.SpacingBetweenSlices), 4)))
    return found


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize(("slices", "spacing"), [(3, 5.0), (1, 3.0)])
def test_of_raw_data_with_a_gap(tmp_path, kind, slices, spacing):
    """Slices of 3 mm, 5 mm apart; a single one has no neighbour, and its thickness counts as its distance."""
    image = np.random.default_rng(1).random((slices, *GRID))
    write_example_ismrmrd(tmp_path / "scan.h5", image, geometry=ExampleGeometry(thickness=3.0, spacing=5.0))
    case = find_cases(tmp_path)[0][0](1)
    made = objects(case.data.shape[1:], case.affine, case.source, measured())[kind]
    assert measures(made, tmp_path) == {(3.0, spacing)}


@pytest.mark.parametrize("kind", OBJECTS)
def test_of_raw_data_without_geometry_slices_touch(tmp_path, kind):
    write_example_fastmri(tmp_path / "scan.h5", np.random.default_rng(1).random((3, *GRID)))
    case = find_cases(tmp_path)[0][0](1)
    made = objects(case.data.shape[1:], case.affine, case.source, measured())[kind]
    assert measures(made, tmp_path) == {(4.0, 4.0)}


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("source", ["classic", "enhanced"])
def test_of_a_dicom_series_with_a_gap(tmp_path, kind, source):
    """The example's slices are 8 mm apart, their thickness is 90 % of it."""
    case = image_case(source, 3)
    made = objects(case.shape, case.affine, case.source, DERIVATION)[kind]
    assert measures(made, tmp_path) == {(7.2, 8.0)}
