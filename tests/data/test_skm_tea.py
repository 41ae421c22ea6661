"""SKM-TEA raw-data track: small HDF5, NIfTI and JSON files in the published layout; lazy reading of one slice."""

import json

import h5py
import nibabel
import numpy as np
import pytest
import torch
from helper import refuses

from infomri_monai.data import SKM_TEA_STRUCTURES, ReadSKMTEASliced, skm_tea

SPLITS = {"train": ["MTR_001", "MTR_030"], "val": ["MTR_013"], "test": ["MTR_005"]}
SHAPE = (16, 12, 5)


def write_scan(folder, name, shape=SHAPE, seed=0):
    """Target and segmentation of a scan; k-space and maps are broken on purpose, because they must not be read."""
    draw = np.random.default_rng(seed)
    target = (draw.normal(size=(*shape, 2, 1)) + 1j * draw.normal(size=(*shape, 2, 1))).astype(np.complex64)
    label = draw.integers(0, 7, shape).astype(np.uint8)
    label[..., 0] = 0
    recon, masks = folder / "files_recon_calib-24", folder / "segmentation_masks" / "raw-data-track"
    for path in (recon, masks):
        path.mkdir(parents=True, exist_ok=True)
    with h5py.File(recon / f"{name}.h5", "w") as file:
        file["target"] = target
        file["kspace"], file["maps"] = np.zeros(1, np.complex64), np.zeros(1, np.complex64)
    nibabel.Nifti1Image(label, np.diag([0.3125, 0.3125, 0.8, 1])).to_filename(masks / f"{name}.nii.gz")
    return target, label


def write_annotations(folder, version="v1.0.0"):
    path = folder / "annotations" / version
    path.mkdir(parents=True, exist_ok=True)
    for split, names in SPLITS.items():
        scans = [{"file_name": f"{name}.h5", "scan_id": name, "subject_id": 2 * int(name[4:])} for name in names]
        scans = [{"id": number, **scan, "matrix_shape": list(SHAPE)} for number, scan in enumerate(scans, 1)]
        content = {"info": {}, "categories": [], "images": scans, "annotations": []}
        (path / f"{split}.json").write_text(json.dumps(content))


def replace_target(folder, target=None):
    """Another target of scan MTR_005, or none."""
    with h5py.File(scan_path(folder, "MTR_005"), "a") as file:
        del file["target"]
        if target is not None:
            file["target"] = target


def write_label(folder, label):
    nibabel.Nifti1Image(label.astype(np.uint8), np.eye(4)).to_filename(label_path(folder, "MTR_005"))


@pytest.fixture
def folder(tmp_path):
    write_annotations(tmp_path)
    for seed, name in enumerate(name for names in SPLITS.values() for name in names):
        write_scan(tmp_path, name, seed=seed)
    return tmp_path


def scan_path(folder, name):
    return folder / "files_recon_calib-24" / f"{name}.h5"


def label_path(folder, name):
    return folder / "segmentation_masks" / "raw-data-track" / f"{name}.nii.gz"


def test_published_splits_slices_and_subjects(folder):
    entries = {split: skm_tea(folder, split) for split in ("train", "validation", "test")}
    names = {"train": SPLITS["train"], "validation": SPLITS["val"], "test": SPLITS["test"]}
    for split, own in entries.items():
        assert [(e["volume"], e["slice"]) for e in own] == [(n, i) for n in names[split] for i in range(5)]
    assert {(e["subject"], e["simulated_raters"]) for e in entries["train"]} == {(2, False), (60, False)}
    assert entries["train"][0]["image"] == str(scan_path(folder, "MTR_001"))


def test_choice_of_scans_axis_and_labelled_slices(folder):
    assert [e["slice"] for e in skm_tea(folder, "train", scans=["MTR_030"], labelled_only=True)] == [1, 2, 3, 4]
    assert len(skm_tea(folder, "test", axis=0)) == 16
    scan_path(folder, "MTR_001").unlink()
    assert len(skm_tea(folder, "train", scans=["MTR_030"])) == 5
    named = r"lacks 1 of 4 files: MTR_001\.h5; choose what there is by scans"
    refuses(FileNotFoundError, named, skm_tea, folder, "train")
    named = r"scans must be of split 'train' \(2 scans\), got MTR_013"
    refuses(ValueError, named, skm_tea, folder, "train", scans=["MTR_013"])
    refuses(ValueError, "scans", skm_tea, folder, "train", scans=[])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("echo", [1, 2])
