"""fastMRI knees: small files in the published format, the split lists, lazy reading, and what must not leak.

fastMRI+ labels: the real annotation files, the paper's volume counts, and images in fastMRI's HDF5 layout.
"""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helper import refuses
from monai.data import DataLoader, Dataset

from infomri_monai.acquisition import image_to_kspace
from infomri_monai.data import (
    FASTMRI_PLUS_VOLUMES,
    ReadFastMRISliced,
    fastmri_knee,
    fastmri_plus_knee,
    fastmri_plus_volumes,
    read_split,
)
from infomri_monai.data.fastmri_plus import Annotations, read_annotations, read_file_list, slice_labels

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


def test_what_an_entry_holds_is_not_overwritten(folder):
    entry = fastmri_knee(folder)[0]
    read = ReadFastMRISliced("kspace", crop=None, image_key="x")
    refuses(ValueError, "'x' already.*image_key", read, {**entry, "x": 1})
    refuses(ValueError, "target_key", read, {**entry, "reconstruction_esc": 1})
    refuses(ValueError, "keys must be one key", ReadFastMRISliced, ("kspace", "other"))


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
    """A set of the challenge, without a target."""
    with h5py.File(tmp_path / "file1.h5", "w") as file:
        file["kspace"] = np.zeros((1, 20, 20), np.complex64)
    (entry,) = fastmri_knee(tmp_path, require=["kspace"])
    entry = ReadFastMRISliced("kspace", crop=(8, 8), target_key=None)(entry)
    assert not entry["image"].any()
    assert entry["scale"] == 1


def test_the_patient_leaves_no_trace(folder, caplog, capsys):
    read = ReadFastMRISliced("kspace", crop=(32, 32))
    entries = [read(entry) for entry in fastmri_knee(folder)]
    assert set(entries[0]) == {"kspace", "slice", "volume", "image", "reconstruction_esc", "scale"}
    assert PATIENT not in repr(entries) + caplog.text + "".join(capsys.readouterr())


@pytest.mark.parametrize("key", ["kspace", "reconstruction_esc"])
def test_a_missing_array_names_file_and_key_before_any_work(folder, key):
    path = folder / "file1000007.h5"
    with h5py.File(path, "a") as file:
        del file[key]
    with pytest.raises(ValueError, match=rf"file1000007\.h5 lacks the array {key}") as error:
        fastmri_knee(folder)
    assert PATIENT not in str(error.value)
    read = ReadFastMRISliced("kspace", crop=(8, 8))
    refuses(ValueError, rf"file1000007\.h5 lacks the array {key}", read, {"kspace": path, "slice": 0})


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", None])
def test_truncated_files_are_named(folder, content):
    path, named = folder / "file1000007.h5", r"file1000007\.h5 is truncated or not an HDF5 file"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    refuses(ValueError, named, fastmri_knee, folder)
    refuses(ValueError, named, ReadFastMRISliced("kspace"), {"kspace": path, "slice": 0})


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


def test_bad_choices_and_reads(folder, tmp_path_factory):
    empty, names = tmp_path_factory.mktemp("empty"), ["file1000000.h5", "file2.h5"]
    refuses(FileNotFoundError, r"no \.h5", fastmri_knee, empty)
    refuses(FileNotFoundError, "no folder", fastmri_knee, empty / "absent")
    refuses(FileNotFoundError, r"lacks 1 of 2 files: file2\.h5", fastmri_knee, folder, names=names)
    refuses(ValueError, "not both", fastmri_knee, folder, names=["file1000000.h5"], split_file="split.txt")
    refuses(ValueError, "AXFLAIR", fastmri_knee, folder, acquisition="AXFLAIR")
    refuses(FileNotFoundError, "split_file", fastmri_knee, folder, split_file=folder / "absent.txt")
    (folder / "twice.txt").write_text("file1.h5\nfile1.h5\n")
    refuses(ValueError, "twice", read_split, folder / "twice.txt")
    path, read = folder / "file1000000.h5", ReadFastMRISliced("kspace", crop=(8, 8))
    with h5py.File(path, "a") as file:
        file["kspace"][1, 3, 3], file["kspace"][2, 3, 3] = np.nan, np.inf
    assert read({"kspace": path, "slice": 0})["image"].isfinite().all()
    for number in (1, 2):
        named = rf"file1000000\.h5: slice {number} of 'kspace' holds NaN or Inf"
        refuses(ValueError, named, read, {"kspace": path, "slice": number})
    refuses(ValueError, "slice 3 does not exist", read, {"kspace": path, "slice": 3})
    refuses(ValueError, "crop", ReadFastMRISliced, "kspace", crop=(0, 128))
    refuses(ValueError, r"crop=\(128, 128\) exceeds", ReadFastMRISliced("kspace"), {"kspace": path, "slice": 0})
    refuses(FileNotFoundError, "absent", read, {"kspace": folder / "absent.h5", "slice": 0})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
