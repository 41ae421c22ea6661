"""Geometry, identity and references that all derived DICOM objects share.

Slices with gaps between them: every object states the thickness of a slice, and that their distance is another.
All objects_save_objects of a case are written or none, and no message tells whose they are.
"""

from __future__ import annotations

import os
import re
import traceback
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from derived_cases import DERIVATION, GRID, image_case, measured
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from validate import assert_valid_dicom
from written_case import ACQUIRED, MODEL, SIMULATED, make_case, raw_source, without_pixels, write

import infomri_monai
from hospital.mr_series import example_datasets
from hospital.raw_scan import ExampleGeometry, write_example_fastmri, write_example_ismrmrd
from infomri_monai.deploy.case import CaseSource, DeployError
from infomri_monai.deploy.cases import find_cases
from infomri_monai.deploy.dicom.geometry import decimal, dicom_frames, slice_geometry
from infomri_monai.deploy.dicom.identity import copied, series_attributes
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.deploy.dicom.references import slice_references
from infomri_monai.deploy.dicom.save import IMPLEMENTATION_CLASS_UID, save_objects
from infomri_monai.deploy.dicom.segmentation import binary_segmentation, fractional_segmentation
from infomri_monai.deploy.logs import guarded

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rotated(angles=(0, 0, 0), spacing=(1, 1, 1), origin=(0, 0, 0)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


def as_written(geometry):
    """Geometry after its decimal strings."""
    texts = {
        name: [float(str(decimal(value))) for value in np.ravel(getattr(geometry, name))]
        for name in ("orientation", "positions", "pixel_spacing")
    }
    assert all(len(str(decimal(value))) <= 16 for name in texts for value in np.ravel(getattr(geometry, name)))
    return texts


@settings(deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 20)] * 3),
    origin=st.tuples(*[st.floats(-5e3, 5e3)] * 3),
    mirrored=st.booleans(),
)
def test_written_geometry_is_the_affine(angles, spacing, origin, mirrored):
    """highdicom maps every corner of the written grid to where the affine puts it, to 1e-9 mm; mirrored ones count backwards."""
    affine = rotated(angles, (*spacing[:2], -spacing[2] if mirrored else spacing[2]), origin)
    geometry = slice_geometry(affine, slices=7)
    assert geometry.order == ((6, 5, 4, 3, 2, 1, 0) if mirrored else tuple(range(7)))
    assert geometry.slice_spacing == pytest.approx(spacing[2])
    written = as_written(geometry)
    for index in (0, 6):
        to_patient = highdicom.spatial.ImageToReferenceTransformer(
            written["positions"][3 * index : 3 * index + 3], written["orientation"], written["pixel_spacing"]
        )
        corners = np.array([[0, 0], [400, 0], [0, 300], [400, 300]])
        expected = (LPS @ affine @ np.c_[corners, np.full(4, index), np.ones(4)].T).T[:, :3]
        assert np.abs(to_patient(corners + 0.5) - expected).max() < 1e-9 * 400 * max(1, *spacing)


def test_a_tilted_stack_keeps_every_position():
    affine = np.array([[1, 0, 0.5, 3], [0, 2, 0, 4], [0, 0, 3, 5], [0, 0, 0, 1.0]])
    geometry = slice_geometry(affine, 3)
    assert geometry.slice_spacing == pytest.approx(3)
    assert geometry.positions.tolist() == [[-3, -4, 5], [-3.5, -4, 8], [-4, -4, 11]]


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.array([[1, 0.01, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "sheared"),
        (np.diag([1, 1, 0, 1]), "different directions"),
        (np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]), "different directions"),
        (np.diag([1, 1, np.nan, 1]), "finite"),
        (np.eye(3), "4 x 4"),
        (np.diag([1, 1, 1, 2]), "last row"),
    ],
)
def test_refused_affines(affine, message):
    refuses(ValueError, rf"affine.*{message}", slice_geometry, affine, 2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 4, 5)), "shape"),
        (np.zeros((3, 0, 2)), "shape"),
        (np.zeros(3), "shape"),
        (np.zeros((2, 2), complex), "magnitude"),
        (np.array([[1, np.nan], [np.inf, 0]]), "2 NaN or infinite of 4"),
    ],
)
def test_refused_images(image, message):
    refuses(ValueError, message, dicom_frames, image)


