"""Labels on a coarser grid: against the image's own crop by explicit matrices, classes, missing raters, fields of view."""

import numpy as np
import pytest
import torch
from helper import GRIDS_2D, dft_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_monai.data.labels import check_labels, crop_labels, fit_to_grid, join_raters
from infomri_monai.data.prepare import prepare_images


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
    with pytest.raises(ValueError, match=r"scan: label values must be classes 0 to 2 .*got also \[-1.0, 0.5, 3.0\]"):
        check_labels(np.array([0, 0.5, 3, -1]), 3, "scan")
    assert check_labels(np.array([0.0, 2.0]), 3, "scan").dtype == np.int16
    with pytest.raises(ValueError, match=r"label must lie in \[0, 1\]"):
        crop_labels(np.full((4, 4), 2), 2, (2, 2))
    half = np.zeros((4, 4), int)
    half[0] = -1
    with pytest.raises(ValueError, match="or be -1 everywhere"):
        crop_labels(half, 2, (2, 2))
    with pytest.raises(ValueError, match="size"):
        crop_labels(np.zeros((4, 4), int), 2, (8, 2))
    with pytest.raises(ValueError, match=r"image's grid \(4, 4\).* got \(1, 4, 5\)"):
        fit_to_grid(np.ones((4, 4)), np.ones((1, 4, 5), int), 2, (2, 2))
