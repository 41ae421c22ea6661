"""BRISC 2025 segmentation: small JPEG and PNG files under the published names, grey and colour, square and not."""

import shutil

import numpy as np
import pytest
from helper import refuses
from PIL import Image

from infomri_monai.data import brisc

TUMOURS, VIEWS = ("gl", "me", "pi"), ("ax", "co", "sa")


def disc(shape, centre, radius):
    y, x = np.indices(shape)
    return np.hypot(y - centre[0], x - centre[1]) < radius


def write_pair(folder, split, number, tumour="gl", view="ax", shape=(64, 64), colour=False, mask=None):
    """One image and its mask: a bright disc a quarter down and right of the middle, on grey."""
    base = folder / "segmentation_task" / split
    name = f"brisc2025_{split}_{number:05d}_{tumour}_{view}_t1"
    for kind in ("images", "masks"):
        (base / kind).mkdir(parents=True, exist_ok=True)
    tumour_here = disc(shape, (shape[0] * 0.625, shape[1] * 0.625), shape[0] / 8)
    pixels = (20 + number + (50 if split == "test" else 0) + 130 * tumour_here).astype(np.uint8)
    Image.fromarray(np.stack([pixels] * 3, -1) if colour else pixels).save(base / "images" / f"{name}.jpg", quality=95)
    Image.fromarray(255 * tumour_here.astype(np.uint8) if mask is None else mask).save(base / "masks" / f"{name}.png")
    return name


@pytest.fixture
def folder(tmp_path):
    kinds = [(tumour, view) for tumour in TUMOURS for view in VIEWS for _ in range(5)]
    for number, (tumour, view) in enumerate(kinds, 1):
        write_pair(tmp_path, "train", number, tumour, view, colour=number % 2 == 0)
    for number in (1, 2, 3):
        write_pair(tmp_path, "test", number, shape=(48, 64) if number == 2 else (64, 64))
    (tmp_path / "segmentation_task" / "test" / "images" / "Thumbs.db").write_text("no image")
    return tmp_path


def numbers(entries):
    return [entry["subject"] for entry in entries]


def test_validation_is_the_last_block_of_every_tumour_and_plane(folder):
    train, validation = (brisc(folder, split, grid=(16, 16), validation=0.2) for split in ("train", "validation"))
    assert numbers(validation) == list(range(5, 46, 5))
    assert sorted(numbers(train) + numbers(validation)) == list(range(1, 46))
    assert {(e["tumour"], e["view"]) for e in validation} == {(t, v) for t in TUMOURS for v in VIEWS}
    assert numbers(brisc(folder, "test", grid=(16, 16))) == [1, 2, 3]


def test_image_and_label_stay_in_place_on_the_coarse_grid(folder):
    for entry in brisc(folder, "test", grid=(32, 32)):
        assert (entry["image"].shape, entry["image"].dtype) == ((1, 32, 32), np.float32)
        assert (entry["label"].shape, entry["label"].dtype) == ((1, 32, 32), np.uint8)
        assert (entry["image"].max(), entry["simulated_raters"]) == (1, False)
        assert ((entry["image"] > 0.6) == entry["label"]).mean() > 0.97
    square, wide = (brisc(folder, "test", grid=(32, 32))[i]["label"][0] for i in (0, 1))
    assert np.allclose([a.mean() for a in np.nonzero(square)], 20, atol=0.6)
    assert np.allclose([a.mean() for a in np.nonzero(wide)], [19, 20], atol=0.6)  # 8 rows of padding above and below


def test_colour_is_made_grey(tmp_path):
    for number, colour in ((1, False), (2, True)):
        write_pair(tmp_path, "test", number, colour=colour)
    grey, colour = (entry["image"] for entry in brisc(tmp_path, "test", grid=(64, 64)))
    assert np.allclose(grey, colour, atol=0.03)


@pytest.mark.parametrize("levels", [(0, 1), (0, 255), (0, 90, 160, 255)])
def test_masks_of_any_published_grey(tmp_path, levels):
    inner = disc((64, 64), (32, 32), 10)
    mask = np.where(inner, levels[-1], 0).astype(np.uint8)
    if len(levels) > 2:  # soft border: below and above the middle grey
        mask[disc((64, 64), (32, 32), 12) & ~inner] = levels[1]
        mask[inner & ~disc((64, 64), (32, 32), 8)] = levels[2]
    write_pair(tmp_path, "test", 1, mask=mask)
    assert np.array_equal(brisc(tmp_path, "test", grid=(64, 64))[0]["label"][0], inner)


def test_simulated_raters_are_marked_different_and_reproducible(folder):
    first, second, other = (brisc(folder, "test", grid=(32, 32), raters=4, seed=seed) for seed in (0, 0, 1))
    for entry, same, another in zip(first, second, other, strict=True):
        assert (entry["label"].shape, entry["simulated_raters"]) == ((4, 32, 32), True)
        assert len({rater.tobytes() for rater in entry["label"]}) > 1
        assert np.array_equal(entry["label"], same["label"])
        assert not np.array_equal(entry["label"], another["label"])


def test_copies_of_held_back_images_are_left_out(folder):
    def copy(source, target):
        base = folder / "segmentation_task"
        (base / target[0] / "images" / target[1]).write_bytes((base / source[0] / "images" / source[1]).read_bytes())

    copy(("test", "brisc2025_test_00001_gl_ax_t1.jpg"), ("train", "brisc2025_train_00001_gl_ax_t1.jpg"))
    copy(("test", "brisc2025_test_00003_gl_ax_t1.jpg"), ("train", "brisc2025_train_00005_gl_ax_t1.jpg"))
    copy(("train", "brisc2025_train_00010_gl_co_t1.jpg"), ("train", "brisc2025_train_00011_gl_sa_t1.jpg"))
    train, validation = (numbers(brisc(folder, s, grid=(16, 16), validation=0.2)) for s in ("train", "validation"))
    assert set(range(1, 46)) - set(train + validation) == {1, 5, 11}
    assert 10 in validation
    assert numbers(brisc(folder, "test", grid=(16, 16))) == [1, 2, 3]


def test_files_that_do_not_fit_are_named(folder):
    base, name = folder / "segmentation_task" / "test", "brisc2025_test_00001_gl_ax_t1"
    refuses(ValueError, "'validation' is empty", brisc, folder, "validation", validation=0.01)
    write_pair(folder, "test", 1, mask=np.zeros((64, 60), np.uint8))
    refuses(ValueError, rf"{name}\.png: .*one size, got \(64, 60\) and \(64, 64\)", brisc, folder, "test")
    (base / "images" / f"{name}.jpg").write_bytes(b"no image")
    refuses(OSError, rf"{name}\.jpg is not a readable image", brisc, folder, "test")
    (base / "masks" / f"{name}.png").unlink()
    refuses(FileNotFoundError, rf"lacks 1 of 3 files: {name}\.png", brisc, folder, "test")
    (base / "images" / "scan7.jpg").write_bytes(b"")
    refuses(ValueError, r"scan7\.jpg must be named", brisc, folder, "test")
    shutil.rmtree(base / "images")
    (base / "images").mkdir()
    refuses(FileNotFoundError, "holds no image", brisc, folder, "test")
