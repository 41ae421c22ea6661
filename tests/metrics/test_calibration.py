"""Calibration measures by Monte-Carlo, closed forms, SciPy and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helper import assert_batch_equals_elements, random_tensor, refuses
from scipy.stats import norm

from infomri_monai.metrics import (
    IntervalScale,
    error_by_sigma,
    inside_object,
    interval_coverage,
    magnitude_coverage,
    stack_posterior,
    standardized_squared_error,
    uncertainty_error_correlation,
)

SHAPE = (2, 1, 100, 101)
KINDS = [torch.float32, torch.complex64]
FUNCTIONS = [standardized_squared_error, uncertainty_error_correlation, interval_coverage]


def posterior(dtype, misjudged=1.0, spread=0.5):
    """Target, mean and log-variance where the true error has ``misjudged`` times the stated sigma (per component)."""
    log_variance = 2 * spread * random_tensor(SHAPE, torch.float32, 1)
    mean = random_tensor(SHAPE, dtype, 2)
    unit = random_tensor(SHAPE, dtype, 3) * (math.sqrt(2) if dtype.is_complex else 1)  # torch's complex variance is 1
    return mean + misjudged * unit * torch.exp(0.5 * log_variance), mean, log_variance


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("misjudged", [0.5, 1.0, 2.0])
def test_gaussian_errors(dtype, misjudged):
    case = posterior(dtype, misjudged)
    variance = torch.full((2,), misjudged**2)
    torch.testing.assert_close(standardized_squared_error(*case), variance, rtol=0.06, atol=0)
    for level in (0.5, 0.9):
        share = 2 * norm.cdf(norm.ppf(0.5 + level / 2) / misjudged) - 1
        torch.testing.assert_close(
            interval_coverage(*case, level), torch.full((2,), share), rtol=0, atol=0.02, check_dtype=False
        )
    sigma, error = error_by_sigma(*case, bins=5)
    assert (sigma.diff() > 0).all()
    torch.testing.assert_close(error / sigma, torch.full((5,), misjudged), rtol=0.07, atol=0)


@pytest.mark.parametrize(("dtype", "shape_factor"), [(torch.float32, math.pi / 2), (torch.complex64, 4 / math.pi)])
def test_correlation_of_a_calibrated_lognormal_sigma(dtype, shape_factor):
    """corr(s, s r) = E[r] Var[s] / sqrt(Var[s] Var[s r]) with E[r^2] = shape_factor E[r]^2 (half-normal, Rayleigh)."""
    spread = 0.5
    ratio = math.exp(spread**2)  # E[s^2] / E[s]^2
    expected = (ratio - 1) / math.sqrt((ratio - 1) * (shape_factor * ratio - 1))
    case = posterior(dtype, spread=spread)
    torch.testing.assert_close(uncertainty_error_correlation(*case), torch.full((2,), expected), rtol=0, atol=0.03)


@pytest.mark.parametrize("dtype", KINDS)
def test_correlation_is_numpys(dtype):
    target, mean, log_variance = posterior(dtype)
    sigma, error = torch.exp(0.5 * log_variance).numpy(), (target - mean).abs().numpy()
    expected = [np.corrcoef(sigma[i].ravel(), error[i].ravel())[0, 1] for i in range(2)]
    np.testing.assert_allclose(uncertainty_error_correlation(target, mean, log_variance).numpy(), expected, atol=1e-5)
    pooled = uncertainty_error_correlation(target, mean, log_variance, pooled=True)
    assert pooled.item() == pytest.approx(np.corrcoef(sigma.ravel(), error.ravel())[0, 1], abs=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", KINDS)
def test_units_do_not_matter_and_batch_is_its_elements(function, dtype):
    target, mean, log_variance = posterior(dtype)
    assert_batch_equals_elements(function, target, mean, log_variance)
    scaled = function(1e-3 * target, 1e-3 * mean, log_variance + 2 * math.log(1e-3))
    torch.testing.assert_close(scaled, function(target, mean, log_variance), rtol=1e-3, atol=1e-3)


def test_constant_sigma_or_error_has_no_correlation():
    target, mean, log_variance = posterior(torch.float32)
    assert uncertainty_error_correlation(target, mean, torch.full_like(mean, -3.3)).isnan().all()
    assert uncertainty_error_correlation(mean, mean, log_variance).isnan().all()


@pytest.mark.parametrize("function", [*FUNCTIONS, error_by_sigma])
def test_refuses_shapes_and_kinds(function):
    target, mean, log_variance = posterior(torch.float32)
    refuses(ValueError, "must have one shape", function, target, mean[:1], log_variance)
    refuses(ValueError, "both be real or both complex", function, target.to(torch.complex64), mean, log_variance)
    refuses(ValueError, "log_variance must be real", function, target, mean, log_variance.to(torch.complex64))


def test_the_object_is_what_has_signal_on_all_sides():
    yy, xx = torch.meshgrid(torch.arange(40), torch.arange(51), indexing="ij")
    radius = torch.hypot((yy - 19) / 15, (xx - 24) / 20)
    ring = (((radius < 1) & (radius > 0.8)) | ((radius < 0.5) & (xx < 24))).to(torch.complex64)[None, None]
    ring[..., 19, 10] = 0.02  # a gap of the ring
    noise = random_tensor(ring.shape, torch.complex64, 4)
    for scale in (1e-3, 1.0, 500.0):
        assert ((inside_object(scale * (ring + 0.02 * noise)) ^ (radius < 1)).sum() / (radius < 1).sum()) < 0.01
    assert not inside_object(torch.zeros(1, 1, 5, 5)).any()
    assert inside_object(torch.ones(1, 1, 4097, 4096)).all()  # more than torch.quantile takes
    assert inside_object(ring[..., None].expand(-1, -1, -1, -1, 3))[..., 1].sum() == inside_object(ring).sum()


@pytest.mark.parametrize("misjudged", [0.25, 1.0, 3.0])
def test_coverage_and_scale_of_magnitudes_count_the_object_only(misjudged):
    """Bright pixels with Gaussian errors of ``misjudged`` sigma in a background whose errors are beyond any interval."""
    sigma = 0.02 * torch.exp(0.3 * random_tensor((3, 1, 100, 101), torch.float32, 1))
    target = 1 + random_tensor(sigma.shape, torch.float32, 5).abs()
    mean = (target + misjudged * sigma * random_tensor(sigma.shape, torch.float32, 6)) * torch.exp(torch.tensor(1j))
    target[:, :, :30], target[2] = 0, 0
    share = 2 * norm.cdf(norm.ppf(0.95) / misjudged) - 1
    covered = magnitude_coverage(target, mean, 2 * sigma.log())
    torch.testing.assert_close(covered[:2], torch.full((2,), share, dtype=torch.float32), rtol=0, atol=0.015)
    assert covered[2].isnan()
    metric = IntervalScale()
    metric(stack_posterior(mean.abs(), 2 * sigma.log()), target)
    assert float(metric.aggregate()) == pytest.approx(misjudged, rel=0.03)


def test_refuses_level_and_bins():
    case = posterior(torch.float32)
    for level in (0.0, 1.0, -0.5, float("nan")):
        refuses(ValueError, "level must lie in", interval_coverage, *case, level)
        refuses(ValueError, "level must lie in", magnitude_coverage, *case, level)
    for bins in (0, 10**6):
        refuses(ValueError, "bins must lie in", error_by_sigma, *case, bins)
