"""Label maps as masks: against one-hot coding, missing raters, refusals.

One spelling and one refusal of the structures' names, and everybody who names structures has them.
"""

from __future__ import annotations

import pytest
import torch
from helper import refusals, refuses
from monai.networks.utils import one_hot

from infomri_monai.metrics import channel_masks, structure_masks
from infomri_monai.metrics.structures import rater_masks, structure_names


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int64, torch.float32])
def test_is_monais_one_hot_without_background(dtype, generator):
    label = torch.randint(0, 4, (2, 3, 5, 6), generator=generator)
    expected = one_hot(label.flatten(0, 1).unsqueeze(1), 4)[:, 1:].reshape(2, 3, 3, 5, 6)
    masks = structure_masks(label.to(dtype), 4)
    assert masks.dtype == torch.float32
    assert torch.equal(masks, expected)
    assert torch.equal(channel_masks(expected.to(dtype)), expected)


def test_missing_raters_become_nan_and_nothing_else():
    label = torch.zeros(2, 3, 4, dtype=torch.int8)
    label[1, 2] = -1
    masks = structure_masks(label, 3)
    assert masks.isnan().sum() == masks[1, 2].numel()
    assert masks[1, 2].isnan().all()
    wide = label.unsqueeze(2).expand(2, 3, 2, 4)
    assert torch.equal(channel_masks(wide).isnan(), wide < 0)


@pytest.mark.parametrize("call", [lambda t: structure_masks(t, 2), lambda t: rater_masks(t, 1)])
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_a_label_that_is_missing_in_some_pixels_is_refused(call, dtype):
    """It is neither a label nor a missing rater; a drawn rater of the same batch that is missing entirely is no excuse."""
    label = torch.zeros(3, 2, 4, 5)
    label[0, 0] = label[1, 1] = -1
    assert call(label.to(dtype)).isnan().flatten(2).all(2).tolist() == [[True, False], [False, True], [False, False]]
    label[1, 0, 2, 3] = -1
    label[2, 1, 0] = -1
    message = (
        "-1 in every pixel of a missing rater .* got -1 in 1 of 20 values of rater 0 of the batch's image 1, .* of 2"
    )
    refuses(ValueError, message, call, label.to(dtype))


def test_a_missing_rater_misses_all_structures():
    label = torch.zeros(1, 2, 3, 2, 2)
    label[0, 1, 2] = -1
    for call in (channel_masks, lambda t: rater_masks(t, 3)):
        refuses(ValueError, "got -1 in 4 of 12 values of rater 1 of the batch's image 0", call, label)


def test_names_are_kept_and_numbers_take_the_place_of_none():
    assert structure_names(["grey", "white"], 2) == structure_names(("grey", "white")) == ("grey", "white")
    assert structure_names(None, 3) == ("structure_1", "structure_2", "structure_3")
    assert structure_names(None) == ()


@pytest.mark.parametrize(
    ("names", "number"),
    [(["a"], 2), (["a", "b"], 1), ([], 1), (["a", "a"], 2), (["a", "a"], None), ("ab", 2), ("ab", None)],
)
def test_refuses_structure_names(names, number):
    with pytest.raises(ValueError, match="structures must be different names") as refusal:
        structure_names(names, number)
    assert str(refusal.value).endswith(f"got {names!r}.")
    assert number is None or f"one for each of {number}" in str(refusal.value)


test_refuses = refusals(
    (lambda: structure_masks(torch.full((1, 1, 2), 3), 3), "label must lie in -1 .* to 2, got values from 3 to 3"),
    (lambda: structure_masks(torch.full((1, 1, 2), -2), 3), "got values from -2"),
    (lambda: structure_masks(torch.full((1, 1, 2), 255, dtype=torch.uint8), 3), "to 255"),
    (lambda: structure_masks(torch.full((1, 1, 2), 0.5), 2), "whole numbers"),
    (lambda: structure_masks(torch.full((1, 1, 2), torch.nan), 2), "whole numbers"),
    (lambda: structure_masks(torch.zeros(1, 2), 2), "label must have shape"),
    (lambda: structure_masks(torch.zeros(1, 1, 2), 1), "num_classes must be at least 2"),
    (lambda: channel_masks(torch.full((1, 1, 1, 2), 2)), "label must lie in -1 .* to 1"),
    (lambda: channel_masks(torch.zeros(1, 1, 2)), "label must have shape"),
)
