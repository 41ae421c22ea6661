"""One spelling and one refusal of the structures' names, and everybody who names structures has them."""

from __future__ import annotations

import pytest
import torch

from infomri_monai.figures import segmentation_figure
from infomri_monai.metrics import SegmentationQuality
from infomri_monai.metrics.structures import structure_names
from infomri_monai.networks import TaskPosterior


def test_names_are_kept_and_numbers_take_the_place_of_none():
    assert structure_names(["grey", "white"], 2) == structure_names(("grey", "white")) == ("grey", "white")
    assert structure_names(None, 3) == ("structure_1", "structure_2", "structure_3")
    assert structure_names(None) == ()


@pytest.mark.parametrize(
    ("names", "number"),
    [(["a"], 2), (["a", "b"], 1), ([], 1), (["a", "a"], 2), (["a", "a"], None), ("ab", 2), ("ab", None)],
)
def test_refuses(names, number):
    with pytest.raises(ValueError, match="structures must be different names") as refusal:
        structure_names(names, number)
    assert str(refusal.value).endswith(f"got {names!r}.")
    assert number is None or f"one for each of {number}" in str(refusal.value)


def test_tables_and_legends_number_alike():
    masks = torch.zeros(1, 2, 2, 8, 8, dtype=torch.uint8)
    masks[..., 2:5, 2:5] = 1
    probabilities, flat = torch.full((1, 3, 8, 8), 1 / 3), torch.zeros(1, 1, 8, 8)
    posterior = TaskPosterior(masks, masks[:, 0], probabilities, flat, flat)
    legend = segmentation_figure(posterior, torch.rand(1, 1, 8, 8)).legends[0]
    assert tuple(text.get_text() for text in legend.get_texts()) == structure_names(None, 2)
    assert SegmentationQuality("method", 3).structures == structure_names(None, 2)
