"""The synthetic brains: deterministic, disjoint splits, labels that explain the image, a realistic k-space."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureTyped, RandFlipd

from infomri_monai.acquisition import image_to_kspace
from infomri_monai.data import SPLITS, embedded_subjects
from infomri_monai.data.embedded import TEMPLATE_SLICES, template_slice


@pytest.fixture(scope="module")
def brains():
    return embedded_subjects("train", subjects=12, slices_per_subject=2)


def test_entries_are_what_is_documented(brains):
    assert len(brains) == 24
    for entry in brains:
        assert entry["image"].shape == entry["label"].shape == (1, 96, 96)
        assert entry["image"].dtype == np.complex64
        assert entry["label"].dtype == np.uint8
        assert np.abs(entry["image"]).max() == pytest.approx(1)
        assert set(np.unique(entry["label"])) == {0, 1, 2, 3}
        assert 0.2 < (entry["label"] > 0).mean() < 0.6
    assert [entry["slice"] for entry in brains[:4]] == [0, 1, 0, 1]


def test_the_same_seed_gives_the_same_and_another_seed_another_subject(brains):
    again = embedded_subjects("train", subjects=2, slices_per_subject=2)
    for one, two in zip(again, brains[:4], strict=True):
        assert np.array_equal(one["image"], two["image"])
        assert np.array_equal(one["label"], two["label"])
    other = embedded_subjects("train", subjects=1, slices_per_subject=2, seed=1)
    assert not np.allclose(other[0]["image"], brains[0]["image"])


def test_no_subject_is_in_two_splits_and_no_two_subjects_are_alike():
    lists = {split: embedded_subjects(split, 5, 1, (32, 32)) for split in SPLITS}
    numbers = [entry["subject"] for entries in lists.values() for entry in entries]
    assert len(set(numbers)) == 15
    images = np.stack([np.abs(entry["image"]) for entries in lists.values() for entry in entries])
    distance = np.abs(images[:, None] - images[None]).mean((2, 3, 4)) + np.eye(15)
    assert distance.min() > 0.01


@given(st.integers(16, 70), st.integers(16, 70), st.booleans())
@settings(deadline=None, max_examples=8)
def test_any_grid(height, width, complex_valued):
    entry = embedded_subjects("validation", 1, 1, [height, width], complex_valued=complex_valued)[0]
    assert entry["image"].shape == entry["label"].shape == (1, height, width)
    assert entry["image"].dtype == (np.complex64 if complex_valued else np.float32)
    assert np.isfinite(entry["image"]).all()
    assert np.abs(entry["image"]).max() == pytest.approx(1)


def test_the_largest_grid_works():
    assert embedded_subjects("test", 1, 1, (256, 256))[0]["image"].shape == (1, 256, 256)


def test_anatomy_does_not_depend_on_the_grid():
    coarse, fine = (embedded_subjects("train", 1, 2, (n, n)) for n in (64, 128))
    for low, high in zip(coarse, fine, strict=True):
        assert (
            low["label"] == high["label"][:, ::2, ::2]
        ).mean() > 0.9  # noise at the pixel scale moves tissue borders
        average = np.abs(high["image"]).reshape(1, 64, 2, 64, 2).mean((2, 4))
        assert np.corrcoef(average.ravel(), np.abs(low["image"]).ravel())[0, 1] > 0.95


@pytest.mark.parametrize("shape", [(64, 64), (65, 63), (64, 65)])
def test_labels_lie_where_the_image_shows_them(shape):
    """A label shifted by a pixel explains the magnitude less well than the label itself, on odd and even grids."""

    def unexplained(magnitude, label):
        means = np.array([magnitude[label == k].mean() for k in range(4)])
        return ((magnitude - means[label])[label > 0] ** 2).mean()

    gain = np.zeros(4)
    for entry in embedded_subjects("train", 6, 1, shape):
        magnitude, label = np.abs(entry["image"][0]), entry["label"][0]
        here = unexplained(magnitude, label)
        moves = [(1, 0), (-1, 0), (0, 1), (0, -1)]
        gain += [unexplained(magnitude, np.roll(label, move, (0, 1))) - here for move in moves]
    assert (gain > 0).all()


def test_contrasts_vary_and_phase_is_smooth_but_present(brains):
    ordering = set()
    for entry in brains:
        magnitude, label = np.abs(entry["image"]), entry["label"]
        ordering.add(tuple(np.argsort([magnitude[label == k].mean() for k in (1, 2, 3)]).tolist()))
        head = magnitude[0] > 0.2
        rotated = entry["image"][0] * np.exp(-1j * np.angle(entry["image"][0][head].mean()))
        assert np.angle(rotated[head]).std() > 0.02
        step = np.angle(entry["image"][0][1:] * entry["image"][0][:-1].conj())[head[1:] & head[:-1]]
        assert np.median(np.abs(step)) < 0.1
    assert len(ordering) >= 2


def test_kspace_is_not_trivially_smooth(brains):
    """Energy shares of real T2 brain slices at this grid: about 13 % outside radius 12, 5 % outside 24."""
    kspace = image_to_kspace(torch.from_numpy(np.stack([entry["image"] for entry in brains]))).abs() ** 2
    share = (kspace / kspace.sum((-2, -1), keepdim=True)).mean((0, 1))
    radius = torch.hypot(*torch.meshgrid(torch.arange(96) - 48.0, torch.arange(96) - 48.0, indexing="ij"))
    assert 0.05 < share[radius > 12].sum() < 0.25
    assert 0.015 < share[radius > 24].sum() < 0.1


def test_feeds_a_bundle_and_a_loader_with_workers():
    config = {
        "dataset": {
            "_target_": "Dataset",
            "data": {
                "_target_": "infomri_monai.data.embedded_subjects",
                "split": "validation",
                "subjects": 2,
                "slices_per_subject": 2,
                "grid": [32, 32],
            },
        }
    }
    parsed = ConfigParser(config).get_parsed_content("dataset")
    transform = Compose([EnsureTyped(["image", "label"]), RandFlipd(["image", "label"], prob=1.0)])
    batches = list(DataLoader(Dataset(parsed.data, transform), batch_size=2, num_workers=1))
    assert len(batches) == 2
    assert batches[0]["image"].shape == (2, 1, 32, 32)
    assert batches[0]["image"].dtype == torch.complex64
    assert batches[0]["label"].dtype == torch.uint8


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"split": "training"}, "split"),
        ({"subjects": 0}, "subjects"),
        ({"slices_per_subject": 17}, "slices_per_subject"),
        ({"grid": (8, 64)}, "grid"),
        ({"grid": (64,)}, "grid"),
        ({"grid": (64, 64.5)}, "grid"),
        ({"grid": (64, 1024)}, "grid"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        embedded_subjects(**{"split": "train", "subjects": 1, **change})


def test_template_is_centred_and_bounded():
    for index in TEMPLATE_SLICES:
        distance = template_slice(index)[3]
        rows, columns = np.nonzero(distance < 0)
        assert abs(rows.mean() - distance.shape[0] / 2) < 2
        assert abs(columns.mean() - distance.shape[1] / 2) < 2
    with pytest.raises(ValueError, match="index"):
        template_slice(10)
