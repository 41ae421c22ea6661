"""``.npz`` stacks: selection, k-space crop, scaling, the shared splits, and refused files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from helper import refuses, refuses_each

from infomri_monai.data import brain_50, brain_complex_180, npz_slices

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")


@pytest.fixture
def stack():
    draw = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(draw.normal(size=(6, 17, 20)) + 1j * draw.normal(size=(6, 17, 20)), 1), 2)
    return (smooth / np.abs(smooth).max()).astype(np.complex64)


@pytest.fixture
def path(stack, tmp_path):
    subject = np.array([0, 0, 1, 1, 2, 2], dtype=np.uint8)
    parts = {"real": stack.real.astype(np.float16), "imag": stack.imag.astype(np.float16)}
    np.savez_compressed(tmp_path / "stack.npz", complex=stack, subject=subject, **parts)
    return tmp_path / "stack.npz"


def dft_crop(image, size):
    """The oracle: the continuous trigonometric polynomial of the kept frequencies, at the coarse positions."""
    for axis, m in enumerate(size):
        n = image.shape[axis]
        frequency = np.arange(m) - m // 2
        to_kspace = np.exp(-2j * np.pi * np.outer(frequency, np.arange(n) - n // 2) / n) / n
        to_image = np.exp(2j * np.pi * np.outer(np.arange(m) - m // 2, frequency) / m)
        image = np.moveaxis(np.tensordot(to_image @ to_kspace, image, (1, axis)), 0, axis)
    return image


def test_float16_parts_and_complex_arrays_give_the_same(path, stack):
    pairs = npz_slices(path, real_key="real", imag_key="imag", normalise=False)
    whole = npz_slices(path, "complex", normalise=False)
    for row, (pair, one) in enumerate(zip(pairs, whole, strict=True)):
        assert pair["image"].dtype == one["image"].dtype == np.complex64
        assert np.array_equal(one["image"][0], stack[row])
        assert np.allclose(pair["image"][0], stack[row], atol=1e-3)


def test_subjects_and_rows(path):
    options = {"image_key": "complex", "subject_key": "subject"}
    chosen = npz_slices(path, subjects=[0, 2], rows=(1, 5), **options)
    assert [(entry["slice"], entry["subject"]) for entry in chosen] == [(1, 0), (4, 2)]
    assert "subject" not in npz_slices(path, "complex", rows=[0, 2])[0]


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (8, 9), (5, 20), (17, 20), (1, 1)])
def test_crop_against_an_explicit_transform(path, stack, size):
    cropped = npz_slices(path, "complex", kspace_crop=size, normalise=False)
    for row, entry in enumerate(cropped):
        assert np.allclose(entry["image"][0], dft_crop(stack[row], size), atol=1e-5)


def test_magnitude_is_taken_after_the_crop_and_scaling_last(path, stack):
    entry = npz_slices(path, "complex", kspace_crop=(8, 8), magnitude=True)[3]
    expected = np.abs(dft_crop(stack[3], (8, 8)))
    assert entry["image"].dtype == np.float32
    assert np.allclose(entry["image"][0], expected / expected.max(), atol=1e-5)


def test_a_real_stack_stays_real_without_crop_and_is_complex_with(tmp_path):
    np.savez(tmp_path / "real.npz", images=np.arange(96, dtype=np.uint8).reshape(2, 6, 8))
    assert npz_slices(tmp_path / "real.npz", "images")[0]["image"].dtype == np.float32
    assert npz_slices(tmp_path / "real.npz", "images", kspace_crop=[4, 4])[0]["image"].dtype == np.complex64


def test_an_all_zero_slice_passes_as_zero(tmp_path):
    np.savez(tmp_path / "zero.npz", images=np.stack([np.zeros((8, 8)), np.ones((8, 8))]))
    for crop in (None, (4, 4)):
        entries = npz_slices(tmp_path / "zero.npz", "images", kspace_crop=crop)
        assert not entries[0]["image"].any()
        assert np.abs(entries[1]["image"]).max() == pytest.approx(1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_values_name_the_slice_only_if_chosen(tmp_path, value):
    images = np.ones((4, 6, 6), dtype=np.float16)
    images[2, 1, 1] = value
    np.savez(tmp_path / "bad.npz", images=images)
    refuses(ValueError, r"bad\.npz: slice 2 .*NaN or Inf", npz_slices, tmp_path / "bad.npz", "images")
    assert len(npz_slices(tmp_path / "bad.npz", "images", rows=(0, 2))) == 2


def test_bad_arguments_are_named(path):
    for options, named in (
        ({}, "image_key"),
        ({"image_key": "complex", "real_key": "real", "imag_key": "imag"}, "image_key"),
        ({"real_key": "real"}, "imag_key"),
        ({"image_key": "nothing"}, "holds no array nothing; it holds complex, subject, real, imag"),
        ({"image_key": "subject"}, "subject"),
        ({"image_key": "complex", "subjects": [0]}, "subject_key"),
        ({"image_key": "complex", "subject_key": "subject", "subjects": [7]}, r"subjects \[0, 1, 2\]"),
        ({"image_key": "complex", "subject_key": "real"}, "subject numbers"),
    ):
        refuses(ValueError, named, npz_slices, path, **options)
    good = {"path": path, "image_key": "complex"}
    refuses_each(npz_slices, good, rows=[(3, 3), (0, 7)], kspace_crop=[(18, 8), 8, (0, 8)])
    refuses(ValueError, "test set", brain_50, path, "train")
    refuses(ValueError, "split", brain_complex_180, path, "training")


@needs_shared
@pytest.mark.shared_data
def test_shared_brains():
    for split, subject in (("validation", 4), ("test", 5)):
        entries = brain_complex_180(SHARED / "brain_complex_180.npz", split, (64, 64))
        assert [entry["subject"] for entry in entries] == [subject] * 30
        assert (entries[0]["image"].shape, entries[0]["image"].dtype) == ((1, 64, 64), np.complex64)
    entries = brain_50(SHARED / "brain_50.npz", kspace_crop=(96, 96))
    assert (len(entries), entries[0]["image"].dtype) == (50, np.float32)
    assert all(entry["image"].max() == pytest.approx(1) for entry in entries)


def test_unreadable_files(tmp_path):
    refuses(FileNotFoundError, "path", npz_slices, tmp_path / "absent.npz", "images")
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "array.npy", np.ones((2, 4, 4)))
    np.savez(tmp_path / "full.npz", images=np.ones((2, 40, 40)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "full.npz").read_bytes()[:5000])
    for name in ("text.npz", "array.npy", "cut.npz"):
        refuses(ValueError, name, npz_slices, tmp_path / name, "images")


def test_a_pickle_is_not_executed(tmp_path):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    np.savez(tmp_path / "object.npz", images=np.array([Attack()], dtype=object))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Attack()))
    for name in ("object.npz", "pickle.npz"):
        refuses(ValueError, name, npz_slices, tmp_path / name, "images")
    assert not (tmp_path / "executed").exists()
