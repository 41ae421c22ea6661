"""Intersections, IoU and Dice of all pairs: against loops over pairs, a float matrix product and MONAI.

Generalized energy distance: against the loop over pairs, closed forms, and what V- and U-statistic promise.
"""

from __future__ import annotations

import math

import pytest
import torch
from helper import assert_batch_equals_elements, refusals
from hypothesis import given, settings
from monai.metrics import compute_dice, compute_iou
from raters import naive_dice, naive_energy_distance, naive_iou, naive_within, sample_and_rater_masks

from infomri_monai.metrics import (
    dice_to_raters,
    energy_distance,
    intersections,
    mask_pixels,
    pairwise_dice,
    pairwise_iou,
    sample_diversity,
)


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
    theirs = [compute_iou(masks, target, ignore_empty=False), compute_dice(masks, target, ignore_empty=False)]
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


@settings(deadline=None, max_examples=50)
@given(sample_and_rater_masks())
def test_is_the_loop_over_pairs_energy_distance(masks):
    samples, raters = masks
    for unbiased in (False, True):
        expected = [naive_energy_distance(s, r, unbiased) for s, r in zip(samples, raters, strict=True)]
        assert energy_distance(samples, raters, unbiased).tolist() == pytest.approx(expected, abs=1e-5, nan_ok=True)
    diversity = [naive_within(list(s.bool()), True) for s in samples]
    assert sample_diversity(samples).tolist() == pytest.approx(diversity, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(sample_and_rater_masks())
def test_v_statistic_is_a_distance_of_distributions(masks):
    samples, raters = masks
    value = energy_distance(samples, raters)
    assert ((value > -1e-5) & (value <= 2)).logical_or(value.isnan()).all()
    torch.testing.assert_close(energy_distance(samples, samples), torch.zeros(len(samples)))
    repeated = energy_distance(samples.repeat(1, 2, 1, *[1] * (samples.ndim - 3)), raters.repeat_interleave(3, 1))
    torch.testing.assert_close(repeated, value, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert_batch_equals_elements(energy_distance, samples, raters)


def test_number_of_samples_moves_the_v_statistic_only():
    """Samples and raters of one distribution: the U-statistic is 0 in expectation, the V-statistic the self pairs' share."""
    generator = torch.Generator().manual_seed(1)
    pairs, k = 4000, 3
    masks = torch.rand(pairs, 2 * k, 1, 8, generator=generator) < 0.5
    samples, raters = masks[:, :k], masks[:, k:].float()
    unbiased, biased = energy_distance(samples, raters, True).mean(), energy_distance(samples, raters).mean()
    apart = sample_diversity(samples).mean()
    assert unbiased.item() == pytest.approx(0, abs=0.01)
    assert biased.item() == pytest.approx(2 * apart.item() / k, abs=0.01)


test_refuses = refusals(
    (lambda: pairwise_iou(0.5 * ONES), "0 and 1 only"),
    (lambda: pairwise_iou(2 * ONES.to(torch.uint8)), "0 and 1 only"),
    (lambda: pairwise_iou(-ONES.long()), "0 and 1 only"),
    (lambda: pairwise_iou(torch.tensor([0.0, 2.0, 0.5, 1.5]).reshape(1, 1, 1, 4)), "0 and 1 only"),
    (lambda: pairwise_iou(ONES.masked_fill(torch.eye(4).bool(), torch.nan)), "NaN in some pixels only"),
    (lambda: pairwise_iou(ONES[0, 0]), "masks must have shape"),
    (lambda: pairwise_iou(ONES[:, :0]), "none of it 0"),
    (lambda: pairwise_iou(ONES, ONES[..., :3]), "must agree in everything but their number"),
    (lambda: pairwise_iou(ONES, ONES.expand(2, 2, 1, 4, 4)), "must agree in everything but their number"),
)
