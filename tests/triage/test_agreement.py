"""Agreement of samples against a loop over pairs with MONAI's Dice, its closed forms and its conventions."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from helper import assert_batch_equals_elements
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_dice

from infomri_monai.triage import sample_agreement


def masks(shape, seed=0, share=0.4):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share).to(torch.uint8)


@pytest.mark.parametrize("shape", [(2, 5, 1, 6, 7), (1, 2, 3, 5, 5), (3, 4, 2, 9), (1, 3, 2, 3, 4, 5)])
def test_mean_over_pairs_and_structures_of_monais_dice(shape):
    samples = masks(shape)
    pairs = combinations(range(shape[1]), 2)
    expected = torch.stack([compute_dice(samples[:, i], samples[:, j], ignore_empty=False) for i, j in pairs])
    torch.testing.assert_close(sample_agreement(samples), expected.mean((0, 2)))
    assert_batch_equals_elements(sample_agreement, samples)


@given(st.integers(2, 6), st.integers(0, 6))
def test_empty_samples_agree_with_each_other_only(k, empty):
    """With e empty masks of k, the others alike: pairs within either kind have Dice 1, pairs across 0."""
    empty = min(empty, k)
    samples = torch.ones(1, k, 1, 3, 3)
    samples[:, :empty] = 0
    pairs = k * (k - 1) / 2
    assert float(sample_agreement(samples)) == pytest.approx((pairs - empty * (k - empty)) / pairs)


@given(st.integers(2, 5), st.randoms())
def test_order_of_samples_does_not_matter(k, random):
    samples = masks((1, k, 2, 4, 4))
    torch.testing.assert_close(sample_agreement(samples[:, random.sample(range(k), k)]), sample_agreement(samples))


@pytest.mark.parametrize("shape", [(2, 1, 1, 4, 4), (2, 0, 1, 4, 4), (2, 4, 4)])
def test_refuses_a_single_sample(shape):
    with pytest.raises(ValueError, match=r"samples must have shape .* K >= 2"):
        sample_agreement(torch.zeros(shape))


def test_refuses_probabilities_and_missing_masks():
    with pytest.raises(ValueError, match="0 and 1 only"):
        sample_agreement(torch.full((1, 2, 1, 2, 2), 0.5))
    with pytest.raises(ValueError, match="got NaN"):
        sample_agreement(torch.tensor([1.0, torch.nan]).reshape(1, 2, 1, 1, 1).expand(1, 2, 1, 2, 2))
