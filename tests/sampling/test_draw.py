"""Rescaling, the straight-through gradient and the bounded rejection.

Meeting the ratio by a shift of the logits: the root, its implicit derivative, and what it keeps that scaling loses.
"""

from __future__ import annotations

import pytest
import torch
from helper import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch.autograd import gradcheck

from infomri_monai.sampling.draw import (
    exact_count_threshold,
    rescale_probabilities,
    sample_within_tolerance,
    shift_to_ratio,
    straight_through,
)


def probabilities(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64) * 0.98 + 0.01


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0.001, 0.999), min_size=2, max_size=40), st.floats(0.001, 0.999))
def test_rescaling_by_equation_17(values, ratio):
    p = torch.tensor([values], dtype=torch.float64)
    scaled = rescale_probabilities(p, torch.tensor([ratio], dtype=torch.float64))
    assert float(scaled.mean()) == pytest.approx(ratio, abs=1e-9)
    assert bool(((scaled >= 0) & (scaled <= 1)).all())
    assert bool(
        ((p[0, :, None] < p[0, None, :]) <= (scaled[0, :, None] <= scaled[0, None, :])).all()
    )  # keeps the order
    # (17) as the paper prints it
    mean = float(p.mean())
    expected = p * ratio / mean if mean >= ratio else 1 - (1 - ratio) / (1 - mean) * (1 - p)
    torch.testing.assert_close(scaled, expected)


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_rescaling_degenerate_probabilities_stays_finite(constant):
    scaled = rescale_probabilities(torch.full((1, 9), constant), torch.tensor([0.3]))
    assert bool(torch.isfinite(scaled).all())


def test_gradient_of_the_rescaling():
    ratio = torch.tensor([0.2, 0.7], dtype=torch.float64)
    assert gradcheck(lambda p: rescale_probabilities(p, ratio), probabilities(2, 5).requires_grad_())


def test_the_half_weighted_gradient_is_the_trapezoidal_rule_in_the_mean():
    """Of L(m) = (a - m)^2 that is L(1) - L(0) exactly, at every probability above the bound on the weight."""
    p = torch.tensor([0.02, 0.3, 0.5, 0.97]).requires_grad_()
    a, draws = torch.tensor([0.2, 3.0, -1.0, 0.7]), 200_000
    u = torch.rand(draws, 4, generator=torch.Generator().manual_seed(0))
    mask = straight_through(p.expand(draws, 4), u, slope=None)
    assert torch.equal(mask, (u < p).float())
    ((a - mask) ** 2).mean(0).sum().backward()
    torch.testing.assert_close(p.grad, 1 - 2 * a, rtol=0.03, atol=0.03)
    rare = torch.tensor([1e-5, 1 - 1e-5]).requires_grad_()
    straight_through(rare, torch.tensor([0.0, 1.0]), slope=None).sum().backward()
    assert rare.grad.tolist() == pytest.approx([50, 50])


def test_straight_through_is_hard_forward_and_soft_backward():
    p, u = probabilities(40, seed=1).requires_grad_(), probabilities(40, seed=2)
    weight = probabilities(40, seed=3)
    hard = straight_through(p, u, slope=7.0)
    assert torch.equal(hard, (p > u).double())
    (gradient,) = torch.autograd.grad((hard * weight).sum(), p)
    (expected,) = torch.autograd.grad((torch.sigmoid(7.0 * (p - u)) * weight).sum(), p)
    torch.testing.assert_close(gradient, expected)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0.0, 1e-6, 0.1, 0.5, 0.9, 1.0]), min_size=1, max_size=50), st.data())
def test_fallback_meets_every_count_exactly(values, data):
    count = data.draw(st.integers(1, len(values)))
    seed = data.draw(st.integers(0, 1000))
    p = torch.tensor([values], dtype=torch.float32)
    u = torch.rand(p.shape, generator=seeded(seed))
    moved = exact_count_threshold(p, u, torch.tensor([count]))
    assert int((p > moved).sum()) == count


@settings(deadline=None, max_examples=25)
@given(st.floats(0.02, 1.0), st.integers(3, 20), st.integers(3, 20), st.integers(1, 5), st.integers(0, 1000))
def test_sampling_always_ends_within_tolerance(ratio, height, width, proposals, seed):
    n = height * width
    ratio = max(ratio, 1 / n)
    s = torch.tensor([ratio, 1 - 0.5 * ratio])
    p = rescale_probabilities(probabilities(2, height, width, seed=seed).float(), s)
    mask = sample_within_tolerance(p, s, tolerance=0.0, proposals=proposals, generator=seeded(seed))
    assert float((mask.mean((1, 2)) - s).abs().max()) <= 0.5 / n + 2e-6


