"""Labels on a coarser grid: against the image's own crop by explicit matrices, classes, missing raters, fields of view.

Classes that are absent from a split, labels of a wrong shape or value, named by the split's argument.
How often every class occurs, against counting pixel by pixel.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helper import GRIDS_2D, dft_matrix, refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_monai.data import check_classes, class_frequencies
from infomri_monai.data.labels import check_labels, crop_labels, fit_to_grid, join_raters
from infomri_monai.data.prepare import prepare_images
from infomri_monai.networks import LatentSegmenter


def explicit_crop(image, size):
    """Centre of k-space by matrices: an image of the same mean on the smaller grid."""
    rows, columns = (dft_matrix(n) for n in image.shape)
    kspace = rows @ torch.from_numpy(image).to(torch.complex128) @ columns.T
    (top, left) = (n // 2 - m // 2 for n, m in zip(image.shape, size, strict=True))
    kspace = kspace[top : top + size[0], left : left + size[1]]
    rows, columns = (dft_matrix(m).conj() for m in size)
    return (rows @ kspace @ columns.T).numpy() * np.sqrt(size[0] * size[1] / image.size)


@pytest.mark.parametrize("shape", [*GRIDS_2D, (12, 17)])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_largest_indicator_after_the_images_own_crop(shape, classes):
    label = np.random.default_rng(0).integers(0, classes, shape).astype(np.int16)
    size = (shape[0] - 2, (shape[1] + 1) // 2)
    maps = np.stack([explicit_crop((label == c).astype(float), size).real for c in range(classes)])
    order = np.sort(maps, axis=0)
    decided = order[-1] - order[-2] > 1e-4
    result = crop_labels(label, classes, size)
    assert result.dtype == label.dtype
    assert np.array_equal(result[decided], maps.argmax(0)[decided])


@given(seed=st.integers(0, 10**6), height=st.integers(3, 14), width=st.integers(3, 14))
@settings(max_examples=30, deadline=None)
def test_two_classes_are_the_threshold_one_half(seed, height, width):
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, (height, width)).astype(np.uint8)
    size = (int(draw.integers(1, height + 1)), int(draw.integers(1, width + 1)))
    if size == label.shape:
        assert np.array_equal(crop_labels(label, 2, size), label)
        return
    coarse = prepare_images(label[None].astype(np.float32), size, normalise=False)[0].real
    clear = np.abs(coarse - 0.5) > 1e-4
    assert np.array_equal(crop_labels(label, 2, size)[clear], coarse[clear] > 0.5)


def test_raters_are_independent_and_a_missing_one_stays_missing():
    draw = np.random.default_rng(1)
    one, two = (draw.integers(0, 3, (9, 12)) for _ in range(2))
    together = crop_labels(join_raters([one, None, two], "a-b", (9, 12), 3), 3, (6, 6))
    assert (together[1] == -1).all()
    for index, alone in ((0, one), (2, two)):
        assert np.array_equal(together[index], crop_labels(alone, 3, (6, 6)))


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (7, 5), (31, 31)])
@pytest.mark.parametrize("grid", [(8, 8), (6, 12), (9, 5)])
def test_the_whole_field_of_view_with_square_pixels(shape, grid):
    """A rectangle over the whole image covers the image's share of the canvas, centred, in image and label alike."""
    image, label = fit_to_grid(np.ones(shape), np.ones((1, *shape), np.uint8), 2, grid, magnitude=True)
    assert image.shape == label.shape == (1, *grid)
    scale = max(shape[0] / grid[0], shape[1] / grid[1], 1)
    share = [n / (scale * m) for n, m in zip(shape, grid, strict=True)]
    wanted = grid[0] * share[0] * grid[1] * share[1]
    assert abs(int(label.sum()) - wanted) <= sum(grid)
    assert np.mean((image[0] > 0.5) == label[0]) > 0.85
    centre = [float(axis.mean()) for axis in np.nonzero(label[0])]
    assert np.allclose(centre, [(m - 1) / 2 for m in grid], atol=1.0)


def test_without_resampling_pixels_are_kept():
    draw = np.random.default_rng(2)
    image, label = draw.uniform(size=(8, 9)), join_raters([draw.integers(0, 3, (8, 9)), None], "ab", (8, 9), 3)
    cut, labels = fit_to_grid(image, label, 3, (6, 12), resample=False, normalise=False)
    assert np.allclose(cut[0, :, 1:10], image[1:7])
    assert not cut[0, :, [0, 10, 11]].any()
    assert np.array_equal(labels[0, :, 1:10], label[0, 1:7])
    assert not labels[0, :, [0, 10, 11]].any()
    assert (labels[1] == -1).all()


def test_bad_labels_are_named():
    values = r"scan: label values must be classes 0 to 2 .*got also \[-1.0, 0.5, 3.0\]"
    refuses(ValueError, values, check_labels, np.array([0, 0.5, 3, -1]), 3, "scan")
    assert check_labels(np.array([0.0, 2.0]), 3, "scan").dtype == np.int16
    refuses(ValueError, r"label must lie in \[0, 1\]", crop_labels, np.full((4, 4), 2), 2, (2, 2))
    half = np.concatenate([np.full((1, 4), -1), np.zeros((3, 4), int)])
    refuses(ValueError, "or be -1 everywhere", crop_labels, half, 2, (2, 2))
    refuses(ValueError, "size", crop_labels, np.zeros((4, 4), int), 2, (8, 2))
    grid, label = r"image's grid \(4, 4\).* got \(1, 4, 5\)", np.ones((1, 4, 5), int)
    refuses(ValueError, grid, fit_to_grid, np.ones((4, 4)), label, 2, (2, 2))


