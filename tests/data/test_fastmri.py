"""fastMRI knees: small files in the published format, the split lists, lazy reading, and what must not leak."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helper import refuses

from infomri_monai.acquisition import image_to_kspace
from infomri_monai.data import ReadFastMRISliced, fastmri_knee, read_split

SHARED = Path(__file__).parents[3] / "shared" / "data" / "fastmri_knee_splits"
PATIENT = "d7e1f0-secret-patient"


def write_volume(path, slices=2, shape=(40, 36), acquisition="CORPD_FBK", seed=0):
    """Write one volume as fastMRI publishes it: values of the order of 1e-6, a target cropped from the image."""
    draw = np.random.default_rng(seed)
    image = (draw.normal(size=(slices, *shape)) + 1j * draw.normal(size=(slices, *shape))) * 1e-6
    kspace = image_to_kspace(torch.from_numpy(image)).numpy().astype(np.complex64)
    target = np.abs(image)[:, :32, :32].astype(np.float32)
    with h5py.File(path, "w") as file:
        file["kspace"], file["reconstruction_esc"], file["reconstruction_rss"] = kspace, target, target
        file["ismrmrd_header"] = f"<ismrmrdHeader><patientID>{PATIENT}</patientID></ismrmrdHeader>"
        file.attrs.update(acquisition=acquisition, max=target.max(), norm=np.linalg.norm(target), patient_id=PATIENT)
    return kspace, target


@pytest.fixture
def folder(tmp_path):
    write_volume(tmp_path / "file1000000.h5", slices=3)
    write_volume(tmp_path / "file1000007.h5", slices=2, shape=(40, 38), acquisition="CORPDFS_FBK")
    (tmp_path / "notes.txt").write_text("not a volume")
    return tmp_path


def names(entries):
    return [(entry["volume"], entry["slice"]) for entry in entries]


def test_all_slices_of_a_folder(folder):
    entries = fastmri_knee(folder)
    assert names(entries) == [("file1000000", i) for i in range(3)] + [("file1000007", i) for i in range(2)]
    assert entries[0]["kspace"] == str(folder / "file1000000.h5")


def test_choice_by_names_split_file_acquisition_and_width(folder):
    (folder / "split.txt").write_text("file1000007.h5\n\n")
    second = [("file1000007", 0), ("file1000007", 1)]
    assert names(fastmri_knee(folder, names=["file1000007.h5"])) == second
    assert names(fastmri_knee(folder, split_file=folder / "split.txt")) == second
    assert names(fastmri_knee(folder, acquisition="CORPDFS_FBK")) == second
    assert names(fastmri_knee(folder, columns=38)) == second


def test_one_slice_against_an_explicit_transform(tmp_path):
    kspace, target = write_volume(tmp_path / "file1.h5")
    entry = ReadFastMRISliced("kspace", crop=(16, 13))({"kspace": str(tmp_path / "file1.h5"), "slice": 1})
    cut = kspace[1, 20 - 8 : 20 + 8, 18 - 6 : 18 + 7]
    axes = [np.arange(n) - n // 2 for n in cut.shape]
    row, column = (np.exp(2j * np.pi * np.outer(a, a) / len(a)) for a in axes)
    image = row @ cut @ column.T / np.sqrt(kspace[1].size)  # the full grid's factor: intensities are kept
    scale = np.abs(image).max()
    assert entry["scale"] == pytest.approx(scale, rel=1e-5)
    assert entry["kspace"].dtype == entry["image"].dtype == torch.complex64
    assert np.allclose(entry["image"][0], image / scale, atol=1e-5)
    assert np.allclose(entry["kspace"][0], cut * np.sqrt(cut.size / kspace[1].size) / scale, rtol=1e-4)
    assert entry["reconstruction_esc"].dtype == torch.float32
    assert np.allclose(entry["reconstruction_esc"][0], target[1] / scale, rtol=1e-5)


def test_native_units_and_grid(tmp_path):
    kspace, target = write_volume(tmp_path / "file1.h5")
    read = ReadFastMRISliced("kspace", crop=None, normalise=False)
    entry = read({"kspace": tmp_path / "file1.h5", "slice": 0})
    assert np.array_equal(entry["kspace"][0], kspace[0])
    assert np.array_equal(entry["reconstruction_esc"][0], target[0])
    assert entry["scale"] == 1


def test_an_all_zero_slice_is_zero(tmp_path):
    with h5py.File(tmp_path / "file1.h5", "w") as file:
        file["kspace"] = np.zeros((1, 20, 20), np.complex64)
    entry = ReadFastMRISliced("kspace", crop=(8, 8), target_key=None)({"kspace": tmp_path / "file1.h5", "slice": 0})
    assert not entry["image"].any()
    assert entry["scale"] == 1


def test_the_patient_leaves_no_trace(folder, caplog, capsys):
    read = ReadFastMRISliced("kspace", crop=(32, 32))
    entries = [read(entry) for entry in fastmri_knee(folder)]
    assert set(entries[0]) == {"kspace", "slice", "volume", "image", "reconstruction_esc", "scale"}
    assert PATIENT not in repr(entries) + caplog.text + "".join(capsys.readouterr())


@pytest.mark.parametrize("key", ["kspace", "reconstruction_esc"])
def test_a_missing_array_names_file_and_key_before_any_work(folder, key):
    with h5py.File(folder / "file1000007.h5", "a") as file:
        del file[key]
    with pytest.raises(ValueError, match=rf"file1000007\.h5 lacks the array {key}") as error:
        fastmri_knee(folder)
    assert PATIENT not in str(error.value)
    with pytest.raises(ValueError, match=rf"file1000007\.h5 lacks the array {key}"):
        ReadFastMRISliced("kspace", crop=(8, 8))({"kspace": folder / "file1000007.h5", "slice": 0})


def test_the_challenge_set_has_no_target(folder):
    with h5py.File(folder / "file1000000.h5", "a") as file:
        del file["reconstruction_esc"]
    assert len(fastmri_knee(folder, require=["kspace"])) == 5


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", None])
def test_truncated_files_are_named(folder, content):
    path = folder / "file1000007.h5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    refuses(ValueError, r"file1000007\.h5 is truncated or not an HDF5 file", fastmri_knee, folder)
    with pytest.raises(ValueError, match=r"file1000007\.h5 is truncated or not an HDF5 file"):
        ReadFastMRISliced("kspace")({"kspace": path, "slice": 0})


@pytest.mark.parametrize(
    ("kspace", "named"),
    [
        (np.zeros((2, 3, 8, 8), np.complex64), "single coil"),
        (np.zeros((2, 8, 8), np.float32), "complex"),
        (np.zeros((5, 8, 8), np.complex64), "'reconstruction_esc' must have 5 slices"),
    ],
)
def test_arrays_of_a_wrong_kind(folder, kspace, named):
    with h5py.File(folder / "file1000000.h5", "a") as file:
        del file["kspace"]
        file["kspace"] = kspace
    refuses(ValueError, named, fastmri_knee, folder)


def test_bad_choices(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    refuses(FileNotFoundError, r"no \.h5", fastmri_knee, empty)
    refuses(FileNotFoundError, "no folder", fastmri_knee, empty / "absent")
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 2 files: file2\.h5"):
        fastmri_knee(folder, names=["file1000000.h5", "file2.h5"])
    refuses(ValueError, "not both", fastmri_knee, folder, names=["file1000000.h5"], split_file="split.txt")
    refuses(ValueError, "AXFLAIR", fastmri_knee, folder, acquisition="AXFLAIR")
    refuses(FileNotFoundError, "split_file", fastmri_knee, folder, split_file=folder / "absent.txt")
    (folder / "twice.txt").write_text("file1.h5\nfile1.h5\n")
    refuses(ValueError, "twice", read_split, folder / "twice.txt")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_kspace_names_the_slice(folder, value):
    with h5py.File(folder / "file1000000.h5", "a") as file:
        file["kspace"][1, 3, 3] = value
    read = ReadFastMRISliced("kspace", crop=(8, 8))
    assert read({"kspace": folder / "file1000000.h5", "slice": 0})["image"].isfinite().all()
    with pytest.raises(ValueError, match=r"file1000000\.h5: slice 1 of 'kspace' holds NaN or Inf"):
        read({"kspace": folder / "file1000000.h5", "slice": 1})


def test_bad_reads(folder):
    path = folder / "file1000000.h5"
    refuses(ValueError, "crop", ReadFastMRISliced, "kspace", crop=(0, 128))
    refuses(ValueError, r"crop=\(128, 128\) exceeds", ReadFastMRISliced("kspace"), {"kspace": path, "slice": 0})
    with pytest.raises(ValueError, match="slice 3 does not exist"):
        ReadFastMRISliced("kspace", crop=(8, 8))({"kspace": path, "slice": 3})
    refuses(FileNotFoundError, "absent", ReadFastMRISliced("kspace"), {"kspace": folder / "absent.h5", "slice": 0})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
@pytest.mark.shared_data
def test_the_shared_split_lists_are_disjoint():
    lists = {split: read_split(SHARED / f"knee_{split}.txt") for split in ("train", "val", "test")}
    assert {split: len(volumes) for split, volumes in lists.items()} == {"train": 779, "val": 199, "test": 194}
    assert len(set().union(*lists.values())) == 779 + 199 + 194
