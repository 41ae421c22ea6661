"""QUBIQ 2021 prostate: small NIfTI files in the published layout, six raters of whom one may be missing."""

import nibabel
import numpy as np
import pytest
from helper import refuses, refuses_each

from infomri_monai.data import qubiq_prostate
from infomri_monai.transforms import MISSING_RATER

TRAINING = "training_data_v3_QC/prostate/Training"
VALIDATION = "validation_data_qubiq2021_QC/prostate/Validation"


def disc(radius, shape=(24, 24)):
    y, x = np.indices(shape)
    return ((y - shape[0] // 2) ** 2 + (x - shape[1] // 2) ** 2 < radius**2).astype(np.uint8)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array[..., None], np.eye(4)).to_filename(path)


def write_case(folder, number, shape=(24, 24), missing=()):
    """One case as published: a slice with a trailing axis of 1, one file a task and rater, radius 3 + rater (+ 1 in task 2)."""
    case = folder / f"case{number:02d}"
    write(case / "image.nii.gz", (50 + 10 * disc(6, shape) + number).astype(np.float32))
    for task in (1, 2):
        for rater in range(1, 7):
            if (task, rater) not in missing:
                write(case / f"task{task:02d}_seg{rater:02d}.nii.gz", disc(2 + rater + task, shape))
    return case


@pytest.fixture
def folder(tmp_path):
    for number in range(1, 11):
        write_case(tmp_path / TRAINING, number, missing=[(1, 4), (2, 4)] if number == 3 else ())
    for number in (49, 50):
        write_case(tmp_path / VALIDATION, number, shape=(30, 24))
    (tmp_path / TRAINING / "notes.txt").write_text("no case")
    return tmp_path


def test_native_grid_keeps_every_pixel_and_rater(folder):
    entries = qubiq_prostate(folder, "train", task=2, grid=(24, 24)) + qubiq_prostate(
        folder, "validation", 2, grid=(24, 24)
    )
    assert sorted(entry["subject"] for entry in entries) == list(range(1, 11))
    for entry in entries:
        assert (entry["image"].shape, entry["image"].dtype) == ((1, 24, 24), np.float32)
        assert entry["image"].max() == 1
        assert entry["label"].dtype == np.int16
        assert (entry["slice"], entry["simulated_raters"]) == (0, False)
        for rater, label in enumerate(entry["label"], 1):
            gone = entry["subject"] == 3 and rater == 4
            assert np.array_equal(label, np.full((24, 24), MISSING_RATER) if gone else disc(4 + rater))


def test_coarse_grid_keeps_field_of_view_position_and_missing_rater(folder):
    """A disc of radius 8 around the centre becomes one of radius 4; a 30 x 24 slice is padded to a square first."""
    entries = [e for split in ("train", "validation") for e in qubiq_prostate(folder, split, grid=(12, 12))]
    missing = {entry["subject"]: entry["label"][3] for entry in entries if (entry["label"][3] == MISSING_RATER).all()}
    assert list(missing) == [3]
    radius = np.hypot(*(np.indices((12, 12)) - 6))
    assert all(entry["label"][4][radius < 3].all() and not entry["label"][4][radius > 5].any() for entry in entries)
    tall = qubiq_prostate(folder, "test", grid=(15, 15))[0]["label"]
    assert np.allclose(tall.sum((1, 2)), [disc(3 + r).sum() / 4 for r in range(1, 7)], rtol=0.25)
    assert np.allclose([axis.mean() for axis in np.nonzero(tall[5])], 7.5, atol=0.6)


def test_splits_are_disjoint_reproducible_and_the_same_for_both_tasks(folder):
    def subjects(split, **options):
        return [entry["subject"] for entry in qubiq_prostate(folder, split, grid=(12, 12), **options)]

    train, validation, test = (subjects(split, validation=0.3) for split in ("train", "validation", "test"))
    assert sorted(train + validation) == list(range(1, 11))
    assert (len(train), len(validation), test) == (7, 3, [49, 50])
    assert subjects("validation", validation=0.3, task=2) == validation
    assert any(subjects("validation", validation=0.3, seed=seed) != validation for seed in (1, 2, 3))
    refuses_each(qubiq_prostate, {"folder": folder, "split": "train"}, validation=[1.0], seed=[-1])


def test_empty_masks_and_complex_images(folder):
    write(folder / VALIDATION / "case49" / "task01_seg02.nii.gz", np.zeros((30, 24), np.uint8))
    entry = qubiq_prostate(folder, "test", grid=(12, 12), magnitude=False)[0]
    assert entry["label"].any((1, 2)).tolist() == [True, False, True, True, True, True]
    assert entry["image"].dtype == np.complex64
    assert np.abs(entry["image"]).max() == pytest.approx(1)


def test_files_that_do_not_fit_are_named(folder):
    case, named = folder / VALIDATION / "case50", "case50/task01_seg02"
    for label, error, reason in (
        (disc(4, (24, 24)), ValueError, r".*one grid, got \(24, 24\) and \(30, 24\)"),
        (255 * disc(4, (30, 24)), ValueError, ".*classes 0 to 1.*255"),
        (np.zeros((30, 24, 3), np.uint8), ValueError, ".* must hold one slice"),
    ):
        write(case / "task01_seg02.nii.gz", label)
        refuses(error, named + reason, qubiq_prostate, folder, "test")
    (case / "task01_seg02.nii.gz").write_bytes(b"no NIfTI")
    refuses(OSError, named, qubiq_prostate, folder, "test")
    write(folder / VALIDATION / "case49" / "image.nii.gz", np.full((30, 24), np.nan, np.float32))
    refuses(ValueError, "case49/image holds NaN", qubiq_prostate, folder, "test")


def test_missing_and_superfluous_files(folder, tmp_path):
    case = folder / VALIDATION / "case49"
    refuses(ValueError, r"rater 6: raters=5 is too few", qubiq_prostate, folder, "test", raters=5)
    label = qubiq_prostate(folder, "test", raters=8, grid=(12, 12))[0]["label"]
    assert (label[6:] == MISSING_RATER).all()
    for path in case.glob("task02*"):
        path.unlink()
    named = r"case49 holds no label task02_segRR\.nii\.gz of any of the 6 raters"
    refuses(ValueError, named, qubiq_prostate, folder, "test", task=2)
    (case / "image.nii.gz").unlink()
    refuses(FileNotFoundError, r"case49 lacks image\.nii\.gz", qubiq_prostate, folder, "test")
    (tmp_path / "empty" / TRAINING).mkdir(parents=True)
    refuses(FileNotFoundError, "holds no folder caseNN", qubiq_prostate, tmp_path / "empty", "train")
