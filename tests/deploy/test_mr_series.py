"""Derived MR series: quantisation, geometry, references, marks, and what a validator and other readers make of them."""

import numpy as np
import pydicom
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from validate import assert_valid_dicom
from written_case import ACQUIRED, SIMULATED, make_case, raw_source, read_volume, write

from infomri_monai.deploy.dicom.geometry import quantise
from infomri_monai.deploy.dicom.mr_series import mr_series

KINDS = ("classic", "enhanced")


def values(image, seed=0):
    """Real numbers of both signs with the image's anatomy."""
    return 1e-3 * image + 0.05 * np.random.default_rng(seed).standard_normal(image.shape) - 0.4


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32)), st.floats(-8, 8))
def test_quantisation_is_off_by_half_a_step_at_most(image, scale):
    image = (image.astype(np.float64) * 10**scale).astype(np.float32).astype(np.float64)
    stored, slope, intercept = quantise(image)
    error = np.abs(stored * slope + intercept - image).max()
    assert error <= np.ptp(image) / 65535 / 2 * (1 + 1e-6) + 1e-9 * np.abs(image).max()


@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(-30000, 30000)), st.integers(-(2**40), 2**40))
def test_integers_are_exact(image, offset):
    stored, slope, intercept = quantise(image + offset)
    assert slope == 1
    assert np.array_equal(stored + intercept, image + offset)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slices", [4, 1])
@pytest.mark.parametrize("integers", [True, False])
def test_monai_reads_back_image_and_affine(tmp_path, kind, slices, integers):
    """Oblique, pixels not square; ITK, which MONAI reads with, and pydicom agree."""
    image, affine, source = make_case(tmp_path, kind, slices)
    image = image if integers else values(image)
    series = mr_series(image, affine, source, SIMULATED, 901)
    paths = write(series, tmp_path / "derived")
    read, read_affine = read_volume(paths)
    bound = 0 if integers else np.ptp(image) / 65535 / 2 * (1 + 1e-6) + 1e-6
    assert read.shape == image.shape
    assert np.abs(read - image).max() <= bound
    assert np.abs(read_affine - affine).max() < 1e-6
    for k, path in enumerate(paths):
        assert_valid_dicom(path)
        dataset = pydicom.dcmread(path)
        real = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        assert np.abs(real.T - image[..., k]).max() <= bound


@pytest.mark.parametrize("kind", KINDS)
def test_attributes(tmp_path, kind):
    image, affine, source = make_case(tmp_path, kind)
    series = mr_series(image, affine, source, SIMULATED, 901)
    assert [dataset.InstanceNumber for dataset in series] == [1, 2, 3, 4]
    assert len({dataset.SOPInstanceUID for dataset in series}) == 4
    assert len({dataset.SeriesInstanceUID for dataset in series}) == 1
    for k, dataset in enumerate(series):
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "OTHER", "SIMULATED"]
        assert dataset.SeriesDescription.startswith(f"{SIMULATED.series_description} of ")
        assert dataset.DerivationDescription == SIMULATED.description
        item = dataset.SourceImageSequence[0]
        assert item.ReferencedSOPInstanceUID == source.instances[k if kind == "classic" else 0].SOPInstanceUID
        assert item.get("ReferencedFrameNumber") == (None if kind == "classic" else k + 1)
        acquired = (dataset.ScanningSequence, dataset.SequenceVariant, dataset.RepetitionTime, dataset.EchoTime)
        assert acquired == ("GR", "SP", 250, 2.5)
        assert (dataset.FlipAngle, dataset.MagneticFieldStrength, dataset.SliceThickness) == (70, 3, 7.2)
        assert (dataset.AcquisitionDate, dataset.AcquisitionTime) == ("20240305", "102030")
        assert "PercentSampling" not in dataset


def test_raw_kspace_has_no_source_instances(tmp_path):
    series = mr_series(torch.rand(1, 12, 10, 3), np.diag([1, 2, 3, 1.0]), raw_source(), ACQUIRED, 901)
    for path in write(series, tmp_path):
        assert_valid_dicom(path)
    assert "SourceImageSequence" not in series[0]
    assert (series[0].ScanningSequence, series[0].SequenceVariant, series[0].EchoTime) == ("RM", "NONE", None)
    assert list(series[0].ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
    assert "SIMULATED" not in series[0].SeriesDescription + series[0].DerivationDescription


def test_acquisition_attributes_of_raw_data_are_taken_over():
    source = raw_source()
    source.attributes.RepetitionTime, source.attributes.EchoTime, source.attributes.ScanningSequence = 500, 12, "SE"
    dataset = mr_series(np.ones((4, 5)), np.eye(4), source, ACQUIRED, 1)[0]
    assert (dataset.RepetitionTime, dataset.EchoTime, dataset.ScanningSequence) == (500, 12, "SE")


def test_a_left_handed_grid_counts_backwards_and_reads_back_mirrored(tmp_path):
    image = np.random.default_rng(0).integers(0, 99, (12, 10, 3)).astype(float)
    affine = np.array([[-1, 0, 0, 5], [0, -2, 0, 6], [0, 0, -3, 7], [0, 0, 0, 1.0]])
    series = mr_series(image, affine, raw_source(), ACQUIRED, 1)
    assert [dataset.InstanceNumber for dataset in series] == [3, 2, 1]
    read, read_affine = read_volume(write(series, tmp_path))
    assert np.array_equal(read, image[..., ::-1])
    mirror = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 2], [0, 0, 0, 1]])
    assert np.allclose(read_affine, affine @ mirror)


def test_a_lossy_source_stays_marked(tmp_path):
    def lossy(dataset):
        dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", 12.5
        dataset.LossyImageCompressionMethod = "ISO_10918_1"

    image, affine, source = make_case(tmp_path, change=lossy)
    dataset = mr_series(image, affine, source, SIMULATED, 901)[0]
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionRatio) == ("01", 12.5)
