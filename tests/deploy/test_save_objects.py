"""All objects of a case are written or none, and no message tells whose they are."""

import os
import traceback

import numpy as np
import pydicom
import pytest
from validate import assert_valid_dicom
from written_case import ACQUIRED, SIMULATED, make_case, raw_source

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.deploy.dicom.save import IMPLEMENTATION_CLASS_UID, save_objects


@pytest.fixture
def objects():
    """Three slices of an invented patient."""
    image = np.random.default_rng(0).random((6, 5, 3))
    series = mr_series(image, np.eye(4), raw_source(), ACQUIRED, 901)
    return {f"slice_{k:04d}.dcm": dataset for k, dataset in enumerate(series, 1)}


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def assert_anonymous(error, objects):
    """Neither the message nor the trace of the error quotes a header."""
    said = "".join(traceback.format_exception(error))
    for dataset in objects.values():
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
def test_what_is_there_is_not_replaced(tmp_path, objects, foreign):
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text("mine")
    before = files(tmp_path)
    with pytest.raises(DeployError, match=r"writing the DICOM files failed: (Not a directory|Directory not empty)"):
        save_objects(objects, tmp_path / "case_0001")
    assert files(tmp_path) == before
    assert (tmp_path / foreign).read_text() == "mine"


def test_an_object_that_cannot_be_written_leaves_nothing(tmp_path, objects):
    objects["slice_0002.dcm"]["PixelData"]._value = "DOE^JANE is no pixel"
    with pytest.raises(DeployError, match="writing the DICOM files failed") as caught:
        save_objects(objects, tmp_path / "case_0001")
    assert files(tmp_path) == []
    assert_anonymous(caught.value, objects)


def test_an_object_that_reads_back_otherwise_leaves_nothing(tmp_path, objects, monkeypatch):
    read = pydicom.dcmread

    def damaged(path):
        dataset = read(path)
        dataset.PixelData = dataset.PixelData[:-2] + b"\x01\x02"
        return dataset

    monkeypatch.setattr(pydicom, "dcmread", damaged)
    with pytest.raises(DeployError, match=r"case_0001/slice_0001.dcm was not read back as it was written") as caught:
        save_objects(objects, tmp_path / "case_0001")
    assert files(tmp_path) == []
    assert_anonymous(caught.value, objects)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failure_at_the_very_end_leaves_nothing(tmp_path, objects, monkeypatch, error):
    def fail(start, end):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DeployError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        save_objects(objects, tmp_path / "case_0001")
    assert files(tmp_path) == []
    assert_anonymous(caught.value, objects)
