"""The Gaussian likelihood against torch's distribution and loss, and its known optimum.

The divergence of Gaussians against torch's, a Monte-Carlo estimate, and at the ends of the number range.
Entropies against closed forms and scipy, their gradients to the ends of [0, 1].
"""

from __future__ import annotations

import math

import pytest
import torch
from helper import assert_batch_equals_elements, assert_gradient, random_tensor, refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from infomri_monai.information import bernoulli_entropy, categorical_entropy, gaussian_kl, gaussian_nll

SHAPE = (3, 1, 5, 6)


def real_case(seed=0):
    return [random_tensor(SHAPE, torch.float64, seed + i) for i in range(3)]


def complex_case():
    return [random_tensor(SHAPE, seed=0), random_tensor(SHAPE, seed=1), random_tensor(SHAPE, torch.float64, 2)]


def test_is_torchs_normal_without_the_constant():
    x, mean, log_variance = real_case()
    expected = -Normal(mean, torch.exp(0.5 * log_variance)).log_prob(x) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(gaussian_nll(x, mean, log_variance, "none"), expected)
    torch.testing.assert_close(gaussian_nll(x, mean, log_variance), expected.sum() / SHAPE[0])
    torch.testing.assert_close(gaussian_nll(x, mean, log_variance, "mean"), expected.mean())


def test_complex_is_two_real_components():
    x, mean, log_variance = complex_case()
    parts = [gaussian_nll(a, b, log_variance) for a, b in ((x.real, mean.real), (x.imag, mean.imag))]
    torch.testing.assert_close(gaussian_nll(x, mean, log_variance), sum(parts))


@pytest.mark.parametrize("case", [real_case, complex_case])
def test_gradient_and_batch(case):
    inputs = [x[:2, :, :2, :3] for x in case()]
    assert_gradient(gaussian_nll, *inputs)
    assert_batch_equals_elements(lambda *a: gaussian_nll(*a, "none"), *inputs)


def test_refuses_shapes_kinds_and_reduction():
    x, mean, log_variance = real_case()
    refuses(ValueError, "must have one shape", gaussian_nll, x, mean[:1], log_variance)
    refuses(ValueError, "both be real or both complex", gaussian_nll, x.to(torch.complex128), mean, log_variance)
    refuses(ValueError, "reduction must be", gaussian_nll, x, mean, log_variance, "sum")
    q, variance, p, other = case()
    refuses(ValueError, r"must have one shape, got .*\(2, 2, 4, 5\)", gaussian_kl, q, variance, p, other[:2])
    reductions = "reduction must be 'sum', 'batch' or 'none', got 'mean'"
    refuses(ValueError, reductions, gaussian_kl, q, variance, p, other, "mean")


@pytest.mark.parametrize("reduction", ["sum", "batch", "none"])
def test_gradient_and_batch_of_the_divergence(reduction):
    assert_gradient(lambda *a: gaussian_kl(*a, reduction), *case((2, 2, 3)))
    if reduction == "batch":
        assert_batch_equals_elements(lambda *a: gaussian_kl(*a, "batch"), *case())
        assert gaussian_kl(*[torch.zeros(3, 0, 1, 1)] * 4, "batch").tolist() == [0, 0, 0]  # latents of no elements


SHAPE_DIVERGENCE = (3, 2, 4, 5)


def case(shape=SHAPE_DIVERGENCE, dtype=torch.float64):
    return [random_tensor(shape, dtype, seed) for seed in range(4)]


def normals(mean_q, log_variance_q, mean_p, log_variance_p):
    return Normal(mean_q, torch.exp(0.5 * log_variance_q)), Normal(mean_p, torch.exp(0.5 * log_variance_p))


def test_is_torchs_divergence():
    arguments = case()
    expected = kl_divergence(*normals(*arguments))
    torch.testing.assert_close(gaussian_kl(*arguments, "none"), expected)
    torch.testing.assert_close(gaussian_kl(*arguments, "batch"), expected.sum((1, 2, 3)))
    torch.testing.assert_close(gaussian_kl(*arguments), expected.sum() / SHAPE_DIVERGENCE[0])


def test_is_the_mean_log_ratio_of_samples(generator):
    """E_q[log q - log p] of 200,000 samples, within four standard errors."""
    arguments = [torch.tensor([value], dtype=torch.float64) for value in (0.3, -1.0, -0.5, 0.4)]
    q, p = normals(*arguments)
    z = arguments[0] + q.stddev * torch.randn(200_000, dtype=torch.float64, generator=generator)
    ratio = q.log_prob(z) - p.log_prob(z)
    error = float(ratio.std()) / math.sqrt(len(z))
    assert float(gaussian_kl(*(a[None] for a in arguments))) == pytest.approx(float(ratio.mean()), abs=4 * error)


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
    mean_q, q, mean_p, p = tensors = [torch.full(shape, v) for v in (0.0, log_variance_q, 30.0, log_variance_p)]
    kl = gaussian_kl(*(tensor.requires_grad_() for tensor in tensors))
    assert 0 <= float(kl.detach()) < math.inf
    kl.backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors)
    assert (mean_q.grad <= 0).all()
    assert (mean_p.grad >= 0).all()
    assert (q.grad * (log_variance_q - log_variance_p) >= 0).all()
    if log_variance_q >= log_variance_p + 100:
        assert (p.grad < 0).all()


def test_entropies_and_their_gradients_are_torchs():
    probabilities = simplex()
    torch.testing.assert_close(categorical_entropy(probabilities), Categorical(probabilities.movedim(1, -1)).entropy())
    torch.testing.assert_close(bernoulli_entropy(probabilities), Bernoulli(probabilities).entropy())
    assert_gradient(categorical_entropy, simplex((2, 3, 2)))
    assert_gradient(bernoulli_entropy, simplex((2, 3)))
    tiny = torch.tensor([1e-45, 1e-40, 1e-38, 1e-20])
    expected = -tiny * torch.log(tiny.double()).float() + tiny
    torch.testing.assert_close(bernoulli_entropy(tiny), expected, rtol=0.2, atol=1e-40)


def simplex(shape=(3, 4, 2, 5), dim=1):
    return torch.softmax(random_tensor(shape, torch.float64), dim)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_is_log_c_and_certain_is_exactly_zero(classes, dtype):
    uniform = torch.full((1, classes, 2), 1 / classes, dtype=dtype)
    torch.testing.assert_close(categorical_entropy(uniform), torch.full((1, 2), math.log(classes), dtype=dtype))
    certain = torch.eye(classes, dtype=dtype)
    assert (categorical_entropy(certain) == 0).all()
    assert (bernoulli_entropy(certain) == 0).all()
    assert float(bernoulli_entropy(torch.tensor(0.5, dtype=dtype))) == pytest.approx(math.log(2))


@pytest.mark.parametrize("entropy", [categorical_entropy, bernoulli_entropy])
def test_gradient_is_finite_and_points_to_uncertainty_at_the_ends(entropy):
    p = torch.eye(3).requires_grad_()
    entropy(p).sum().backward()
    assert torch.isfinite(p.grad).all()
    assert (p.grad[p == 0] > 10).all()
    assert (p.grad[p == 1] < 0).all()


def test_large_ratios_are_a_lower_bound():
    zero, ratio = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 70.0, dtype=torch.float64)
    bound, exact = float(gaussian_kl(zero, ratio, zero, zero)), 0.5 * (math.expm1(70) - 70)
    assert 0.5 * math.exp(60) < bound < exact
