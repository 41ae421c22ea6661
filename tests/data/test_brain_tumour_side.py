"""The side of the tumour: the label is where the mask lies, no midline and no sagittal slice, splits as documented."""

from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset

from infomri_monai.data import SPLITS, brain_tumour_side, check_classes
from infomri_monai.data.brain_tumour import SAGITTAL, tumour_offset, tumour_rows

SHARED = Path(__file__).parents[3] / "shared" / "data" / "brain_tumour_1380.npz"
needs_shared = pytest.mark.skipif(not SHARED.is_file(), reason="the shared data are not here")


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
    assert entries
    for entry in entries:
        assert entry["image"].shape == (1, 32, 32)
        assert entry["image"].dtype == np.float32
        assert entry["image"].max() == pytest.approx(1)
        assert entry["label"].dtype == entry["attribute"].dtype == np.int64
        assert entry["label"] == (offset[entry["slice"]] > 0)
        assert abs(offset[entry["slice"]]) > 0.08
        assert not any(first <= entry["slice"] <= last for first, last in SAGITTAL)
    ids = 1 + 2 * tumour_rows(240, split, stretches)
    clear = [i for i in ids if abs(offset[int(i)]) > 0.12 and not any(a <= i <= b for a, b in SAGITTAL)]
    assert set(clear) <= {entry["slice"] for entry in entries}


def test_splits_are_disjoint_and_sizes_are_terciles_of_training(made):
    path, _, area = made
    lists = {s: brain_tumour_side(path, s, (32, 32), 4) for s in SPLITS}
    ids = [e["slice"] for entries in lists.values() for e in entries]
    assert len(ids) == len(set(ids))
    assert np.bincount([e["attribute"] for e in lists["train"]]) / len(lists["train"]) == pytest.approx(
        [1 / 3] * 3, abs=0.08
    )
    bounds = [
        (max if k < 2 else min)(area[e["slice"]] for e in lists["train"] if e["attribute"] == k) for k in range(3)
    ]
    for entry in lists["test"]:
        size = area[entry["slice"]]
        assert entry["attribute"] == 0 or size > bounds[0]
        assert entry["attribute"] == 2 or size <= bounds[2]
    again = brain_tumour_side(path, "test", (32, 32), 4, subset=2)
    assert [e["slice"] for e in again] == [e["slice"] for e in lists["test"]][::2]
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(again, lists["test"][::2], strict=True))


def test_mirroring_negates_the_offset_and_no_image_has_none():
    draw = np.random.default_rng(0)
    image, mask = draw.uniform(0.5, 1, (20, 30)), np.zeros((20, 30), np.uint8)
    image[:, :4], image[0, 0], mask[5:8, 20:24] = 0, 1, 1  # a speck beside the head does not count
    assert tumour_offset(image, mask) == pytest.approx((21.5 - 16.5) / 26)
    assert tumour_offset(image[:, ::-1], mask[:, ::-1]) == pytest.approx(-(21.5 - 16.5) / 26)
    assert tumour_offset(np.zeros((8, 8)), np.ones((8, 8), np.uint8)) == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"split": "all"}, "split"),
        ({"kspace_crop": 64}, "kspace_crop"),
        ({"stretches": 31}, "stretches"),
        ({"margin": -0.1}, "margin"),
        ({"margin": 0.4}, "margin"),
        ({"subset": 0}, "subset"),
    ],
)
def test_bad_arguments_are_named_before_the_file_is_read(change, named):
    with pytest.raises(ValueError, match=named):
        brain_tumour_side(**{"path": "absent.npz", "split": "train", **change})


def test_wrong_files_are_refused(tmp_path, made):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        brain_tumour_side(tmp_path / "absent.npz", "train")
    np.savez(
        tmp_path / "bad.npz", images=np.zeros((3, 8, 8)), masks_packed=np.zeros((2, 8, 1), np.uint8), ids=[1, 2, 3]
    )
    with pytest.raises(ValueError, match="must fit each other"):
        brain_tumour_side(tmp_path / "bad.npz", "train")
    with pytest.raises(ValueError, match="kspace_crop"):
        brain_tumour_side(made[0], "train", (128, 128))


@needs_shared
@pytest.mark.shared_data
@pytest.mark.slow
def test_shared_tumours():
    config = {
        "_target_": "infomri_monai.data.brain_tumour_side",
        **{"path": str(SHARED), "split": "$@split", "kspace_crop": [64, 64]},
    }
    found = {}
    for split in SPLITS:
        data = ConfigParser({"split": split, "data": config}).get_parsed_content("data")
        check_classes(data, 2, name=split)
        found[split] = (len(data), np.mean([e["label"] for e in data]))
        assert next(iter(DataLoader(Dataset(data), batch_size=4)))["image"].shape == (4, 1, 64, 64)
    print(f"tumour side, slices and share right: {found}")
    assert [n for n, _ in found.values()] == [406, 88, 60]
    assert all(0.4 < share < 0.6 for _, share in found.values())
