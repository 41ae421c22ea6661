"""Parametric maps: every value, geometry, references and meaning, read back by highdicom and pydicom."""

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from helper import refuses
from reading_objects import grid_affine
from validate import assert_valid_dicom
from written_case import ACQUIRED, SIMULATED, make_case, raw_source, write

from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import QUANTITIES, parametric_map

KINDS = ("classic", "enhanced")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sigma(shape, seed=0):
    """Positive numbers over many magnitudes."""
    return np.exp(8 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def assert_holds(path, values, affine, expected_sources):
    """Every slice is there once, at its place, exactly, and refers to its source."""
    dataset = pydicom.dcmread(path)
    pixels = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(-1, dataset.Rows, dataset.Columns)
    frames = dataset.PerFrameFunctionalGroupsSequence
    positions = np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], float)
    sources = [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in frames]
    assert len(pixels) == values.shape[2]
    expected = (LPS @ affine @ np.array([[0, 0, k, 1] for k in range(values.shape[2])]).T).T[:, :3]
    for k, position in enumerate(expected):
        distance = np.linalg.norm(positions - position, axis=1)
        frame = int(distance.argmin())
        assert distance[frame] < 1e-4
        assert np.array_equal(pixels[frame].T, values[..., k])
        named = (sources[frame].ReferencedSOPInstanceUID, sources[frame].get("ReferencedFrameNumber"))
        assert named == expected_sources[k]
    np.testing.assert_allclose(grid_affine([dataset])[:3, :2], affine[:3, :2], rtol=0, atol=1e-6)
    return dataset


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slices", [4, 1])
@pytest.mark.parametrize("quantity", sorted(QUANTITIES))
def test_values_places_and_references(tmp_path, kind, slices, quantity):
    image, affine, source = make_case(tmp_path, kind, slices)
    made = parametric_map(sigma(image.shape), affine, source, SIMULATED, quantity, 902)
    path = write([made], tmp_path / "map")[0]
    assert_valid_dicom(path)
    uids = [instance.SOPInstanceUID for instance in source.instances]
    expected = [(uid, None) for uid in uids] if kind == "classic" else [(uids[0], k + 1) for k in range(slices)]
    dataset = assert_holds(path, sigma(image.shape), affine, expected)
    first = source.instances[0]
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == first[keyword].value
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == first.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence} == set(uids)
    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    code = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == QUANTITIES[quantity].code[:2]
    assert made.ContentDescription == f"SIMULATED: {QUANTITIES[quantity].explanation}"
    assert "SIMULATED of " in made.SeriesDescription
    assert list(made.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    for frame in made.PerFrameFunctionalGroupsSequence:
        assert frame.DerivationImageSequence[0].DerivationDescription == SIMULATED.description


def test_highdicom_reads_the_volume(tmp_path):
    """As a volume, whose affine maps (slice, row, column), slices backwards, to LPS."""
    image, affine, source = make_case(tmp_path)
    made = parametric_map(sigma(image.shape), affine, source, SIMULATED, "sigma", 902)
    volume = highdicom.imread(write([made], tmp_path / "map")[0]).get_volume()
    assert np.array_equal(volume.array, sigma(image.shape).T[::-1])
    to_ours = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, image.shape[2] - 1], [0, 0, 0, 1.0]])
    assert np.abs(volume.affine - LPS @ affine @ to_ours).max() < 1e-4
    assert made.DimensionOrganizationType == "3D"


@pytest.mark.parametrize("flip", [1, -1])
def test_of_raw_kspace_it_refers_to_the_reconstruction(tmp_path, flip):
    source, affine = raw_source(), np.diag([1, 2, 3.0 * flip, 1])
    values = sigma((12, 10, 3))
    reconstruction = mr_series(np.sqrt(values), affine, source, ACQUIRED, 901)
    made = parametric_map(
        values[None], affine, replace(source, instances=tuple(reconstruction)), ACQUIRED, "sigma", 902
    )
    path = write([made], tmp_path)[0]
    assert_valid_dicom(path)
    dataset = assert_holds(path, values, affine, [(instance.SOPInstanceUID, None) for instance in reconstruction])
    assert dataset.FrameOfReferenceUID == reconstruction[0].FrameOfReferenceUID
    assert "SIMULATED" not in dataset.SeriesDescription + dataset.ContentDescription


def test_some_frames_of_a_multi_frame_source(tmp_path):
    """Frames 4 and 3 of five, backwards, as a volume of its own."""
    image, affine, source = make_case(tmp_path, "enhanced", 5)
    mirror = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1.0]])
    part = CaseSource(source.instances, source.attributes, (4, 3))
    values = sigma((*image.shape[:2], 2))
    made = parametric_map(values, affine @ mirror, part, SIMULATED, "entropy", 903)
    path = write([made], tmp_path / "map")[0]
    uid = source.instances[0].SOPInstanceUID
    assert_holds(path, values, affine @ mirror, [(uid, 4), (uid, 3)])


def test_orientation_stated_per_frame(tmp_path):
    """As converted series have it; highdicom alone refuses them."""

    def per_frame(dataset):
        orientation = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            frame.PlaneOrientationSequence = orientation

    image, affine, source = make_case(tmp_path, "enhanced", 2, per_frame)
    made = parametric_map(sigma(image.shape), affine, source, SIMULATED, "sigma", 902)
    assert made.NumberOfFrames == 2


def test_a_constant_map(tmp_path):
    source = raw_source()
    source = replace(source, instances=tuple(mr_series(np.ones((4, 5)), np.eye(4), source, ACQUIRED, 1)))
    made = parametric_map(np.zeros((4, 5)), np.eye(4), source, ACQUIRED, "sigma", 2)
    assert_valid_dicom(write([made], tmp_path)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "variance"}, "quantity must be one of"),
        ({"image": np.full((44, 36, 4), 1e300)}, "finite"),
        ({"image": np.zeros((44, 36, 3))}, "3 slices"),
        ({"source": raw_source()}, "0 instances"),
    ],
)
def test_bad_input(tmp_path, change, message):
    given = {**make_case(tmp_path)._asdict(), "quantity": "sigma", **change}
    arguments = (given["image"], given["affine"], given["source"], SIMULATED, given["quantity"], 902)
    refuses(ValueError, message, parametric_map, *arguments)
