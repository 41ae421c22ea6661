"""The divergence of Gaussians against torch's, a Monte-Carlo estimate, and at the ends of the number range."""

from __future__ import annotations

import math

import pytest
import torch
from helper import assert_batch_equals_elements, assert_gradient, random_tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from infomri_monai.information import gaussian_kl

SHAPE = (3, 2, 4, 5)


def case(shape=SHAPE, dtype=torch.float64):
    return [random_tensor(shape, dtype, seed) for seed in range(4)]


def normals(mean_q, log_variance_q, mean_p, log_variance_p):
    return Normal(mean_q, torch.exp(0.5 * log_variance_q)), Normal(mean_p, torch.exp(0.5 * log_variance_p))


def test_is_torchs_divergence():
    arguments = case()
    expected = kl_divergence(*normals(*arguments))
    torch.testing.assert_close(gaussian_kl(*arguments, "none"), expected)
    torch.testing.assert_close(gaussian_kl(*arguments, "batch"), expected.sum((1, 2, 3)))
    torch.testing.assert_close(gaussian_kl(*arguments), expected.sum() / SHAPE[0])


def test_is_the_mean_log_ratio_of_samples(generator):
    """E_q[log q - log p] of 200,000 samples, within four standard errors."""
    arguments = [torch.tensor([value], dtype=torch.float64) for value in (0.3, -1.0, -0.5, 0.4)]
    q, p = normals(*arguments)
    z = arguments[0] + q.stddev * torch.randn(200_000, dtype=torch.float64, generator=generator)
    ratio = q.log_prob(z) - p.log_prob(z)
    error = float(ratio.std()) / math.sqrt(len(z))
    assert float(gaussian_kl(*(a[None] for a in arguments))) == pytest.approx(float(ratio.mean()), abs=4 * error)


@pytest.mark.parametrize("reduction", ["sum", "batch", "none"])
def test_gradient(reduction):
    assert_gradient(lambda *a: gaussian_kl(*a, reduction), *case((2, 2, 3)))


def test_batch_is_its_elements():
    assert_batch_equals_elements(lambda *a: gaussian_kl(*a, "batch"), *case())


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.floats(-20, 20), min_size=4, max_size=4))
def test_is_positive_and_zero_for_equal_distributions(values):
    q, p = ([torch.tensor([[v]], dtype=torch.float64) for v in pair] for pair in (values[:2], values[2:]))
    assert float(gaussian_kl(*q, *p)) >= 0
    assert float(gaussian_kl(*q, *q)) == 0


@pytest.mark.parametrize("difference", [1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_nearly_equal_variances_in_float32(difference, sign):
    """d^2 / 4 for a small difference d of log-variances; exp(d) - 1 - d would be wrong by 1e-7 whatever d."""
    zero, d = torch.zeros(1, 1), torch.full((1, 1), sign * difference)
    expected = 0.5 * (math.expm1(d.double().item()) - d.double().item())
    assert float(gaussian_kl(zero, d, zero, zero)) == pytest.approx(expected, abs=1.2e-7 * difference)


@pytest.mark.parametrize("log_variance_q", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("log_variance_p", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_extreme_variances_are_finite_and_are_drawn_together(log_variance_q, log_variance_p):
    """16 x 64 x 64 latents whose means differ by 30: no Inf, no NaN, and the gradient has the right sign even there."""
    shape = (1, 16, 64, 64)
    mean_q, mean_p = torch.zeros(shape, requires_grad=True), torch.full(shape, 30.0, requires_grad=True)
    q, p = (torch.full(shape, value, requires_grad=True) for value in (log_variance_q, log_variance_p))
    kl = gaussian_kl(mean_q, q, mean_p, p)
    assert 0 <= float(kl.detach()) < math.inf
    kl.backward()
    for tensor in (mean_q, q, mean_p, p):
        assert torch.isfinite(tensor.grad).all()
    assert (mean_q.grad <= 0).all()
    assert (mean_p.grad >= 0).all()
    assert (q.grad * (log_variance_q - log_variance_p) >= 0).all()
    if log_variance_q >= log_variance_p + 100:
        assert (p.grad < 0).all()


def test_large_ratios_are_a_lower_bound():
    zero, ratio = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 70.0, dtype=torch.float64)
    bound, exact = float(gaussian_kl(zero, ratio, zero, zero)), 0.5 * (math.expm1(70) - 70)
    assert 0.5 * math.exp(60) < bound < exact


def test_latents_of_no_elements_have_no_divergence():
    none = torch.zeros(3, 0, 1, 1, requires_grad=True)
    kl = gaussian_kl(none, none, none, none)
    kl.backward()
    assert kl.item() == 0
    assert gaussian_kl(none, none, none, none, "batch").tolist() == [0, 0, 0]


def test_refuses_shapes_and_reduction():
    q, variance, p, other = case()
    with pytest.raises(ValueError, match=r"must have one shape, got .*\(2, 2, 4, 5\)"):
        gaussian_kl(q, variance, p, other[:2])
    with pytest.raises(ValueError, match="reduction must be 'sum', 'batch' or 'none', got 'mean'"):
        gaussian_kl(q, variance, p, other, "mean")