def test_patient_and_study_are_the_sources_and_the_equipment_ours(tmp_path):
    source = make_case(tmp_path).source
    series = series_attributes(source, SIMULATED, 901, "MR")
    first = source.instances[0]
    names = (
        "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID StudyDate StudyTime AccessionNumber"
    )
    for keyword in f"{names} ReferringPhysicianName FrameOfReferenceUID PatientPosition BodyPartExamined".split():
        assert series[keyword].value == first[keyword].value
    assert series.SeriesInstanceUID != first.SeriesInstanceUID
    assert (series.SeriesNumber, series.SeriesDescription) == (
        30_901,
        "InfoMRI reconstruction 8x SIMULATED of 3 Example classic MR",
    )
    assert (series.Manufacturer, series.ManufacturerModelName) == ("infomri_monai", MODEL.name)
    assert list(series.SoftwareVersions) == [
        f"infomri_monai {infomri_monai.__version__}",
        f"{MODEL.name} {MODEL.version}",
    ]
    assert series.DeviceSerialNumber == MODEL.checksum
    scanner = series.ContributingEquipmentSequence[0]
    assert (scanner.Manufacturer, scanner.PurposeOfReferenceCodeSequence[0].CodeValue) == ("InfoMRI", "109101")
    assert series.SeriesInstanceUID != series_attributes(source, SIMULATED, 901, "MR").SeriesInstanceUID


@pytest.mark.parametrize("numbers", [(None, None), (500_000, 500_001), (2**31 - 1, -3), (7, 8)])
def test_numbers_of_several_series_of_one_study_differ(numbers):
    """Also where the source has none, or one that leaves no room for ours."""
    found = set()
    for place, number in enumerate(numbers):
        (header,) = example_datasets(slices=1)
        header.SeriesNumber, header.SeriesInstanceUID = number, f"1.2.3.{place}"
        header.SeriesDescription = ["FLAIR", "fat sat"]
        for own in (9102, 9103):
            series = series_attributes(CaseSource((), header), SIMULATED, own, "MR")
            found.add(int(series.SeriesNumber))
            assert series.SeriesNumber % 10_000 == own
            assert series.SeriesDescription.endswith(f"{number if (number or 0) > 0 else 'of'} FLAIR fat sat")
    assert len(found) == 4
    assert 9102 < min(found) <= max(found) < 2**31


ODD = {
    "PatientName": "MÜLLER^JÖRG",
    "PatientID": "x" * 70,
    "PatientBirthDate": "1950.01",
    "PatientSex": "U",
    "StudyDate": "yesterday",
    "PatientAge": "old",
    "AccessionNumber": "a" * 20,
}


def test_identifiers_stay_letter_by_letter_and_other_invalid_values_go(tmp_path, caplog):
    """A name in Latin 1 is stored as UTF-8; an ID that is too long stays, as a PACS finds the patient by it."""
    header = without_pixels(example_datasets(slices=1, grid=(32, 24))[0])
    for keyword, value in ODD.items():
        tag = pydicom.tag.Tag(keyword)
        representation = pydicom.datadict.dictionary_VR(tag)
        header[tag] = pydicom.DataElement(tag, representation, value, validation_mode=pydicom.config.IGNORE)
    header.save_as(tmp_path / "odd.dcm", enforce_file_format=True)
    caplog.clear()
    source = CaseSource((), pydicom.dcmread(tmp_path / "odd.dcm"))
    series = mr_series(np.ones((4, 5)), np.eye(4), source, ACQUIRED, 1)
    source = replace(source, instances=tuple(series))
    made = parametric_map(np.ones((4, 5)), np.eye(4), source, ACQUIRED, "sigma", 2)
    save_objects({"mr.dcm": series[0], "sigma.dcm": made}, tmp_path / "case")
    assert caplog.text == ""  # pydicom quotes odd values
    for path in (tmp_path / "case").iterdir():
        with guarded("reading back"):
            read = pydicom.dcmread(path)
            found = {keyword: str(read[keyword].value) for keyword in ODD if keyword in read}
        assert found.pop("PatientSex") == found.pop("StudyDate") == ""
        assert found == {keyword: ODD[keyword] for keyword in found}
        assert set(found) == {"PatientName", "PatientID", "PatientBirthDate", "AccessionNumber"}
        assert "MÜLLER".encode() in path.read_bytes()


