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
import torch
from derived_cases import DERIVATION, GRID, image_case, measured
from helper import refuses
from hypothesis import given
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
from infomri_monai.deploy.dicom.references import slice_references, source_image_item
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


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (1, 5, 4, 3)])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_frames_are_slices_of_rows_and_columns(shape, kind):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    frames = dicom_frames(kind(values))
    expected = values if values.ndim < 4 else values[0]
    assert frames.shape == (expected.shape[2] if expected.ndim == 3 else 1, 4, 5)
    for k, frame in enumerate(frames):
        assert np.array_equal(frame, (expected[..., k] if expected.ndim == 3 else expected).T)


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
    assert series.SeriesNumber == 901
    assert (series.Manufacturer, series.ManufacturerModelName) == ("infomri_monai", MODEL.name)
    assert list(series.SoftwareVersions) == [
        f"infomri_monai {infomri_monai.__version__}",
        f"{MODEL.name} {MODEL.version}",
    ]
    assert series.DeviceSerialNumber == MODEL.checksum
    scanner = series.ContributingEquipmentSequence[0]
    assert (scanner.Manufacturer, scanner.PurposeOfReferenceCodeSequence[0].CodeValue) == ("InfoMRI", "109101")
    assert series.SeriesInstanceUID != series_attributes(source, SIMULATED, 901, "MR").SeriesInstanceUID


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


def test_series_number_is_positive():
    refuses(ValueError, "series_number must be at least 1, got 0", series_attributes, raw_source(), SIMULATED, 0, "MR")


def test_a_simulation_says_so_and_an_acquisition_does_not():
    assert SIMULATED.series_description == "InfoMRI reconstruction 8x SIMULATED"
    assert SIMULATED._replace(title="Simulated 8x").series_description == "Simulated 8x"
    assert ACQUIRED.series_description == "InfoMRI reconstruction 8x"
    assert SIMULATED.description.startswith("SIMULATED from magnitude images, not acquired. ")
    assert ACQUIRED.description == ACQUIRED.text


@pytest.mark.parametrize(
    ("derivation", "message"),
    [
        (SIMULATED._replace(title="x" * 60), "derivation.title must have 1 to 64"),
        (ACQUIRED._replace(title=""), "derivation.title"),
        (SIMULATED._replace(text="x" * 1000), "derivation.text must have 1 to 1024"),
        (ACQUIRED._replace(text="a\\b"), "backslash"),
        (ACQUIRED._replace(model=MODEL._replace(name="x" * 65)), "derivation.model"),
        (ACQUIRED._replace(model=MODEL._replace(checksum="")), "derivation.model"),
    ],
)
def test_texts_that_dicom_does_not_take(derivation, message):
    refuses(ValueError, re.escape(message), mr_series, np.ones((4, 5)), np.eye(4), raw_source(), derivation, 1)


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_references_name_the_slice(tmp_path, kind):
    image, affine, source = make_case(tmp_path, kind)
    references = slice_references(source, slice_geometry(affine, image.shape[2]), (36, 44))
    for k, reference in enumerate(references):
        item = source_image_item(reference)
        instance = source.instances[k if kind == "classic" else 0]
        assert item.ReferencedSOPInstanceUID == instance.SOPInstanceUID
        assert item.get("ReferencedFrameNumber") == (None if kind == "classic" else k + 1)
        assert reference.thickness == pytest.approx(7.2)


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


pytest.importorskip("ismrmrd")
pytest.importorskip("highdicom")


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


@pytest.fixture
def objects_save_objects():
    """Three slices of an invented patient."""
    image = np.random.default_rng(0).random((6, 5, 3))
    series = mr_series(image, np.eye(4), raw_source(), ACQUIRED, 901)
    return {f"slice_{k:04d}.dcm": dataset for k, dataset in enumerate(series, 1)}


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def assert_anonymous(error, objects_save_objects):
    """Neither the message nor the trace of the error quotes a header."""
    said = "".join(traceback.format_exception(error))
    for dataset in objects_save_objects.values():
        for secret in (dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID, dataset.SOPInstanceUID):
            assert str(secret) not in said


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
def test_what_is_there_is_not_replaced(tmp_path, objects_save_objects, foreign):
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text("mine")
    before = files(tmp_path)
    with pytest.raises(DeployError, match=r"writing the DICOM files failed: (Not a directory|Directory not empty)"):
        save_objects(objects_save_objects, tmp_path / "case_0001")
    assert files(tmp_path) == before
    assert (tmp_path / foreign).read_text() == "mine"


def test_an_object_that_cannot_be_written_leaves_nothing(tmp_path, objects_save_objects):
    objects_save_objects["slice_0002.dcm"]["PixelData"]._value = "DOE^JANE is no pixel"
    with pytest.raises(DeployError, match="writing the DICOM files failed") as caught:
        save_objects(objects_save_objects, tmp_path / "case_0001")
    assert files(tmp_path) == []
    assert_anonymous(caught.value, objects_save_objects)


def test_an_object_that_reads_back_otherwise_leaves_nothing(tmp_path, objects_save_objects, monkeypatch):
    read = pydicom.dcmread

    def damaged(path):
        dataset = read(path)
        dataset.PixelData = dataset.PixelData[:-2] + b"\x01\x02"
        return dataset

    monkeypatch.setattr(pydicom, "dcmread", damaged)
    with pytest.raises(DeployError, match=r"case_0001/slice_0001.dcm was not read back as it was written") as caught:
        save_objects(objects_save_objects, tmp_path / "case_0001")
    assert files(tmp_path) == []
    assert_anonymous(caught.value, objects_save_objects)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failure_at_the_very_end_leaves_nothing(tmp_path, objects_save_objects, monkeypatch, error):
    def fail(start, end):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DeployError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        save_objects(objects_save_objects, tmp_path / "case_0001")
    assert files(tmp_path) == []
    assert_anonymous(caught.value, objects_save_objects)
