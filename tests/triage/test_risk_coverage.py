"""Risk-coverage curves against naive loops over orders, closed forms and the expectation of a random order.

Agreement of samples against a loop over pairs with MONAI's Dice, its closed forms and its conventions.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise, permutations

import pytest
import torch
from helper import assert_batch_equals_elements, refusals, refuses
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_dice

from infomri_monai.triage import risk_coverage, sample_agreement, share_removed

#: few different values, so that ties are common
cases = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), min_size=1, max_size=6)


def split(pairs):
    return [a / 4 for a, _ in pairs], [q / 8 for _, q in pairs]


def orders(values):
    """All orders with descending values."""
    indices = range(len(values))
    return [order for order in permutations(indices) if all(values[a] >= values[b] for a, b in pairwise(order))]


def naive_curve(order, risk):
    return [sum(risk[i] for i in order[:k]) / k for k in range(1, len(order) + 1)]


def average(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


@given(cases, st.sampled_from([None, 0.3, 0.5, 1.0]))
def test_curve_is_the_mean_over_all_orders_of_the_ties(pairs, acceptable):
    agreement, dice = split(pairs)
    risk = [1 - d if acceptable is None else float(d < acceptable) for d in dice]
    found = risk_coverage(agreement, dice, acceptable)
    expected = average([naive_curve(order, risk) for order in orders(agreement)])
    torch.testing.assert_close(found.risk, torch.tensor(expected, dtype=torch.float64))
    assert found.area == pytest.approx(sum(expected) / len(expected))
    best = min(sum(naive_curve(order, risk)) / len(risk) for order in permutations(range(len(risk))))
    assert float(found.perfect_risk.mean()) == pytest.approx(best)
    assert found.excess == pytest.approx(found.area - best)
    assert found.excess >= -1e-12
    assert found.random == pytest.approx(sum(risk) / len(risk))


def test_closed_forms_for_shares_of_bad_cases():
    """e bad cases of n: perfect order (1/n) sum_{k > n-e} (k - n + e) / k; reversed (1/n) (e + sum_{k > e} e / k)."""
    n, bad = 12, 4
    dice = [0.2] * bad + [0.9] * (n - bad)
    rank = [i / n for i in range(n)]  # ascending with the quality
    perfect = sum(Fraction(k - n + bad, k) for k in range(n - bad + 1, n + 1)) / n
    worst = (bad + sum(Fraction(bad, k) for k in range(bad + 1, n + 1))) / n
    forward, backward = (risk_coverage(score, dice, acceptable=0.7) for score in (rank, [1 - r for r in rank]))
    assert forward.area == pytest.approx(float(perfect))
    assert forward.excess == pytest.approx(0)
    assert backward.area == pytest.approx(float(worst))
    useless = risk_coverage([0.5] * n, dice, acceptable=0.7)
    assert useless.area == pytest.approx(bad / n) == useless.random
    torch.testing.assert_close(useless.coverage, torch.arange(1, n + 1, dtype=torch.float64) / n)


def naive_share(agreement, dice, sent, bad):
    """Both numbers whole: the mean over all orders of the ties in both scores."""
    shares = []
    for by_agreement in orders([-a for a in agreement]):
        for by_dice in orders([-d for d in dice]):
            shares.append(len(set(by_agreement[:sent]) & set(by_dice[:bad])) / bad)
    return sum(shares) / len(shares)


@given(cases.filter(lambda pairs: len(pairs) < 6), st.data())
def test_share_removed_is_the_mean_over_all_orders(pairs, data):
    agreement, dice = split(pairs)
    sent, bad = (data.draw(st.integers(1, len(pairs))) for _ in range(2))
    found = share_removed(agreement, dice, sent / len(pairs), bad / len(pairs))
    assert found == pytest.approx(naive_share(agreement, dice, sent, bad))


@given(st.integers(1, 40), st.data())
def test_share_removed_of_perfect_and_reversed_scores(n, data):
    reviewed, worst = (data.draw(st.integers(1, n)) / n for _ in range(2))
    dice = torch.arange(n) / n
    assert share_removed(dice, dice, reviewed, worst) == pytest.approx(min(1.0, reviewed / worst))
    assert share_removed(-dice, dice, reviewed, worst) == pytest.approx(
        max(0.0, reviewed + worst - 1) / worst, abs=1e-9
    )


@given(st.integers(1, 40), st.floats(0.01, 1), st.floats(0.01, 1))
def test_share_removed_of_a_useless_score_is_the_share_reviewed_for_any_number_of_cases(n, reviewed, worst):
    assert share_removed(torch.ones(n), torch.arange(n) / n, reviewed, worst) == pytest.approx(reviewed)


@pytest.mark.parametrize("name", ["reviewed", "worst"])
@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_refuses_shares(name, share):
    refuses(ValueError, rf"{name} must lie in \(0, 1\]", share_removed, [0.5], [0.5], **{name: share})


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


test_refuses = refusals(
    (lambda: risk_coverage([], []), "at least one case"),
    (lambda: risk_coverage([0.5], [0.5, 0.6]), r"\(1,\) and \(2,\)"),
    (lambda: risk_coverage([[0.5]], [[0.5]]), "agreement must be a number"),
    (lambda: risk_coverage([float("nan")], [0.5]), "agreement must be finite, got 1"),
    (lambda: risk_coverage([0.5], [float("inf")]), "dice must be finite"),
    (lambda: risk_coverage([0.5], [1.5]), r"dice must lie in \[0, 1\], got 1.5"),
    (lambda: risk_coverage([0.5], [0.5], acceptable=0), r"acceptable must lie in \(0, 1\]"),
    (lambda: sample_agreement(torch.zeros((2, 1, 1, 4, 4))), r"samples must have shape .* K >= 2"),
    (lambda: sample_agreement(torch.zeros((2, 0, 1, 4, 4))), r"samples must have shape .* K >= 2"),
    (lambda: sample_agreement(torch.zeros((2, 4, 4))), r"samples must have shape .* K >= 2"),
    (lambda: sample_agreement(torch.full((1, 2, 1, 2, 2), 0.5)), "0 and 1 only"),
    (lambda: sample_agreement(torch.tensor([1.0, torch.nan]).reshape(1, 2, 1, 1, 1).expand(1, 2, 1, 2, 2)), "got NaN"),
)
