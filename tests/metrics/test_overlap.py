"""Intersections, IoU and Dice of all pairs: against loops over pairs, a float matrix product and MONAI."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from monai.metrics import compute_dice, compute_iou
from raters import naive_dice, naive_iou, sample_and_rater_masks

from infomri_monai.metrics import dice_to_raters, intersections, mask_pixels, pairwise_dice, pairwise_iou


@settings(deadline=None, max_examples=40)
@given(sample_and_rater_masks())
def test_is_the_loop_over_pairs(masks):
    samples, raters = masks
    both = torch.cat([samples.float(), raters], 1)
    for function, naive in ((pairwise_iou, naive_iou), (pairwise_dice, naive_dice)):
        matrix = function(samples, raters)
        assert matrix.shape == (both.shape[0], both.shape[2], both.shape[1], both.shape[1])
        for b, s, i, j in torch.cartesian_prod(*(torch.arange(n) for n in matrix.shape)):
            first, second = both[b, i, s], both[b, j, s]
            missing = first.isnan().any() or second.isnan().any()
            expected = math.nan if missing else naive(first.bool(), second.bool())
            assert matrix[b, s, i, j].item() == pytest.approx(expected, abs=1e-6, nan_ok=True)


@settings(deadline=None, max_examples=25)
@given(sample_and_rater_masks())
def test_counts_are_those_of_a_matrix_product(masks):
    samples, raters = masks
    both = torch.cat([samples.float(), raters], 1).flatten(3).transpose(1, 2)
    counts, missing = intersections(samples, raters)
    product = both @ both.transpose(-1, -2)
    assert torch.equal(counts.double(), product.double().nan_to_num())
    assert torch.equal(missing, both.isnan().all(-1))
    assert torch.equal(mask_pixels(raters).isnan(), raters.flatten(3).isnan().any(-1))


@pytest.mark.parametrize("level", [0.01, 0.5])
def test_counts_of_many_large_masks_are_exact(level, generator):
    """More than one block of the product, with and without words that all masks agree on."""
    masks = torch.rand(1, 38, 1, 255, 256, generator=generator) < level
    masks[..., :100, :] = masks[:, :1, :, :100]
    flat = masks[0].flatten(1).double()
    assert torch.equal(intersections(masks[:, :30], masks[:, 30:].float()).counts[0, 0].double(), flat @ flat.T)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_every_type_of_mask(dtype, generator):
    masks = torch.rand(2, 3, 2, 9, 7, generator=generator) < 0.4
    counts = intersections(masks.to(dtype))
    assert torch.equal(counts.counts, intersections(masks).counts)
    assert not counts.missing.any()
    apart = masks.to(dtype).transpose(-1, -2)  # not contiguous
    assert torch.equal(intersections(apart).counts, counts.counts)


def test_agrees_with_monai(generator):
    """MONAI's functions take one mask and one target; they too call both empty 1 if not told to ignore it."""
    masks = (torch.rand(4, 2, 12, 13, generator=generator) < 0.3).float()
    target = (torch.rand(4, 2, 12, 13, generator=generator) < 0.3).float()
    masks[0, 0], target[0, 0], target[1, 1] = 0, 0, 0
    ours = [f(masks.unsqueeze(1), target.unsqueeze(1))[:, :, 0, 1] for f in (pairwise_iou, pairwise_dice)]
    theirs = [
        compute_iou(masks, target, ignore_empty=False),
        compute_dice(masks, target, ignore_empty=False),
    ]
    torch.testing.assert_close(ours, theirs)


@settings(deadline=None, max_examples=25)
@given(sample_and_rater_masks())
def test_dice_to_raters_is_the_mean_over_pairs(masks):
    samples, raters = masks
    values = dice_to_raters(samples, raters)
    majority = dice_to_raters(samples[:, 0], raters)
    for b, s in torch.cartesian_prod(torch.arange(values.shape[0]), torch.arange(values.shape[1])):
        there = [r[s].bool() for r in raters[b] if not r.isnan().any()]
        pairs = [[naive_dice(k[s].bool(), r) for r in there] for k in samples[b]]
        mean = sum(map(sum, pairs)) / (len(pairs) * len(there)) if there else math.nan
        first = sum(pairs[0]) / len(there) if there else math.nan
        assert values[b, s].item() == pytest.approx(mean, abs=1e-6, nan_ok=True)
        assert majority[b, s].item() == pytest.approx(first, abs=1e-6, nan_ok=True)


ONES = torch.ones(1, 2, 1, 4, 4)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ((0.5 * ONES,), "0 and 1 only"),
        ((2 * ONES.to(torch.uint8),), "0 and 1 only"),
        ((-ONES.long(),), "0 and 1 only"),
        ((torch.tensor([0.0, 2.0, 0.5, 1.5]).reshape(1, 1, 1, 4),), "0 and 1 only"),
        ((ONES.masked_fill(torch.eye(4).bool(), torch.nan),), "NaN in some pixels only"),
        ((ONES[0, 0],), "masks must have shape"),
        ((ONES[:, :0],), "none of it 0"),
        ((ONES, ONES[..., :3]), "must agree in everything but their number"),
        ((ONES, ONES.expand(2, 2, 1, 4, 4)), "must agree in everything but their number"),
    ],
)
def test_refuses(sets, message):
    with pytest.raises(ValueError, match=message):
        pairwise_iou(*sets)