def single(*labels):
    return [{"label": np.int64(label)} for label in labels]


def multi(*labels):
    return [{"label": np.array(label, np.float32)} for label in labels]


@given(st.integers(2, 5), st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_single_label_against_a_set(classes, labels):
    data = single(*(label % classes for label in labels))
    absent = set(range(classes)) - {label % classes for label in labels}
    if not absent:
        assert check_classes(data, classes) is data
        return
    with pytest.raises(ValueError, match=rf"^data: class {', '.join(map(str, sorted(absent)))} of {classes} is absent"):
        check_classes(data, classes)


def test_multi_label_needs_both_values_of_every_label():
    data = multi([0, 1, 1], [1, 0, 1], [0, 0, 0])
    assert check_classes(data, 3, multi_label=True) is data
    never, always = multi([0, 1, 0], [0, 0, 0]), multi([0, 1], [1, 1])
    named = r"^test_data: label 0, 2 of 3 has no positive entry among 2\.$"
    refuses(ValueError, named, check_classes, never, 3, multi_label=True, name="test_data")
    refuses(ValueError, r"^data: label 1 of 2 has no negative entry", check_classes, always, 2, multi_label=True)


@pytest.mark.parametrize(
    ("data", "options", "named"),
    [
        ([], {}, "validation_data must hold at least one entry"),
        ([{"image": 0}], {}, "entry 0 lacks 'label'"),
        (single(0, 1, 2), {}, "entry 2: 'label' must have shape .* values 0 to 1"),
        ([{"label": np.float32(0.5)}], {}, "entry 0"),
        ([{"label": np.float32("nan")}], {}, "entry 0"),
        ([{"label": "0"}], {}, "entry 0"),
        (multi([0, 1]), {}, r"got shape \(2,\)"),
        (multi([0, 1]), {"num_classes": 3, "multi_label": True}, r"shape \(3,\)"),
        (multi([0, 2]), {"multi_label": True}, "values 0 to 1"),
        (single(0), {"num_classes": 1}, "num_classes must be at least 2"),
        (multi([0]), {"num_classes": 0, "multi_label": True}, "num_classes must be at least 1"),
    ],
)
def test_refused(data, options, named):
    refuses(ValueError, named, check_classes, data, **{"num_classes": 2, "name": "validation_data", **options})


def test_frequencies_of_image_level_labels():
    labels = np.random.default_rng(0).integers(0, 4, 50)
    assert class_frequencies(single(*labels), 4) == pytest.approx([(labels == c).mean() for c in range(4)])
    independent = np.random.default_rng(1).integers(0, 2, (50, 3))
    assert class_frequencies(multi(*independent), 3, multi_label=True) == pytest.approx(independent.mean(0))
    assert class_frequencies(multi([0, 1]), 2, multi_label=True) == pytest.approx([1e-7, 1 - 1e-7])
    refuses(ValueError, "label must hold 3 labels", class_frequencies, multi([0, 1]), 3, multi_label=True)


def entries(multi_label, classes, items=3, seed=0):
    """Labels of 2 or 3 raters on different grids; one rater of the first image is missing."""
    rng = np.random.default_rng(seed)
    data = []
    for item in range(items):
        raters, grid = 2 + item % 2, (4 + item, 5)
        shape = (raters, classes, *grid) if multi_label else (raters, *grid)
        data.append({"label": rng.integers(0, 2 if multi_label else classes, shape).astype(np.int8)})
    data[0]["label"][1] = -1
    return data


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("value", [0, 1])
def test_a_class_that_is_everywhere_or_nowhere_has_a_finite_logarithm_and_a_network_starts_there(multi_label, value):
    shape = (1, 2, 64, 64) if multi_label else (1, 64, 64)
    shares = class_frequencies([{"label": np.full(shape, value, dtype=np.uint8)}], 2, multi_label)
    assert all(1e-7 <= share <= 1 - 1e-7 for share in shares)
    LatentSegmenter(2, multi_label, channels=(8, 8), class_frequencies=shares)


@pytest.mark.parametrize("multi_label", [False, True])
def test_frequencies_of_pixels(multi_label):
    data, expected = entries(multi_label, 4), []
    for c in range(4):
        labels = [entry["label"][:, c] if multi_label else entry["label"] for entry in data]
        values = np.concatenate([label.ravel() for label in labels])
        expected.append(float((values == (1 if multi_label else c)).sum() / (values >= 0).sum()))
    assert class_frequencies(data, 4, multi_label) == pytest.approx(expected)


def test_bad_data_of_the_frequencies():
    for multi_label, mask, below in ((False, np.full((1, 4, 4), 3), 3), (True, np.full((1, 3, 4, 4), 2), 2)):
        named = f"mask must lie below {below}, got {below}"
        refuses(ValueError, named, class_frequencies, [{"mask": mask}], 3, multi_label, label_key="mask")
    for data in ([], [{"label": np.full((2, 4, 4), -1)}]):
        refuses(ValueError, "data must hold at least one labelled pixel under 'label'", class_frequencies, data, 2)