def test_a_native_slice_is_the_files(folder, axis, echo):
    target, label = write_scan(folder, "MTR_005", seed=7)
    read = ReadSKMTEASliced("image", grid=None, normalise=False)
    for entry in skm_tea(folder, "test", axis=axis, echo=echo)[1:3]:
        done = read(entry)
        index = entry["slice"]
        assert torch.equal(done["image"][0], torch.from_numpy(target[..., echo - 1, 0].take(index, axis)))
        assert torch.equal(done["label"][0], torch.from_numpy(label.take(index, axis)))
        assert done["label"].dtype == torch.uint8
        assert set(done) == {"image", "label", "volume", "subject", "slice", "simulated_raters"}


def test_a_coarse_slice_keeps_the_tissues_in_place(tmp_path):
    """A tissue that fills a corner of a flat image stays in that corner of the k-space crop, bright where it was bright."""
    write_annotations(tmp_path)
    write_scan(tmp_path, "MTR_005", shape=(32, 32, 2))
    bright = np.zeros((32, 32, 2))
    bright[18:28, 4:14] = 1
    replace_target(tmp_path, ((0.2 + bright) * 1j)[..., None, None])
    write_label(tmp_path, 4 * bright)
    entry = skm_tea(tmp_path, "test")[1]
    done = ReadSKMTEASliced("image", grid=(16, 16))(entry)
    assert done["image"].dtype == torch.complex64
    assert done["image"].abs().max() == pytest.approx(1)
    raw = ReadSKMTEASliced("image", grid=(16, 16), normalise=False)(entry)
    assert torch.equal(raw["image"].imag[0] > 0.7, done["label"][0] == 4)
    assert set(done["label"].unique().tolist()) == {0, 4}
    assert np.allclose([float(a.float().mean()) for a in done["label"][0].nonzero().T], [11, 4], atol=0.6)
    assert ReadSKMTEASliced("image", grid=(16, 16), magnitude=True)(entry)["image"].dtype == torch.float32


def test_medial_and_lateral_are_joined_on_demand(folder):
    _, label = write_scan(folder, "MTR_005", seed=3)
    done = ReadSKMTEASliced("image", grid=None, combine=True)(skm_tea(folder, "test")[2])
    joined = np.array([0, 1, 2, 3, 3, 4, 4])[label]
    assert np.array_equal(done["label"][0], joined[..., 2])
    assert list(SKM_TEA_STRUCTURES.values()) == list(range(7))


def test_files_that_do_not_fit_are_named_before_any_work(folder):
    write_label(folder, np.zeros((16, 12, 4)))
    refuses(ValueError, r"MTR_005\.nii\.gz: .* one grid, got \(16, 12, 4\) and \(16, 12, 5\)", skm_tea, folder, "test")
    label_path(folder, "MTR_005").write_bytes(b"no NIfTI")
    refuses(OSError, "MTR_005", skm_tea, folder, "test")
    replace_target(folder, np.zeros((*SHAPE, 1, 1), np.complex64))
    refuses(ValueError, r"MTR_005\.h5 has 1 echoes, echo=2", skm_tea, folder, "test", echo=2)
    replace_target(folder, np.zeros(SHAPE, np.float32))
    refuses(ValueError, r"MTR_005\.h5: 'target' must be complex", skm_tea, folder, "test")
    replace_target(folder)
    refuses(ValueError, r"MTR_005\.h5 lacks the array target", skm_tea, folder, "test")
    scan_path(folder, "MTR_005").write_bytes(b"no HDF5")
    refuses(ValueError, r"MTR_005\.h5 is truncated or not an HDF5 file", skm_tea, folder, "test")


def test_bad_reads_are_named(folder):
    read, entry = ReadSKMTEASliced("image", grid=(8, 8)), skm_tea(folder, "test")[2]
    refuses(ValueError, r"MTR_005\.h5: slice 5 does not exist", read, {**entry, "slice": 5})
    with h5py.File(scan_path(folder, "MTR_005"), "a") as file:
        file["target"][1, 1, 2, 0, 0] = np.nan
    refuses(ValueError, r"MTR_005\.h5: slice 2 of 'target' holds NaN", read, entry)
    entry = {**entry, "slice": 3}
    assert read(entry)["image"].isfinite().all()
    write_label(folder, np.full(SHAPE, 7))
    refuses(ValueError, r"MTR_005\.nii\.gz: label values must be classes 0 to 6 .*got also \[7\]", read, entry)
    label_path(folder, "MTR_005").write_bytes(b"no NIfTI")
    refuses(ValueError, r"MTR_005\.nii\.gz is not a readable NIfTI file", read, entry)
    refuses(ValueError, "grid", ReadSKMTEASliced, "image", grid=(8, 0))


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"images": [{"scan_id": "MTR_005"}]}'])
def test_bad_annotations_are_named(folder, text):
    (folder / "annotations" / "v1.0.0" / "test.json").write_text(text)
    refuses(ValueError, r"test\.json must be a JSON object", skm_tea, folder, "test")