@pytest.mark.shared_data
def test_the_shared_split_lists_are_disjoint():
    lists = {split: read_split(SHARED / f"knee_{split}.txt") for split in ("train", "val", "test")}
    assert {split: len(volumes) for split, volumes in lists.items()} == {"train": 779, "val": 199, "test": 194}
    assert len(set().union(*lists.values())) == 779 + 199 + 194


SHARED_FASTMRI_PLUS = Path(__file__).parents[3] / "shared" / "data"
REAL = (SHARED_FASTMRI_PLUS / "fastmri_plus" / "knee.csv", SHARED_FASTMRI_PLUS / "fastmri_plus" / "knee_file_list.csv")
needs_shared = pytest.mark.skipif(not SHARED_FASTMRI_PLUS.is_dir(), reason="the shared data are not here")
HEADER = "file,slice,study_level,x,y,width,height,label\n"


def volume(number):
    return f"file{1000000 + number}"


@pytest.fixture
def study(tmp_path):
    """Six volumes of four slices, five of them looked through; one with an artifact only."""
    for number in range(6):
        sequence = "CORPDFS_FBK" if number % 2 else "CORPD_FBK"
        write_volume(tmp_path / f"{volume(number)}.h5", 4, (40, 36), sequence, number)
    rows = [
        f"{volume(0)},1,No,1,2,3,4,Meniscus Tear",
        f"{volume(0)},1,No,5,6,7,8,Meniscus Tear",
        f"{volume(0)},2,No,1,2,3,4,Ligament - ACL Low Grade sprain",
        f"{volume(0)},2,No,1,2,3,4,Joint Effusion ",
        f"{volume(1)},0,No,1,2,3,4,Ligament - ACL High Grade Sprain",
        f"{volume(1)},3,No,1,2,3,4,Ligament - PCL High Grade",
        f"{volume(1)},0,Yes,,,,,artifact",
        f"{volume(2)},0,Yes,,,,,artifact",
        f"{volume(5)},0,No,1,2,3,4,Meniscus Tear",
    ]
    (tmp_path / "knee.csv").write_text(HEADER + "\n".join(rows) + "\n")
    (tmp_path / "list.csv").write_text("\n".join([*(volume(n) for n in range(5)), "Knee data"]) + "\n")
    return tmp_path


def labels(entries, number):
    return [e["label"].tolist() for e in entries if e["volume"] == volume(number)]


