"""Entropies against closed forms and scipy, their gradients to the ends of [0, 1]."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import assert_gradient, random_tensor
from scipy import stats
from torch.distributions import Bernoulli, Categorical

from infomri_monai.information import bernoulli_entropy, categorical_entropy


def simplex(shape=(3, 4, 2, 5), dim=1):
    return torch.softmax(random_tensor(shape, torch.float64), dim)


@pytest.mark.parametrize("dim", [0, 1, -3, -1])
def test_categorical_is_scipys(dim):
    probabilities = simplex(dim=dim)
    expected = stats.entropy(probabilities.numpy(), axis=dim)
    np.testing.assert_allclose(categorical_entropy(probabilities, dim).numpy(), expected, rtol=1e-12)


def test_is_torchs():
    probabilities = simplex()
    torch.testing.assert_close(categorical_entropy(probabilities), Categorical(probabilities.movedim(1, -1)).entropy())
    torch.testing.assert_close(bernoulli_entropy(probabilities), Bernoulli(probabilities).entropy())


def test_a_binary_variable_is_two_classes():
    p = torch.linspace(0, 1, 11)[None]
    torch.testing.assert_close(bernoulli_entropy(p)[0], categorical_entropy(torch.stack([p, 1 - p], 1))[0])


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_is_log_c_and_certain_is_exactly_zero(classes, dtype):
    uniform = torch.full((1, classes, 2), 1 / classes, dtype=dtype)
    torch.testing.assert_close(categorical_entropy(uniform), torch.full((1, 2), math.log(classes), dtype=dtype))
    certain = torch.eye(classes, dtype=dtype)
    assert (categorical_entropy(certain) == 0).all()
    assert (bernoulli_entropy(certain) == 0).all()
    assert float(bernoulli_entropy(torch.tensor(0.5, dtype=dtype))) == pytest.approx(math.log(2))


def test_smallest_numbers_of_float32():
    tiny = torch.tensor([1e-45, 1e-40, 1e-38, 1e-20])
    torch.testing.assert_close(
        bernoulli_entropy(tiny), -tiny * torch.log(tiny.double()).float() + tiny, rtol=0.2, atol=1e-40
    )


def test_gradient():
    assert_gradient(categorical_entropy, simplex((2, 3, 2)))
    assert_gradient(bernoulli_entropy, simplex((2, 3)))


@pytest.mark.parametrize("entropy", [categorical_entropy, bernoulli_entropy])
def test_gradient_is_finite_and_points_to_uncertainty_at_the_ends(entropy):
    p = torch.eye(3).requires_grad_()
    entropy(p).sum().backward()
    assert torch.isfinite(p.grad).all()
    assert (p.grad[p == 0] > 10).all()
    assert (p.grad[p == 1] < 0).all()
