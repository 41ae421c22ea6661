"""All objects of a case are written or none, and no message tells whose they are."""

import copy
import os
import traceback

import numpy as np
import pydicom
import pytest
from validate import assert_valid_dicom
from written_case import ACQUIRED, SIMULATED, make_case, raw_source

import infomri_monai.deploy.dicom.save as save_module
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.mr_series import mr_series
from infomri_monai.deploy.dicom.parametric_map import parametric_map
from infomri_monai.deploy.dicom.save import IMPLEMENTATION_CLASS_UID, save_objects


@pytest.fixture
def objects():
    """Three slices of an invented patient."""
    image = np.random.default_rng(0).random((6, 5, 3))
    series = mr_series(image, np.eye(4), raw_source(), ACQUIRED, 901)
    return {f"case_0001/slice_{k:04d}.dcm": dataset for k, dataset in enumerate(series, 1)}


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
    sigma = parametric_map(image, affine, source, source.instances, SIMULATED, "sigma", 902)
    given = {f"case_0001/mr/{k}.dcm": dataset for k, dataset in enumerate(series)} | {"case_0001/sigma.dcm": sigma}
    paths = save_objects(given, tmp_path / "out" / "of" / "run")
    assert [path.relative_to(tmp_path / "out" / "of" / "run").as_posix() for path in paths] == list(given)
    for path, dataset in zip(paths, given.values(), strict=True):
        assert_valid_dicom(path)
        read = pydicom.dcmread(path)
        assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert not [name for name in files(tmp_path / "out") if name.split("/")[-1].startswith(".")]


def test_an_earlier_run_is_replaced_and_other_files_stay(tmp_path, objects):
    save_objects(objects, tmp_path)
    (tmp_path / "case_0001" / "notes.txt").write_text("mine")
    newer = copy.deepcopy(objects)
    for dataset in newer.values():
        dataset.SeriesDescription = "newer"
    for path in save_objects(newer, tmp_path):
        assert pydicom.dcmread(path).SeriesDescription == "newer"
    assert files(tmp_path) == sorted(["case_0001", "case_0001/notes.txt", *objects])


@pytest.mark.parametrize("content", [b"", b"something else"])
def test_a_file_of_somebody_else_is_not_replaced(tmp_path, objects, content):
    foreign = tmp_path / "case_0001" / "slice_0003.dcm"
    foreign.parent.mkdir()
    foreign.write_bytes(content)
    with pytest.raises(DeployError, match=r"case_0001/slice_0003.dcm exists.*not written by this software"):
        save_objects(objects, tmp_path)
    assert files(tmp_path) == ["case_0001", "case_0001/slice_0003.dcm"]
    assert foreign.read_bytes() == content


def test_the_source_is_not_replaced(tmp_path, objects):
    original = mr_series(np.ones((3, 3)), np.eye(4), raw_source(), ACQUIRED, 1)[0]
    original.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    before = (tmp_path / "image.dcm").read_bytes()
    with pytest.raises(DeployError, match="not written by this software"):
        save_objects({"image.dcm": objects["case_0001/slice_0001.dcm"]}, tmp_path)
    assert (tmp_path / "image.dcm").read_bytes() == before


def test_an_object_that_cannot_be_written_leaves_nothing(tmp_path, objects):
    objects["case_0001/slice_0002.dcm"]["PixelData"]._value = "DOE^JANE is no pixel"
    with pytest.raises(DeployError, match="writing the DICOM files failed") as caught:
        save_objects(objects, tmp_path / "out" / "deeper")
    assert files(tmp_path) == []
    assert_anonymous(caught.value, objects)


def test_an_object_that_reads_back_otherwise_leaves_nothing(tmp_path, objects, monkeypatch):
    def damaged(path):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = dataset.PixelData[:-2] + b"\x01\x02"
        return dataset

    monkeypatch.setattr(save_module, "pydicom", FakePydicom(dcmread=damaged))
    with pytest.raises(DeployError, match=r"case_0001/slice_0001.dcm was not read back as it was written") as caught:
        save_objects(objects, tmp_path)
    assert files(tmp_path) == []
    assert_anonymous(caught.value, objects)


class FakePydicom:
    """pydicom with some of its functions replaced."""

    def __init__(self, **replaced):
        self.__dict__.update(replaced)

    def __getattr__(self, name):
        return getattr(pydicom, name)


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failure_while_moving_puts_everything_back(tmp_path, objects, monkeypatch, earlier, failing, error):
    if earlier:
        save_objects(objects, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path) if (tmp_path / name).is_file()}
    newer = copy.deepcopy(objects)
    for dataset in newer.values():
        dataset.SeriesDescription = "newer"
    replace, done = os.replace, []

    def fail(start, end):
        if str(end).endswith(".dcm") and not str(start).split("/")[-1].startswith("earlier_"):
            done.append(end)
            if len(done) == failing + 1:
                raise error
        replace(start, end)

    monkeypatch.setattr(save_module.os, "replace", fail)
    with pytest.raises(DeployError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        save_objects(newer, tmp_path)
    monkeypatch.undo()
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path) if (tmp_path / name).is_file()} == before
    assert files(tmp_path) == (["case_0001", *sorted(objects)] if earlier else [])
    assert_anonymous(caught.value, objects)


def test_a_file_where_a_folder_must_be(tmp_path, objects):
    (tmp_path / "case_0001").write_text("")
    with pytest.raises(DeployError, match="writing the DICOM files failed"):
        save_objects(objects, tmp_path)
    assert files(tmp_path) == ["case_0001"]


@pytest.mark.parametrize(
    "name", ["/a.dcm", "../a.dcm", "a/../../b.dcm", "a\\b.dcm", "a.nii", "", "case_0001/./slice_0001.dcm"]
)
def test_refused_names(tmp_path, objects, name):
    with pytest.raises(ValueError, match="objects"):
        save_objects({**objects, name: objects["case_0001/slice_0001.dcm"]}, tmp_path)
    assert files(tmp_path) == []


def test_nothing_to_write(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        save_objects({}, tmp_path)
