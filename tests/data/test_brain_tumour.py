"""Segmentation sets: labels where the image shows them, the documented splits, reproducible raters, refused files.

The side of the tumour: the label is where the mask lies, no midline and no sagittal slice, splits as documented.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helper import refuses

from infomri_monai.data import (
    SPLITS,
    brain_tumour_1380,
    brain_tumour_side,
    check_classes,
    embedded_segmentation,
    embedded_subjects,
    hippocampus_200,
)
from infomri_monai.data.brain_tumour import SAGITTAL, tumour_offset, tumour_rows
from infomri_monai.transforms import SimulateRaters

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")


def discs(number, size=128):
    """Discs at centres off the pixel grid, soft at the rim like an image, their masks and the centres."""
    draw = np.random.default_rng(0)
    y, x = np.ogrid[:size, :size]
    centres, radii = draw.uniform(0.4 * size, 0.6 * size, (number, 2)), draw.uniform(0.15 * size, 0.3 * size, number)
    distance = np.stack([r - np.hypot(y - a, x - b) for (a, b), r in zip(centres, radii, strict=True)])
    return (255 * np.clip(distance + 0.5, 0, 1)).astype(np.uint8), (distance > 0).astype(np.uint8), centres


@pytest.fixture(scope="module")
def tumours(tmp_path_factory):
    path = tmp_path_factory.mktemp("tumours") / "tumours.npz"
    images, masks, _ = discs(120)
    np.savez(path, images=images, masks_packed=np.packbits(masks, axis=-1), ids=np.arange(1, 241, 2, dtype=np.int16))
    return path


@pytest.fixture(scope="module")
def hippocampi(tmp_path_factory):
    """20 volumes whose intensity is 10 x number x (1 + label) where there is a structure: label and image tell each other."""
    draw, arrays = np.random.default_rng(0), {}
    for number in range(1, 41, 2):
        shape = tuple(draw.integers(9, 15, 3))
        label = np.zeros(shape, np.uint8)
        label[2:6, 3:7, 2:7], label[5:8, 3:7, 2:7] = 1, 2
        image = 10.0 * number * (label + (label > 0))
        arrays |= {f"hippocampus_{number:03d}_img": image.astype(np.float32), f"hippocampus_{number:03d}_lab": label}
    path = tmp_path_factory.mktemp("hippocampi") / "hippocampi.npz"
    np.savez(path, **arrays)
    return path


def centroid(weight):
    return np.array([(np.indices(weight.shape)[a] * weight).sum() for a in (0, 1)]) / weight.sum()


def mean_dice(entries, classes):
    """Mean Dice over pairs of raters, structures and images, where at least one of the two drew something."""
    values = []
    for entry in entries:
        for c in range(1, classes):
            for a, b in combinations(entry["label"] == c, 2):
                if a.any() or b.any():
                    values.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return np.mean(values)


@pytest.mark.parametrize("crop", [(32, 32), (33, 31), (64, 48), (128, 128)])
def test_label_and_image_keep_the_true_centre_after_the_crop(tumours, crop):
    """Position n // 2 of the fine grid is m // 2 of the coarse one; a naive subsampling would shift by up to half a pixel."""
    entries = brain_tumour_1380(tumours, "train", crop, raters=1)
    assert all(entry["image"].shape == entry["label"].shape == (1, *crop) for entry in entries)
    size = np.array(crop)
    true = [(centre - 64) * size / 128 + size // 2 for centre in discs(120)[2][:84]]
    image = np.array([centroid(entry["image"][0] ** 2) for entry in entries]) - true
    label = np.array([centroid(entry["label"][0]) for entry in entries]) - true
    assert np.abs(image).max() < 0.02
    assert np.sqrt((label**2).mean()) < 0.1  # whole pixels round a small disc
    assert np.abs(label.mean(0)).max() < 0.02


def test_raters_spread_about_the_image(tumours):
    entries = brain_tumour_1380(tumours, "train", rater_options={"bias": 0.7, "amplitude": 0.7})
    offsets = [centroid(e["label"].mean(0)) - centroid(e["image"][0] * (e["image"][0] > 0.2)) for e in entries]
    assert np.abs(np.mean(offsets, 0)).max() < 0.1


def test_tumour_entries_are_what_is_documented(tumours):
    entries = brain_tumour_1380(tumours, "test", [48, 40], raters=4)
    for entry in entries:
        assert set(entry) == {"image", "label", "subject", "slice", "simulated_raters"}
        assert (entry["image"].shape, entry["image"].dtype) == ((1, 48, 40), np.float32)
        assert (entry["label"].shape, entry["label"].dtype) == ((4, 48, 40), np.uint8)
        assert (entry["image"].max(), entry["simulated_raters"]) == (pytest.approx(1), True)
    assert [entry["slice"] for entry in entries] == list(range(205, 241, 2))
    assert [entry["subject"] for entry in entries] == [51 + i // 2 for i in range(18)]


def test_one_rater_is_the_expert(tumours, hippocampi):
    _, masks, _ = discs(120)
    entries = brain_tumour_1380(tumours, "train", (128, 128), raters=1)
    assert not any(entry["simulated_raters"] for entry in entries)
    np.testing.assert_array_equal(np.concatenate([entry["label"] for entry in entries]), masks[:84])
    assert hippocampus_200(hippocampi, "test", raters=1)[0]["simulated_raters"] is False
    plain, truth = embedded_segmentation("test", 2, 1, (32, 32), raters=1), embedded_subjects("test", 2, 1, (32, 32))
    np.testing.assert_array_equal(plain[1]["label"], truth[1]["label"])


@pytest.mark.parametrize("reader", [brain_tumour_1380, hippocampus_200])
def test_splits_are_disjoint_and_complete(tumours, hippocampi, reader):
    path, total = (tumours, 60) if reader is brain_tumour_1380 else (hippocampi, 20)
    subjects = {split: {e["subject"] for e in reader(path, split, raters=1)} for split in SPLITS}
    assert [len(subjects[split]) for split in SPLITS] == [0.7 * total, 0.15 * total, 0.15 * total]
    assert len(set.union(*subjects.values())) == total
    assert max(subjects["train"]) < min(subjects["validation"]) <= max(subjects["validation"]) < min(subjects["test"])


def test_every_stretch_is_split_with_gaps(tumours):
    """Three stretches of 40 slices: train, gap, validation, gap, test, gap, and so again."""
    ids = {split: [e["slice"] for e in brain_tumour_1380(tumours, split, raters=1, stretches=3)] for split in SPLITS}
    owner = {i: split for split, own in ids.items() for i in own}
    assert len(owner) == sum(map(len, ids.values()))
    assert [len(ids[split]) for split in SPLITS] == [3 * 23, 3 * 4, 3 * 4]
    order = [owner.get(i, "") for i in range(1, 241, 2)]
    changes = [(order[k], order[k + 1 : k + 4]) for k in range(len(order) - 3) if order[k] and not order[k + 1]]
    assert changes == [(split, [""] * 3) for _ in range(3) for split in SPLITS]


def test_raters_depend_on_the_seed_and_the_image_alone(tumours):
    def labels(**options):
        options = {"rater_options": {"amplitude": 1.5}, **options}
        return {e["slice"]: e["label"].tobytes() for e in brain_tumour_1380(tumours, "train", **options)}

    first = labels()
    assert first == labels()
    some = labels(subset=5)
    assert list(some) == list(first)[::5]
    assert all(first[key] == value for key, value in some.items())
    other = labels(seed=1)
    assert all(first[key] != other[key] for key in first)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("grid", [(48, 64), (17, 16), (8, 9)])
def test_hippocampus_slices_show_their_label(hippocampi, axis, grid):
    """Intensity is a function of the label, by volume: any shift of one against the other would break it."""
    entries = hippocampus_200(hippocampi, "train", grid, axis=axis, raters=1)
    for entry in entries:
        assert entry["image"].shape == entry["label"].shape == (1, *grid)
        assert entry["image"].dtype == np.float32
        np.testing.assert_allclose(entry["image"], np.array([0, 2 / 3, 1], np.float32)[entry["label"]], atol=1e-6)


def test_hippocampus_is_padded_about_its_centre_with_its_own_scale(hippocampi):
    with np.load(hippocampi) as file:
        label = file["hippocampus_001_lab"]
    entry = hippocampus_200(hippocampi, "train", (40, 41), raters=1)[0]
    assert (entry["subject"], entry["slice"]) == (1, 2)
    offset = [(m - n) // 2 for n, m in zip(label.shape[:2], (40, 41), strict=True)]
    inside = entry["label"][0][offset[0] : offset[0] + label.shape[0], offset[1] : offset[1] + label.shape[1]]
    np.testing.assert_array_equal(inside, label[..., 2])
    assert entry["label"].sum() == label[..., 2].sum()


def test_hippocampus_choice_of_slices(hippocampi):
    every = hippocampus_200(hippocampi, "validation", raters=1, keep_unlabelled=True)
    labelled = hippocampus_200(hippocampi, "validation", raters=1)
    assert {(e["subject"], e["slice"]) for e in labelled} == {
        (e["subject"], e["slice"]) for e in every if e["label"].any()
    }
    assert {e["slice"] for e in labelled} == {2, 3, 4, 5, 6}
    for number, expected in ((1, [4]), (2, [3, 5]), (5, [2, 3, 4, 5, 6]), (99, [2, 3, 4, 5, 6])):
        chosen = hippocampus_200(hippocampi, "validation", raters=1, slices_per_volume=number)
        assert [e["slice"] for e in chosen] == expected * 3
    assert {e["subject"] for e in hippocampus_200(hippocampi, "train", subset=7, raters=1)} == {1, 15}


def test_a_bright_spot_does_not_dim_the_volume(tmp_path):
    image = np.random.default_rng(0).uniform(0, 100, (20, 20, 10)).astype(np.float32)
    image[3, 3, 3] = 1e6
    label = (image > 50).astype(np.uint8)
    arrays = {f"hippocampus_{k:03d}_{n}": a for k in range(1, 11) for n, a in (("img", image), ("lab", label))}
    np.savez(tmp_path / "bright.npz", **arrays)
    stack = np.stack([e["image"] for e in hippocampus_200(tmp_path / "bright.npz", "train", (20, 20), raters=1)])
    assert (stack.max(), stack.mean()) == (1, pytest.approx(0.5, abs=0.02))
    assert stack.min() >= 0


GOOD = {"images": np.ones((120, 128, 128)), "masks_packed": np.ones((120, 128, 16), np.uint8), "ids": np.arange(120)}
IMAGE, LABEL = np.ones((4, 5, 6)), np.zeros((4, 5, 6), np.uint8)


@pytest.mark.parametrize(
    ("reader", "arrays", "named"),
    [
        (brain_tumour_1380, {**GOOD, "masks_packed": np.zeros((120, 128, 8), np.uint8)}, "must fit each other"),
        (brain_tumour_1380, {**GOOD, "masks_packed": np.zeros((120, 128, 16), np.float32)}, "must fit each other"),
        (brain_tumour_1380, {**GOOD, "ids": np.arange(119)}, "must fit each other"),
        (brain_tumour_1380, {"images": GOOD["images"]}, "holds no array masks_packed"),
        (brain_tumour_1380, {**GOOD, "images": np.full((120, 128, 128), np.nan)}, r"bad\.npz: slice 0, .*NaN or Inf"),
        (hippocampus_200, {"img": IMAGE, "lab": LABEL[..., :5]}, r"001_lab must have the shape of .*got \(4, 5, 5\)"),
        (hippocampus_200, {"img": IMAGE[0], "lab": LABEL[0]}, "three axes"),
        (hippocampus_200, {"img": IMAGE}, "got none"),
        (hippocampus_200, {"img": IMAGE, "lab": LABEL + 3}, r"001_lab must hold values in \[0, 2\]"),
        (hippocampus_200, {"img": IMAGE, "lab": IMAGE}, "001_lab must be of an integer type"),
        (hippocampus_200, {"img": IMAGE * np.inf, "lab": LABEL}, "001_img: slice .*NaN or Inf"),
        (hippocampus_200, {"img": -IMAGE, "lab": LABEL}, "001_img must have no negative value"),
        (hippocampus_200, {"img": 0 * IMAGE, "lab": LABEL}, "positive 99.5th percentile"),
        (hippocampus_200, {"images": IMAGE}, "holds no array hippocampus_NNN_img; it holds images"),
    ],
)
def test_bad_files(tmp_path, reader, arrays, named):
    known = {"img": "hippocampus_001_img", "lab": "hippocampus_001_lab"}
    np.savez(tmp_path / "bad.npz", **{known.get(key, key): value for key, value in arrays.items()})
    refuses(ValueError, named, reader, tmp_path / "bad.npz", "train")


def test_embedded_segmentation_is_the_embedded_set_with_raters():
    entries = embedded_segmentation("validation", 3, 2, (48, 40), seed=2, raters=3, subset=2)
    truth = embedded_subjects("validation", 3, 2, (48, 40), seed=2)[::2]
    model = SimulateRaters(3, num_classes=4, seed=2)
    for entry, own in zip(entries, truth, strict=True):
        np.testing.assert_array_equal(entry["image"], own["image"])
        np.testing.assert_array_equal(entry["label"], model(own["label"], (own["subject"], own["slice"])))
        assert entry["label"].dtype == np.uint8
        assert entry["simulated_raters"] is True
    real = embedded_segmentation("validation", 1, 1, (48, 40), complex_valued=False)[0]
    assert real["image"].dtype == np.float32


@needs_shared
@pytest.mark.shared_data
@pytest.mark.slow
def test_shared_tumours():
    lists = {split: brain_tumour_1380(SHARED / "brain_tumour_1380.npz", split) for split in SPLITS}
    assert [len(lists[split]) for split in SPLITS] == [966, 207, 207]
    assert [len({e["subject"] for e in lists[split]}) for split in SPLITS] == [42, 9, 9]
    everything = [entry for entries in lists.values() for entry in entries]
    assert len({e["slice"] for e in everything}) == 1380
    assert all(e["label"].any((1, 2)).all() for e in everything)  # no tumour is lost on the coarse grid, by no rater
    agreement = mean_dice(everything, 2)
    print(f"brain tumours, 64 x 64, simulated raters: mean pairwise Dice {agreement:.3f}")
    assert agreement == pytest.approx(0.9, abs=0.02)


@needs_shared
@pytest.mark.shared_data
def test_shared_hippocampi():
    lists = {s: hippocampus_200(SHARED / "hippocampus_200.npz", s, slices_per_volume=2) for s in SPLITS}
    assert [len({e["subject"] for e in lists[s]}) for s in SPLITS] == [140, 30, 30]
    assert not set.intersection(*({e["subject"] for e in lists[s]} for s in SPLITS))
    whole = hippocampus_200(SHARED / "hippocampus_200.npz", "test", (100, 100), raters=1)
    fitted = hippocampus_200(SHARED / "hippocampus_200.npz", "test", raters=1)
    for one, other in zip(whole, fitted, strict=True):
        assert one["label"].sum() == other["label"].sum()  # the default grid cuts no label
    agreement = mean_dice(lists["test"], 3)
    print(f"hippocampi, simulated raters: mean pairwise Dice {agreement:.3f}")
    assert 0.85 < agreement < 0.97


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """240 round heads off the middle of the image, with a bright tumour at a known column and of a known size."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    centre, radius = draw.uniform(26, 38, 240), draw.uniform(2, 5, 240)
    offset = draw.uniform(-0.3, 0.3, 240)
    images, masks = np.zeros((2, 240, 64, 64), np.uint8)
    for i in range(240):
        images[i][np.hypot(y - 32, x - centre[i]) < 20] = 90
        masks[i] = np.hypot(y - 32, x - centre[i] - 40 * offset[i]) < radius[i]
        images[i][masks[i] > 0] = 250
    ids = np.arange(1, 481, 2)
    path = tmp_path_factory.mktemp("tumours") / "tumours.npz"
    np.savez(path, images=images, masks_packed=np.packbits(masks, axis=-1), ids=ids)
    return path, dict(zip(ids.tolist(), offset, strict=True)), dict(zip(ids.tolist(), masks.sum((1, 2)), strict=True))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("stretches", [1, 4])
def test_label_is_the_true_side_and_the_middle_is_left_out(made, split, stretches):
    path, offset, _ = made
    entries = brain_tumour_side(path, split, (32, 32), stretches, margin=0.1)
    for entry in entries:
        assert (entry["image"].shape, entry["image"].dtype) == ((1, 32, 32), np.float32)
        assert entry["label"].dtype == entry["attribute"].dtype == np.int64
        assert entry["label"] == (offset[entry["slice"]] > 0)
        assert abs(offset[entry["slice"]]) > 0.08
        assert not any(first <= entry["slice"] <= last for first, last in SAGITTAL)
    ids = 1 + 2 * tumour_rows(240, split, stretches)
    clear = {i for i in ids if abs(offset[int(i)]) > 0.12 and not any(a <= i <= b for a, b in SAGITTAL)}
    assert clear
    assert clear <= {entry["slice"] for entry in entries}


def test_splits_are_disjoint_and_sizes_are_terciles_of_training(made):
    path, _, area = made
    lists = {s: brain_tumour_side(path, s, (32, 32), 4) for s in SPLITS}
    ids = [e["slice"] for entries in lists.values() for e in entries]
    assert len(ids) == len(set(ids))
    sizes = [np.array([area[e["slice"]] for e in lists["train"] if e["attribute"] == k]) for k in range(3)]
    assert np.array([len(s) for s in sizes]) / len(lists["train"]) == pytest.approx([1 / 3] * 3, abs=0.08)
    for entry in lists["test"]:
        size = area[entry["slice"]]
        assert entry["attribute"] == 0 or size > sizes[0].max()
        assert entry["attribute"] == 2 or size <= sizes[2].min()
    again = brain_tumour_side(path, "test", (32, 32), 4, subset=2)
    for one, other in zip(again, lists["test"][::2], strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_mirroring_negates_the_offset_and_no_image_has_none():
    draw = np.random.default_rng(0)
    image, mask = draw.uniform(0.5, 1, (20, 30)), np.zeros((20, 30), np.uint8)
    image[:, :4], image[0, 0], mask[5:8, 20:24] = 0, 1, 1  # a speck beside the head does not count
    assert tumour_offset(image, mask) == pytest.approx((21.5 - 16.5) / 26)
    assert tumour_offset(image[:, ::-1], mask[:, ::-1]) == pytest.approx(-(21.5 - 16.5) / 26)
    assert tumour_offset(np.zeros((8, 8)), np.ones((8, 8), np.uint8)) == 0


@needs_shared
@pytest.mark.shared_data
@pytest.mark.slow
def test_shared_sides():
    found = {}
    for split in SPLITS:
        data = brain_tumour_side(SHARED / "brain_tumour_1380.npz", split, (64, 64))
        check_classes(data, 2, name=split)
        found[split] = (len(data), np.mean([e["label"] for e in data]))
    print(f"tumour side, slices and share right: {found}")
    assert [n for n, _ in found.values()] == [406, 88, 60]
    assert all(0.4 < share < 0.6 for _, share in found.values())
