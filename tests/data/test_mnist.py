"""MNIST: the paper's splits, the slant's independence of the digit, refused files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset
from scipy import ndimage

from infomri_monai.data import MNIST_SPLITS, SPLITS, mnist
from infomri_monai.data.mnist import digit_slant

SHARED = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"
needs_shared = pytest.mark.skipif(not SHARED.is_file(), reason="the shared data are not here")


def strokes(number, offset=0):
    """Bars of random slant, whose image number can be read from their first two pixels; digit, number % 10."""
    draw = np.random.default_rng(offset)
    y, x = np.mgrid[:28, :28] - 13.5
    few = np.stack([(np.abs(x + slant * y) < 2) & (np.abs(y) < 10) for slant in draw.uniform(-0.3, 0.6, 97)])
    images = np.resize((200 * few).astype(np.uint8), (number, 28, 28))
    images[:, 0, 0], images[:, 0, 1] = np.arange(number) % 251, np.arange(number) // 251
    return images, (np.arange(number) % 10).astype(np.uint8)


@pytest.fixture(scope="module")
def arrays():
    return {"x_train": strokes(60_000), "x_test": strokes(10_000, 1)}


@pytest.fixture(scope="module")
def npz(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "mnist.npz"
    (x, y), (u, v) = arrays.values()
    np.savez(path, x_train=x, y_train=y, x_test=u[:5000], y_test=v[:5000])
    return path


@pytest.mark.parametrize(
    ("split", "first", "number"), [("train", 0, 50_000), ("validation", 50_000, 5000), ("test", 0, 5000)]
)
def test_the_papers_splits(npz, arrays, split, first, number):
    images, digits = arrays["x_test" if split == "test" else "x_train"]
    entries = mnist(npz, split)
    assert [e["slice"] for e in entries] == list(range(first, first + number))
    for entry in (entries[0], entries[1234], entries[-1]):
        assert entry["image"].dtype == np.float32
        assert entry["label"].dtype == entry["attribute"].dtype == np.int64
        assert np.array_equal(entry["image"], images[None, entry["slice"]].astype(np.float32) / 255)
        assert entry["label"] == digits[entry["slice"]]
        assert "subject" not in entry
    assert entries[0]["image"].base is entries[-1]["image"].base is not None  # views of one array


def test_subset_and_padding(npz, arrays):
    entries = mnist(npz, "validation", subset=100, pad=(32, 33))
    assert [e["slice"] for e in entries] == list(range(50_000, 55_000, 100))
    image = entries[3]["image"]
    assert image.shape == (1, 32, 33)
    assert np.array_equal(image[0, 2:30, 2:30] * 255, arrays["x_train"][0][50_300])
    assert image.sum() == pytest.approx(image[0, 2:30, 2:30].sum())
    batch = next(iter(DataLoader(Dataset(entries), batch_size=8)))
    assert batch["image"].shape == (8, 1, 32, 33)
    assert batch["label"].dtype == torch.int64


def test_attribute_is_balanced_within_every_digit_in_training(npz):
    entries = mnist(npz, "train")
    digits, attribute = (np.array([e[key] for e in entries]) for key in ("label", "attribute"))
    for digit in range(10):
        assert attribute[digits == digit].mean() == pytest.approx(0.5, abs=0.02)


@given(st.floats(-0.8, 0.8), st.floats(-3, 3), st.floats(-3, 3))
def test_slant_of_a_sheared_blob(slant, down, right):
    """A Gaussian blob sheared by ``slant`` has exactly this regression, wherever it lies."""
    y, x = np.mgrid[:61, :61] - 30.0
    blob = np.exp(-(((x - right) + slant * (y - down)) ** 2) / 8 - (y - down) ** 2 / 18)
    assert digit_slant((1e6 * blob)[None])[0] == pytest.approx(slant, abs=1e-3)


def test_slant_against_a_regression_pixel_by_pixel():
    images = (np.random.default_rng(0).uniform(0, 255, (5, 28, 20))).astype(np.uint8)
    y, x = np.mgrid[:28, :20]
    for image, slant in zip(images, digit_slant(images), strict=True):
        covariance = np.cov(np.stack([x.ravel(), y.ravel()]), fweights=image.ravel().astype(int), ddof=0)
        assert slant == pytest.approx(-covariance[0, 1] / covariance[1, 1])
    assert digit_slant(np.zeros((1, 28, 28), np.uint8)).tolist() == [0]
    upright = np.zeros((28, 28))
    upright[5:20, 13] = 255
    leaning = ndimage.rotate(upright, -20, reshape=False, order=1)  # clockwise
    assert digit_slant(leaning[None])[0] == pytest.approx(np.tan(np.deg2rad(20)), abs=0.05)


def test_wrong_files_are_refused(tmp_path):
    refuses(ValueError, "torchvision", mnist, tmp_path, "train")  # a folder, of idx files perhaps
    x, y = strokes(55_000)
    good = {"x_train": x, "y_train": y, "x_test": x[:5000], "y_test": y[:5000]}
    for change, named in [
        ({"x_train": x[:54_999], "y_train": y[:54_999]}, "at least 55000"),
        ({"y_train": y[:-1]}, "as many digits"),
        ({"x_test": x[:4999], "y_test": y[:4999]}, "at least 5000"),
        ({"x_test": x[:5000, :27]}, "28 x 28"),
        ({"x_test": x[:5000].astype(np.float32)}, "uint8"),
        ({"y_test": y[:5000] + np.uint8(1)}, "0 to 9"),
        ({"y_test": y[:5000].astype(float)}, "0 to 9"),
    ]:
        np.savez(tmp_path / "bad.npz", **{**good, **change})
        refuses(ValueError, named, mnist, tmp_path / "bad.npz", "test")
    np.savez(tmp_path / "bad.npz", x_train=x)
    refuses(ValueError, "y_train", mnist, tmp_path / "bad.npz", "test")


@needs_shared
@pytest.mark.shared_data
def test_shared_mnist():
    lists = {s: mnist(SHARED, s) for s in SPLITS}
    assert [len(lists[s]) for s in SPLITS] == [50_000, 5000, 5000] == [b - a for a, b in MNIST_SPLITS.values()]
    known = {"train": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], "test": [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]}  # MNIST's first digits
    for split, digits in known.items():
        assert [e["label"] for e in lists[split][:10]] == digits
    for split, attribute in (("train", 0.5), ("validation", 0.48), ("test", 0.32)):
        share = np.bincount([e["label"] for e in lists[split]]) / len(lists[split])
        assert 0.085 < share.min() < share.max() < 0.12
        assert np.mean([e["attribute"] for e in lists[split]]) == pytest.approx(attribute, abs=0.01)
