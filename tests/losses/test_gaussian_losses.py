"""Losses against numbers worked out by hand and torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from helper import refusals
from torch.nn import functional as F

from infomri_monai.losses import GaussianNLLLoss, MeanSquaredErrorLoss
from infomri_monai.systems import ReconstructionResult


def result(mean, log_variance=None):
    """Of a network that says nothing of the magnitude."""
    rest = dict.fromkeys(ReconstructionResult._fields, mean) | {"magnitude_log_variance": None}
    return ReconstructionResult(**{**rest, "log_variance": mean.abs() if log_variance is None else log_variance})


@pytest.mark.parametrize("grid", [(5, 4), (3, 3)])
def test_is_torchs_gaussian_nll(grid, generator):
    x, mean, log_variance = (torch.randn(2, 1, *grid, generator=generator) for _ in range(3))
    expected = F.gaussian_nll_loss(mean, x, log_variance.exp())
    torch.testing.assert_close(GaussianNLLLoss()(result(mean, log_variance), x), expected)
    torch.testing.assert_close(MeanSquaredErrorLoss()(result(mean), x), F.mse_loss(mean, x))


def test_a_complex_pixel_is_two_real_ones(generator):
    x, mean = (torch.randn(2, 1, 3, 4, dtype=torch.complex64, generator=generator) for _ in range(2))
    log_variance = torch.randn(2, 1, 3, 4, generator=generator)
    components = F.gaussian_nll_loss(
        torch.view_as_real(mean), torch.view_as_real(x), log_variance.exp()[..., None].expand(2, 1, 3, 4, 2)
    )
    torch.testing.assert_close(GaussianNLLLoss()(result(mean, log_variance), x), 2 * components)
    squares = F.mse_loss(torch.view_as_real(mean), torch.view_as_real(x))
    torch.testing.assert_close(MeanSquaredErrorLoss()(result(mean), x), 2 * squares)


def test_a_real_image_beside_a_complex_mean_has_no_imaginary_part(generator):
    x = torch.randn(1, 1, 3, 3, generator=generator)
    mean = torch.complex(x, torch.full_like(x, 2))
    assert float(MeanSquaredErrorLoss()(result(mean), x)) == pytest.approx(4)
    assert float(GaussianNLLLoss()(result(mean, torch.zeros_like(x)), x)) == pytest.approx(2)


def test_the_magnitudes_likelihood_is_added_and_trains_its_variance_alone(generator):
    x, mean = (torch.randn(2, 1, 3, 4, dtype=torch.complex64, generator=generator) for _ in range(2))
    log_variance, own = torch.randn(2, 2, 1, 3, 4, generator=generator)
    mean.requires_grad_(), own.requires_grad_()
    without = GaussianNLLLoss()(result(mean, log_variance), x)
    whole = GaussianNLLLoss()(result(mean, log_variance)._replace(magnitude_log_variance=own), x)
    expected = F.gaussian_nll_loss(mean.abs(), x.abs(), own.exp())
    torch.testing.assert_close(whole - without, expected)
    both = torch.autograd.grad(whole, [mean, own])
    torch.testing.assert_close(both[0], torch.autograd.grad(without, mean)[0])
    torch.testing.assert_close(both[1], torch.autograd.grad(expected, own)[0])


def test_mse_leaves_the_variance_alone():
    mean = torch.zeros(1, 1, 2, 2, requires_grad=True)
    log_variance = torch.zeros(1, 1, 2, 2, requires_grad=True)
    MeanSquaredErrorLoss()(result(mean, log_variance), torch.ones(1, 1, 2, 2)).backward()
    assert log_variance.grad is None
    assert mean.grad.tolist() == [[[[-0.5, -0.5], [-0.5, -0.5]]]]


def test_variance_weighting_by_hand():
    """Two pixels of variance 1 and 4 with errors 1 and 2: beta = 0.5 weighs them 1 : 2, so (1/3) 0.5 + (2/3) (1 + log 4) / 2."""
    x, mean = torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[0.0, 3.0]]]], requires_grad=True)
    log_variance = torch.tensor([[[[0.0, math.log(4)]]]], requires_grad=True)
    loss = GaussianNLLLoss(variance_weighting=0.5)(result(mean, log_variance), x)
    assert float(loss.detach()) == pytest.approx(0.5 / 3 + (1 + math.log(4)) / 3)
    loss.backward()
    # the weights are constants: d/dmean = -w error / variance, d/dlog_variance = w (1 - error^2 / variance) / 2 = 0
    assert mean.grad.flatten().tolist() == pytest.approx([-1 / 3, -2 / 3 * 2 / 4])
    assert log_variance.grad.flatten().tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    sums = GaussianNLLLoss("sum_pixels", 0.5)(result(mean.detach(), log_variance.detach()), x)
    assert float(sums) == pytest.approx(2 * float(loss.detach()))


def test_full_variance_weighting_gives_the_mean_the_gradient_of_a_squared_error(generator):
    """Per image, up to a factor; and images of large and of small variance count the same."""
    x = torch.randn(2, 1, 4, 5, generator=generator)
    mean = torch.randn(2, 1, 4, 5, generator=generator).requires_grad_()
    log_variance = torch.randn(2, 1, 4, 5, generator=generator)
    log_variance[1] -= 7
    GaussianNLLLoss(variance_weighting=1.0)(result(mean, log_variance), x).backward()
    factor = mean.grad / (mean - x).detach()
    expected = 0.5 / log_variance.exp().flatten(1).sum(1)
    torch.testing.assert_close(factor, expected.reshape(2, 1, 1, 1).expand_as(factor), rtol=1e-4, atol=0)


test_refuses = refusals(
    (lambda: GaussianNLLLoss("none"), "reduction must be 'mean' or 'sum_pixels', got 'none'"),
    (lambda: GaussianNLLLoss(variance_weighting=-0.1), r"variance_weighting must lie in \[0, 1\]"),
    (lambda: GaussianNLLLoss(variance_weighting=1.5), r"variance_weighting must lie in \[0, 1\]"),
    (lambda: GaussianNLLLoss(variance_weighting=math.nan), r"variance_weighting must lie in \[0, 1\]"),
    (lambda: GaussianNLLLoss()(result(torch.zeros(1, 1)), torch.zeros(1, 1) + 0j), "both be real or both complex"),
)
