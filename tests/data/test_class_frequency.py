"""How often every class occurs, against counting pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from infomri_monai.data import class_frequencies
from infomri_monai.networks import LatentSegmenter


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


def test_exclusive_classes():
    data = entries(False, 4)
    values = np.concatenate([entry["label"].ravel() for entry in data])
    expected = [float((values == c).sum() / (values >= 0).sum()) for c in range(4)]
    shares = class_frequencies(data, 4)
    assert shares == pytest.approx(expected)
    assert sum(shares) == pytest.approx(1)


def test_independent_labels():
    data = entries(True, 3)
    per_label = [np.concatenate([entry["label"][:, c].ravel() for entry in data]) for c in range(3)]
    expected = [float((v == 1).sum() / (v >= 0).sum()) for v in per_label]
    assert class_frequencies(data, 3, multi_label=True) == pytest.approx(expected)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("value", [0, 1])
def test_a_class_that_is_everywhere_or_nowhere_has_a_finite_logarithm_and_a_network_starts_there(multi_label, value):
    shape = (1, 2, 64, 64) if multi_label else (1, 64, 64)
    shares = class_frequencies([{"label": np.full(shape, value, dtype=np.uint8)}], 2, multi_label)
    assert all(1e-7 <= share <= 1 - 1e-7 for share in shares)
    LatentSegmenter(2, multi_label, channels=(8, 8), class_frequencies=shares)


@pytest.mark.parametrize(("multi_label", "value", "below"), [(False, 3, 3), (True, 2, 2)])
def test_refuses_another_class(multi_label, value, below):
    shape = (1, 3, 4, 4) if multi_label else (1, 4, 4)
    with pytest.raises(ValueError, match=f"mask must lie below {below}, got {value}"):
        class_frequencies([{"mask": np.full(shape, value)}], 3, multi_label, label_key="mask")


@pytest.mark.parametrize("data", [[], [{"label": np.full((2, 4, 4), -1)}]])
def test_refuses_data_without_a_labelled_pixel(data):
    with pytest.raises(ValueError, match="data must hold at least one labelled pixel under 'label'"):
        class_frequencies(data, 2)
