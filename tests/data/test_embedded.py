"""The synthetic brains: deterministic, disjoint splits, labels that explain the image, a realistic k-space.

The synthetic lesions: the label says where there is one, its neighbours stay as they were, and nothing else gives it away.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from infomri_monai.acquisition import image_to_kspace
from infomri_monai.data import SPLITS, embedded_lesions, embedded_subjects
from infomri_monai.data.embedded import DIAMETER, TEMPLATE_SLICES, add_lesion, draw_subject, template_slice


@pytest.fixture(scope="module")
def brains():
    return embedded_subjects("train", subjects=12, slices_per_subject=2)


def test_entries_are_what_is_documented(brains):
    assert [entry["slice"] for entry in brains] == [0, 1] * 12
    for entry in brains:
        assert (entry["image"].shape, entry["image"].dtype) == ((1, 96, 96), np.complex64)
        assert (entry["label"].shape, entry["label"].dtype) == ((1, 96, 96), np.uint8)
        assert np.abs(entry["image"]).max() == pytest.approx(1)
        assert set(np.unique(entry["label"])) == {0, 1, 2, 3}
        assert 0.2 < (entry["label"] > 0).mean() < 0.6


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


def test_template_is_centred_and_bounded():
    for index in TEMPLATE_SLICES:
        distance = template_slice(index)[3]
        rows, columns = np.nonzero(distance < 0)
        assert abs(rows.mean() - distance.shape[0] / 2) < 2
        assert abs(columns.mean() - distance.shape[1] / 2) < 2
    refuses(ValueError, "index", template_slice, 10)


@pytest.fixture(scope="module")
def slices():
    return embedded_lesions("train", subjects=24)


def test_entries_are_what_is_documented_embedded_lesions(slices):
    assert len(slices) == 96
    attributes = {}
    for entry in slices:
        assert (entry["image"].shape, entry["image"].dtype) == ((1, 64, 64), np.complex64)
        assert np.abs(entry["image"]).max() == pytest.approx(1)
        assert entry["label"].dtype == entry["attribute"].dtype == np.int64
        assert (entry["label"] in (0, 1), entry["simulated"]) == (True, True)
        attributes.setdefault(entry["subject"], set()).add(int(entry["attribute"]))
    assert set.union(*attributes.values()) == {0, 1, 2}
    assert all(len(own) == 1 for own in attributes.values())


def test_deterministic_and_other_with_another_seed_but_not_with_another_grid(slices):
    again = embedded_lesions("train", subjects=3)
    half = embedded_lesions("train", subjects=3, subset=2)
    for some, expected in ((again, slices[:12]), (half, slices[:12:2])):
        for one, two in zip(some, expected, strict=True):
            assert np.array_equal(one["image"], two["image"])
            assert (one["label"], one["attribute"]) == (two["label"], two["attribute"])
    diagnoses = [[int(e["label"]) for e in embedded_lesions("train", 24, seed=s, grid=(16, 16))] for s in (0, 1)]
    assert diagnoses[0] == [int(e["label"]) for e in slices] != diagnoses[1]


def test_half_of_the_slices_have_a_lesion_and_subjects_are_healthy_ill_and_partly_ill():
    """An expected share of 1/2; a subject's own is 0, or 0.71 of four slices: standard error 0.03 for 120 subjects."""
    share = np.array([e["label"] for e in embedded_lesions("train", 120, 4, (16, 16))]).reshape(120, 4).mean(1)
    assert share.mean() == pytest.approx(0.5, abs=0.1)
    assert {0.0, 0.5, 0.75, 1.0} <= set(share)
    assert (share == 0).mean() == pytest.approx(1 - 0.5**0.5, abs=0.13)


def test_attribute_is_independent_of_the_label():
    """Chi-square of label against contrast by subject's majority; 2 degrees of freedom, 1 % level 9.2."""
    entries = embedded_lesions("train", 120, 1, (16, 16))
    table = np.zeros((2, 3))
    np.add.at(table, ([e["label"] for e in entries], [e["attribute"] for e in entries]), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert ((table - expected) ** 2 / expected).sum() < 9.2


@pytest.mark.parametrize("complex_valued", [True, False])
def test_without_a_lesion_a_slice_is_that_of_the_plain_set(complex_valued):
    plain = embedded_subjects("validation", 6, 2, (48, 40), 3, complex_valued)
    mixed = embedded_lesions("validation", 6, 2, (48, 40), 3, complex_valued)
    same = [np.array_equal(a["image"], b["image"]) for a, b in zip(plain, mixed, strict=True)]
    assert same == [entry["label"] == 0 for entry in mixed]
    assert 0 < sum(same) < 12
    assert [(e["subject"], e["slice"]) for e in plain] == [(e["subject"], e["slice"]) for e in mixed]


def test_prevalence_of_none_and_all():
    assert not any(e["label"] for e in embedded_lesions("test", 5, 2, (16, 16), prevalence=0))
    assert all(e["label"] for e in embedded_lesions("test", 5, 2, (16, 16), prevalence=1))


def test_lesions_lie_in_the_brain_have_the_documented_size_and_keep_the_phase():
    areas, kinds = [], set()
    for number in range(30):
        drawn = next(draw_subject(number, 1, (64, 64), seed=0))
        image, lesion = add_lesion(drawn, np.random.default_rng(number))
        changed = image != drawn.image
        assert not (changed & ~ndimage.binary_fill_holes(drawn.label != 0)).any()
        assert lesion[changed].any()
        assert np.abs(image).max() <= np.abs(drawn.image).max() * 1.0001
        solid = lesion & (np.abs(drawn.image) > 0.02) & (np.abs(image) > 0.02)
        assert np.abs(np.angle(image[solid] * drawn.image[solid].conj())).max() < 1e-2
        areas.append(lesion.sum() * drawn.scale**2)
        tissue = lesion & (drawn.label >= 2)
        kinds.add(bool(np.abs(image[tissue]).mean() > np.abs(drawn.image[tissue]).mean()))
    diameter = 2 * np.sqrt(np.array(areas) / np.pi)
    assert DIAMETER[0] * 0.5 < diameter.min()
    assert diameter.max() < DIAMETER[1] * 1.3
    assert diameter.std() > 2
    assert kinds == {True, False}


def test_the_scale_of_the_image_does_not_give_the_lesion_away():
    """Scaling to a maximum of 1 is by the same factor with and without the lesion, up to ringing: the scalp does not change."""
    plain = embedded_subjects("test", 12, 1, (64, 64))
    ill = embedded_lesions("test", 12, 1, (64, 64), prevalence=1)
    for one, other in zip(plain, ill, strict=True):
        outside = one["label"] == 0
        ratio = np.abs(other["image"])[outside].sum() / np.abs(one["image"])[outside].sum()
        assert ratio == pytest.approx(1, abs=0.06)
        assert np.abs(one["image"] - other["image"]).max() > 0.1