@pytest.mark.parametrize(
    ("part", "side", "written"), [("BRAIN", "L", None), ("KNEE", "L", "L"), ("KNEE", "", ""), ("", "", "")]
)
def test_the_side_of_a_paired_body_part(tmp_path, part, side, written):
    """Anything else the validator holds for an error."""
    source = raw_source()
    source.attributes.BodyPartExamined, source.attributes.Laterality = part, side
    dataset = mr_series(np.ones((4, 5)), np.eye(4), source, ACQUIRED, 1)[0]
    assert dataset.get("Laterality") == written
    assert_valid_dicom(write([dataset], tmp_path)[0])
    assert not {"Laterality", "PatientPosition"} & set(series_attributes(raw_source(), ACQUIRED, 1, "SR").dir())


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_source_without_study_or_frame_of_reference_is_refused(missing):
    source = raw_source()
    del source.attributes[missing]
    refuses(ValueError, missing, series_attributes, source, SIMULATED, 1, "MR")


@pytest.mark.parametrize(
    ("derivation", "number", "message"),
    [
        (SIMULATED, 0, "series_number must be at least 1, got 0"),
        (SIMULATED._replace(title="x" * 60), 1, "derivation.title must have 1 to 64"),
        (ACQUIRED._replace(title=""), 1, "derivation.title"),
        (SIMULATED._replace(text="x" * 1000), 1, "derivation.text must have 1 to 1024"),
        (ACQUIRED._replace(text="a\\b"), 1, "backslash"),
        (ACQUIRED._replace(model=MODEL._replace(name="x" * 65)), 1, "derivation.model"),
        (ACQUIRED._replace(model=MODEL._replace(checksum="")), 1, "derivation.model"),
    ],
)
def test_what_dicom_does_not_take(derivation, number, message):
    refuses(ValueError, re.escape(message), mr_series, np.ones((4, 5)), np.eye(4), raw_source(), derivation, number)


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_instances_of_another_grid_or_order_are_refused(tmp_path, kind):
    image, affine, source = make_case(tmp_path, kind)
    geometry = slice_geometry(affine, image.shape[2])
    backwards = replace(source, instances=source.instances[::-1], frames=source.frames[::-1])
    refuses(ValueError, r"slice 1 lies .* order", slice_references, backwards, geometry, (36, 44))
    refuses(ValueError, "rows and columns", slice_references, source, geometry, (44, 36))
    refuses(ValueError, "5 slices", slice_references, source, slice_geometry(affine, 5), (36, 44))


def test_a_copied_element_shares_nothing_that_changes():
    source = pydicom.Dataset()
    source.PatientID, source.ImageType, source.SliceThickness = "7", ["ORIGINAL", "PRIMARY"], "2.5"
    source.ReferencedImageSequence = [pydicom.Dataset()]
    made = pydicom.Dataset({element.tag: copied(element) for element in source})
    assert made == source
    made.PatientID, made.SliceThickness = "8", "3"
    made.ImageType.append("OTHER")
    made.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2"
    assert (source.PatientID, list(source.ImageType), source.SliceThickness) == ("7", ["ORIGINAL", "PRIMARY"], 2.5)
    assert len(source.ReferencedImageSequence[0]) == 0


def objects(shape, affine, source, derivation):
    """One of each kind that is made of slices, as the applications make them: the others refer to the series of raw k-space."""
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    series = mr_series(values, affine, source, derivation, 901)
    source = source if source.instances else replace(source, instances=tuple(series))
    place = affine, source, derivation
    yield from series
    yield parametric_map(values, *place, "sigma", 902)
    yield binary_segmentation((values > 0.5).astype(np.uint8), ["csf"], *place, 903)
    yield fractional_segmentation(values[None], ["csf"], *place, 904)


def raw_slices(folder, slices, geometry):
    """Slices as a scanner's file describes them, or fastMRI's, which has no geometry."""
    image = np.random.default_rng(1).random((slices, *GRID))
    if geometry is None:
        write_example_fastmri(folder / "scan.h5", image)
    else:
        write_example_ismrmrd(folder / "scan.h5", image, geometry=geometry)
    case = find_cases(folder)[0][0](1)
    return case.data.shape[1:], case.affine, case.source, measured()


def series_slices(kind):
    case = image_case(kind, 3)
    return case.shape, case.affine, case.source, DERIVATION


