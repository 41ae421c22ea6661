"""The Gaussian likelihood against torch's distribution and loss, and its known optimum."""

from __future__ import annotations

import math

import pytest
import torch
from helper import assert_batch_equals_elements, assert_gradient, random_tensor
from torch.distributions import Normal
from torch.nn import GaussianNLLLoss

from infomri_monai.information import gaussian_nll

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


def test_is_torchs_loss():
    x, mean, log_variance = real_case()
    expected = GaussianNLLLoss(eps=1e-12)(mean, x, log_variance.exp())
    torch.testing.assert_close(gaussian_nll(x, mean, log_variance, "mean"), expected)


def test_complex_is_two_real_components():
    x, mean, log_variance = complex_case()
    parts = [gaussian_nll(a, b, log_variance) for a, b in ((x.real, mean.real), (x.imag, mean.imag))]
    torch.testing.assert_close(gaussian_nll(x, mean, log_variance), sum(parts))


@pytest.mark.parametrize("case", [real_case, complex_case])
def test_optimal_variance_is_the_squared_error_per_component(case):
    x, mean, _ = case()
    components = 2 if x.is_complex() else 1
    best = torch.log((x - mean).abs().square() / components).requires_grad_()
    gaussian_nll(x, mean, best).backward()
    torch.testing.assert_close(best.grad, torch.zeros_like(best))
    assert gaussian_nll(x, mean, best) < gaussian_nll(x, mean, best + 0.1)
    assert gaussian_nll(x, mean, best) < gaussian_nll(x, mean, best - 0.1)


@pytest.mark.parametrize("case", [real_case, complex_case])
def test_gradient_and_batch(case):
    inputs = [x[:2, :, :2, :3] for x in case()]
    assert_gradient(gaussian_nll, *inputs)
    assert_batch_equals_elements(lambda *a: gaussian_nll(*a, "none"), *inputs)


def test_refuses_shapes_kinds_and_reduction():
    x, mean, log_variance = real_case()
    with pytest.raises(ValueError, match="must have one shape"):
        gaussian_nll(x, mean[:1], log_variance)
    with pytest.raises(ValueError, match="both be real or both complex"):
        gaussian_nll(x.to(torch.complex128), mean, log_variance)
    with pytest.raises(ValueError, match="reduction must be"):
        gaussian_nll(x, mean, log_variance, "sum")
