"""Meeting the ratio by a shift of the logits: the root, its implicit derivative, and what it keeps that scaling loses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from infomri_monai.sampling.draw import rescale_probabilities, shift_to_ratio


def logits(n, seed=0, spread=4.0, dtype=torch.float64):
    return spread * torch.randn((1, 1, n), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 300), ratio=st.floats(0.01, 0.99), seed=st.integers(0, 99), spread=st.floats(0.1, 30))
def test_mean_is_the_ratio_and_order_is_kept(n, ratio, seed, spread):
    start = logits(n, seed, spread)
    p = shift_to_ratio(start, torch.tensor([ratio], dtype=torch.float64))
    assert p.mean().item() == pytest.approx(ratio, abs=1e-6)
    assert ((p >= 0) & (p <= 1)).all()
    assert (p.flatten()[start.flatten().argsort()].diff() >= 0).all()


def test_against_a_root_finder_with_a_ratio_for_every_sample():
    start, ratios = logits(50), [0.05, 0.3, 0.8]
    p = shift_to_ratio(start, torch.tensor(ratios, dtype=torch.float64))
    for row, ratio in zip(p, ratios, strict=True):
        tau = brentq(lambda t, s=ratio: (torch.sigmoid(start - t).mean() - s).item(), -50, 50, xtol=1e-12)
        torch.testing.assert_close(row, torch.sigmoid(start - tau)[0], atol=1e-7, rtol=0)


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


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 300), ratio=st.floats(0.01, 0.99), seed=st.integers(0, 99), spread=st.floats(0.1, 30))
def test_probabilities_are_those_of_plain_bisection(n, ratio, seed, spread):
    start = logits(n, seed, spread)
    low, high = start.min() - 20, start.max() + 20
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if torch.sigmoid(start - middle).mean() > ratio else (low, middle)
    p = shift_to_ratio(start, torch.tensor([ratio], dtype=torch.float64))
    torch.testing.assert_close(p, torch.sigmoid(start - low), atol=1e-6, rtol=0)


def test_full_ratio_takes_everything():
    assert shift_to_ratio(logits(30, dtype=torch.float32), torch.ones(1)).min() > 0.999


def test_sure_positions_stay_sure_where_scaling_lowers_them():
    start = torch.full((1, 1, 100), 0.0)
    start[..., 50] = 30.0
    ratio = torch.tensor([0.1])
    assert shift_to_ratio(start, ratio)[0, 0, 50] > 0.999
    assert rescale_probabilities(torch.sigmoid(start), ratio)[0, 0, 50] < 0.25