@pytest.mark.parametrize("n", [64, 15, 1000])
def test_a_single_mask_takes_the_proposal_that_drawing_all_at_once_would_take(n):
    p = probabilities(1, n).float()
    p = p * 0.3 / p.mean()
    taken = []
    for seed in range(40):
        mask = sample_within_tolerance(p, torch.tensor([0.3]), tolerance=0.005, proposals=4, generator=seeded(seed))
        together = p.unsqueeze(1) > torch.rand((1, 4, n), generator=seeded(seed))
        met = (together.float().mean(2)[0] - 0.3).abs() <= max(0.005, 0.5 / n) + 1e-6
        taken.append(int(met.float().argmax()) if met.any() else None)
        if taken[-1] is not None:
            assert torch.equal(mask[0], together[0, taken[-1]].float())
        else:  # the first one, moved to the exact count
            assert int(mask.sum()) == round(0.3 * n)
            assert int((mask[0] != together[0, 0].float()).sum()) == abs(int(mask.sum()) - int(together[0, 0].sum()))
    assert set(taken) >= {0, 1, None}


def test_gradient_reaches_the_probabilities_through_the_fallback():
    p = torch.full((1, 100), 0.9, requires_grad=True)
    sample_within_tolerance(p, torch.tensor([0.1]), proposals=1, generator=seeded()).sum().backward()
    assert float(p.grad.min()) > 0


@pytest.mark.parametrize("arguments", [{"proposals": 0}, {"tolerance": -1e-3}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        sample_within_tolerance(torch.full((1, 4), 0.5), torch.tensor([0.5]), **arguments)


def test_a_ratio_below_the_tolerance_never_gives_an_empty_mask():
    ratio = torch.full((200,), 3e-4)
    masks = sample_within_tolerance(torch.full((200, 4096), 3e-4), ratio, generator=torch.Generator().manual_seed(0))
    assert masks.sum(1).min() >= 1


def logits(n, seed=0, spread=4.0, dtype=torch.float64):
    return spread * torch.randn((1, 1, n), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 300), seed=st.integers(0, 99), spread=st.floats(0.1, 30))
def test_against_a_root_finder_with_a_ratio_for_every_sample(n, seed, spread):
    start, ratios = logits(n, seed, spread), [0.0517, 0.3031, 0.8019]
    p, ends = shift_to_ratio(start, torch.tensor(ratios, dtype=torch.float64)), start.aminmax()
    for row, ratio in zip(p, ratios, strict=True):
        excess = lambda t, s=ratio: (torch.sigmoid(start - t).mean() - s).item()  # noqa: E731
        tau = brentq(excess, float(ends.min) - 20, float(ends.max) + 20, xtol=1e-12)
        torch.testing.assert_close(row, torch.sigmoid(start - tau)[0], atol=1e-6, rtol=0)


def test_gradient_is_the_implicit_one():
    ratio = torch.tensor([0.2, 0.6], dtype=torch.float64)
    start = logits(7, spread=1.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: shift_to_ratio(x, ratio), (start,), atol=1e-5)
    weights = torch.rand((2, 1, 7), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (weights * shift_to_ratio(start, ratio)).sum().backward()
    with torch.no_grad():
        d = (p := shift_to_ratio(start, ratio)) * (1 - p)
        expected = d * (weights - (d * weights).sum(2, keepdim=True) / d.sum(2, keepdim=True))
    torch.testing.assert_close(start.grad, expected.sum(0, keepdim=True))


def test_full_ratio_takes_everything():
    assert shift_to_ratio(logits(30, dtype=torch.float32), torch.ones(1)).min() > 0.999


def test_sure_positions_stay_sure_where_scaling_lowers_them():
    start = torch.full((1, 1, 100), 0.0)
    start[..., 50] = 30.0
    ratio = torch.tensor([0.1])
    assert shift_to_ratio(start, ratio)[0, 0, 50] > 0.999
    assert rescale_probabilities(torch.sigmoid(start), ratio)[0, 0, 50] < 0.25
