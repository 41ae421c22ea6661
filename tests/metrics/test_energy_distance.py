"""Generalized energy distance: against the loop over pairs, closed forms, and what V- and U-statistic promise."""

from __future__ import annotations

import pytest
import torch
from helper import assert_batch_equals_elements
from hypothesis import given, settings
from raters import naive_energy_distance, naive_within, sample_and_rater_masks

from infomri_monai.metrics import energy_distance, sample_diversity


@settings(deadline=None, max_examples=50)
@given(sample_and_rater_masks())
def test_is_the_loop_over_pairs(masks):
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


def test_one_sample_and_one_rater_give_twice_one_minus_iou():
    """The deterministic rows of Table IX."""
    a, b = torch.zeros(2, 1, 1, 1, 4, 4).unbind()
    a[..., :2, :], b[..., 1:3, :] = 1, 1
    for unbiased in (False, True):
        torch.testing.assert_close(energy_distance(a, b, unbiased), torch.tensor([2 * (1 - 1 / 3)]))


def test_empty_masks():
    empty, full = torch.zeros(1, 2, 1, 5, 5), torch.ones(1, 2, 1, 5, 5)
    assert energy_distance(empty, empty) == 0
    assert energy_distance(empty, full) == 2
    half = torch.cat([empty[:, :1], full[:, :1]], 1)
    assert energy_distance(half, half[:, :1]) == pytest.approx(0.5)  # 2 * 1/2 - 1/2


def test_missing_raters_are_left_out():
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(1, 4, 2, 9, 9, generator=generator) < 0.5
    raters = (torch.rand(1, 3, 2, 9, 9, generator=generator) < 0.5).float()
    with_missing = torch.cat([raters[:, :1], torch.full_like(raters[:, :1], torch.nan), raters[:, 1:]], 1)
    for unbiased in (False, True):
        torch.testing.assert_close(
            energy_distance(samples, with_missing, unbiased), energy_distance(samples, raters, unbiased)
        )
    assert energy_distance(samples, torch.full_like(raters, torch.nan)).isnan()


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