WITH_GAPS = ExampleGeometry(thickness=3.0, spacing=5.0)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda folder: raw_slices(folder, 3, WITH_GAPS), (3.0, 5.0)),
        (lambda folder: raw_slices(folder, 1, WITH_GAPS), (3.0, 3.0)),  # no neighbour: its thickness is its distance
        (lambda folder: raw_slices(folder, 3, None), (4.0, 4.0)),  # they touch
        (lambda folder: series_slices("classic"), (7.2, 8.0)),  # the example's thickness is 90 % of the distance
        (lambda folder: series_slices("enhanced"), (7.2, 8.0)),
    ],
)
def test_every_object_states_thickness_and_distance_of_slices(tmp_path, make, wanted):
    for number, dataset in enumerate(objects(*make(tmp_path))):
        dataset.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        assert_valid_dicom(tmp_path / f"{number}.dcm")
        read = pydicom.dcmread(tmp_path / f"{number}.dcm")
        shared = read.get("SharedFunctionalGroupsSequence")
        item = shared[0].PixelMeasuresSequence[0] if shared else read
        assert (item.SliceThickness, item.SpacingBetweenSlices) == pytest.approx(wanted, abs=1e-4)


@pytest.fixture
def patients():
    """Three slices of an invented patient."""
    image = np.random.default_rng(0).random((6, 5, 3))
    series = mr_series(image, np.eye(4), raw_source(), ACQUIRED, 901)
    return {f"slice_{k:04d}.dcm": dataset for k, dataset in enumerate(series, 1)}


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_written_files_hold_what_was_given(tmp_path):
    image, affine, source = make_case(tmp_path)
    series = mr_series(image, affine, source, SIMULATED, 901)
    sigma = parametric_map(image, affine, source, SIMULATED, "sigma", 902)
    given = {f"mr/{k}.dcm": dataset for k, dataset in enumerate(series)} | {"sigma.dcm": sigma}
    folder = tmp_path / "out" / "of" / "run" / "case_0001"
    save_objects(given, folder)
    assert files(tmp_path / "out" / "of" / "run") == sorted(
        ["case_0001", "case_0001/mr", *(f"case_0001/{name}" for name in given)]
    )
    for name, dataset in given.items():
        assert_valid_dicom(folder / name)
        read = pydicom.dcmread(folder / name)
        assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID


@pytest.mark.parametrize("foreign", ["case_0001", "case_0001/slice_0003.dcm"])
def test_what_is_there_is_not_replaced(tmp_path, patients, foreign):
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text("mine")
    before = files(tmp_path)
    message = r"writing the DICOM files failed: (Not a directory|Directory not empty)"
    refuses(DeployError, message, save_objects, patients, tmp_path / "case_0001")
    assert files(tmp_path) == before
    assert (tmp_path / foreign).read_text() == "mine"


def not_writable(objects, monkeypatch):
    objects["slice_0002.dcm"]["PixelData"]._value = "DOE^JANE is no pixel"


def read_back_otherwise(objects, monkeypatch):
    read = pydicom.dcmread

    def damaged(path):
        dataset = read(path)
        dataset.PixelData = dataset.PixelData[:-2] + b"\x01\x02"
        return dataset

    monkeypatch.setattr(pydicom, "dcmread", damaged)


def failing_at_the_end(error):
    def fail(start, end):
        raise error

    return lambda objects, monkeypatch: monkeypatch.setattr(os, "replace", fail)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (not_writable, DeployError, "writing the DICOM files failed"),
        (read_back_otherwise, DeployError, r"case_0001/slice_0001.dcm was not read back as it was written"),
        (failing_at_the_end(OSError(28, "No space left")), DeployError, "writing the DICOM files failed"),
        (failing_at_the_end(KeyboardInterrupt()), KeyboardInterrupt, None),
    ],
)
def test_a_failure_leaves_nothing_and_quotes_no_header(tmp_path, patients, monkeypatch, damage, error, message):
    damage(patients, monkeypatch)
    with pytest.raises(error, match=message) as caught:
        save_objects(patients, tmp_path / "case_0001")
    assert files(tmp_path) == []
    said = "".join(traceback.format_exception(caught.value))
    for dataset in patients.values():
        for secret in (dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID, dataset.SOPInstanceUID):
            assert str(secret) not in said