def test_labels_of_every_slice(study):
    names = [f"{volume(n)}.h5" for n in (0, 1, 3)]
    entries = fastmri_plus_knee(study, "train", study / "knee.csv", study / "list.csv", names=names)
    assert [(e["volume"], e["slice"]) for e in entries] == [(volume(n), i) for n in (0, 1, 3) for i in range(4)]
    assert labels(entries, 0) == [[0, 0, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]]
    assert labels(entries, 1) == [[1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert labels(entries, 3) == [[0, 0, 0]] * 4  # looked through, no annotation: negative
    assert entries[0]["label"].dtype == np.float32
    assert [e["attribute"] for e in entries[::4]] == [0, 1, 1]
    assert [e["subject"] for e in entries[::4]] == [1000000, 1000001, 1000003]
    other = fastmri_plus_knee(study, "train", study / "knee.csv", study / "list.csv", names=names, abnormal="other")
    assert labels(other, 0) == [[0, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert labels(other, 1) == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_images_are_read_with_their_labels_and_no_patient(study):
    (study / "split.txt").write_text(f"{volume(0)}.h5\n{volume(1)}.h5\n")
    options = {"split_file": study / "split.txt", "subset": 2}
    entries = fastmri_plus_knee(str(study), "test", study / "knee.csv", study / "list.csv", **options)
    loaded = Dataset(entries, ReadFastMRISliced("kspace", crop=(32, 32), target_key=None))
    batch = next(iter(DataLoader(loaded, batch_size=4)))
    assert (batch["image"].shape, batch["image"].dtype) == ((4, 1, 32, 32), torch.complex64)
    assert batch["label"].tolist() == [[0, 0, 0], [1, 0, 1], [1, 0, 1], [0, 0, 0]]
    assert batch["attribute"].tolist() == [0, 0, 1, 1]
    assert PATIENT not in str(entries) + str(batch)


def test_files_are_found_in_several_folders(study):
    second = study / "singlecoil_val"
    second.mkdir()
    (study / f"{volume(1)}.h5").rename(second / f"{volume(1)}.h5")
    tables, names = (study / "knee.csv", study / "list.csv"), [volume(0), volume(1)]
    entries = fastmri_plus_knee([study, second], "train", *tables, names=names)
    assert {Path(e["kspace"]).parent.name for e in entries} == {study.name, "singlecoil_val"}
    named = rf"lacks 1 of 2 files: {volume(1)}\.h5"
    refuses(FileNotFoundError, named, fastmri_plus_knee, [study], "train", *tables, names=names)


def test_labels_that_do_not_fit_the_volumes(study):
    """A volume may be in the labels' file, but a list without it does not say that its other slices are negative."""
    arguments = (study, "train", study / "knee.csv", study / "list.csv")
    missing = rf"labels missing for volume {volume(5)} \(1 of 2\)"
    refuses(ValueError, missing, fastmri_plus_knee, *arguments, names=[f"{volume(n)}.h5" for n in (0, 5)])
    write_volume(study / f"{volume(1)}.h5", slices=2)
    beyond = f"{volume(1)} has 2 slices, but labels_csv annotates its slice 3"
    refuses(ValueError, beyond, fastmri_plus_knee, *arguments, names=[volume(1)])
    refuses(ValueError, "seed", fastmri_plus_knee, *arguments, split_seed=-1)
    refuses(ValueError, "names or split_file", fastmri_plus_knee, *arguments, names=["a"], split_file="b")
    refuses(FileNotFoundError, "folder", fastmri_plus_knee, "absent", *arguments[1:])
    (study / "list.csv").write_text("Knee data\n\nfile\n")
    refuses(ValueError, "names no volume", read_file_list, study / "list.csv")


def test_a_finding_of_the_whole_study_holds_for_every_slice_and_an_artifact_is_none():
    whole = Annotations({1: {"meniscus tear", "artifact"}}, {"joint effusion"})
    assert slice_labels(whole, 3).tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 1]]
    assert slice_labels(Annotations({0: {"artifact"}}, {"artifact"}), 2).tolist() == [[0, 0, 0]] * 2


def test_the_rule_leaves_volumes_with_an_artifact_only_out(study):
    splits = fastmri_plus_volumes(study / "knee.csv", study / "list.csv")
    assert sorted(v for part in splits.values() for v in part) == [volume(n) for n in (0, 1, 3, 4)]


@pytest.mark.parametrize(
    ("content", "named"),
    [("file,slice,label\n", "lacks the column study_level"), ("", "lacks the column file")]
    + [(HEADER + "file1,1,No,,,,,Meniscus Tear\nfile1,-1,No,,,,,Meniscus Tear\n", "line 3")]
    + [(HEADER + row, "line 2") for row in ("file1,x,No,,,,,Meniscus Tear\n", "file1,1,Maybe,,,,,Meniscus Tear\n")]
    + [(HEADER + row, "line 2") for row in (",1,No,,,,,Meniscus Tear\n", "file1,1,No,,,,,\n", "file1,1\n")],
)
def test_damaged_annotations_are_named(tmp_path, content, named):
    (tmp_path / "knee.csv").write_text(content)
    refuses(ValueError, named, read_annotations, tmp_path / "knee.csv")


@needs_shared
@pytest.mark.shared_data
def test_the_real_files_give_the_papers_numbers():
    splits = fastmri_plus_volumes(*REAL)
    assert {name: len(volumes) for name, volumes in splits.items()} == FASTMRI_PLUS_VOLUMES
    everything = [v for volumes in splits.values() for v in volumes]
    assert len(set(everything)) == len(everything) == 1167
    assert set(everything) <= set(read_file_list(REAL[1]))
    assert splits == fastmri_plus_volumes(*REAL)
    assert splits != fastmri_plus_volumes(*REAL, split_seed=1)
    lists = [f.read_text().split() for f in (SHARED_FASTMRI_PLUS / "fastmri_knee_splits").glob("*.txt")]
    published = {name.removesuffix(".h5") for names in lists for name in names}
    assert set(everything) < published  # every volume is one of fastMRI's training and validation volumes


@needs_shared
@pytest.mark.shared_data
def test_the_real_labels_against_a_naive_count():
    annotations, listed = read_annotations(REAL[0]), read_file_list(REAL[1])
    assert len(listed) == 1172
    assert set(annotations) <= set(listed)
    with REAL[0].open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["study_level"] == "No"]
    tears = {(r["file"], r["slice"]) for r in rows if r["label"] == "Meniscus Tear"}
    sprains = {(r["file"], r["slice"]) for r in rows if "ACL" in r["label"]}
    found = {(r["file"], r["slice"]) for r in rows}
    total = np.sum([slice_labels(annotations.get(v), 46).sum(0) for v in listed], axis=0)
    assert total.tolist() == [len(sprains), len(tears), len(found)]
    for volumes in fastmri_plus_volumes(*REAL).values():
        share = np.mean([slice_labels(annotations.get(v), 46).max(0) for v in volumes], axis=0)
        assert 0.15 < share[0] < 0.3  # ACL sprain, share of volumes
        assert 0.45 < share[1] < 0.65
        assert 0.75 < share[2] < 0.9
