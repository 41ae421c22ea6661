"""Noise models by Monte-Carlo against their closed forms; tolerances are four standard errors."""

from __future__ import annotations

import math

import pytest
import torch
from helper import random_tensor, refuses
from scipy.stats import rice

from infomri_monai.acquisition import ComplexGaussianNoise, PoissonNoise, RicianNoise, image_to_kspace, kspace_to_image

MODELS = [ComplexGaussianNoise(0.1), RicianNoise(0.1), PoissonNoise(1e3)]


def test_gaussian_has_its_std_in_every_component(generator):
    noise = ComplexGaussianNoise(0.3, relative_to_dc=False)(
        torch.zeros(50, 1, 64, 64, dtype=torch.complex64), generator
    )
    n = noise.numel()
    for component in (noise.real, noise.imag):
        assert component.mean().item() == pytest.approx(0, abs=4 * 0.3 / math.sqrt(n))
        assert component.std().item() == pytest.approx(0.3, abs=4 * 0.3 / math.sqrt(2 * n))
    assert (noise.real * noise.imag).mean().item() == pytest.approx(0, abs=4 * 0.09 / math.sqrt(n))


@pytest.mark.parametrize("grid", [(64, 64), (63, 64), (41, 77)])
def test_gaussian_relative_to_each_images_own_dc(grid, generator):
    image = torch.stack([torch.ones(1, *grid), 5 * torch.ones(1, *grid)])
    kspace = image_to_kspace(image)
    added = ComplexGaussianNoise(0.01)(kspace, generator) - kspace
    dc = torch.tensor([1.0, 5.0]) * math.sqrt(grid[0] * grid[1])
    measured = torch.view_as_real(added).flatten(1).std(1)
    torch.testing.assert_close(measured / dc, torch.full((2,), 0.01), rtol=4 / math.sqrt(4 * grid[0] * grid[1]), atol=0)


def test_gaussian_in_three_dimensions_and_zero_std(generator):
    kspace = image_to_kspace(torch.ones(1, 1, 8, 9, 10), 3)
    added = ComplexGaussianNoise(0.1, spatial_dims=3)(kspace, generator) - kspace
    assert torch.view_as_real(added).std().item() / math.sqrt(720) == pytest.approx(0.1, rel=0.1)
    assert ComplexGaussianNoise(0.0)(kspace) is kspace


@pytest.mark.parametrize("amplitude", [0.0, 1.0, 3.0])
def test_rician_mean_and_variance(amplitude, generator):
    sigma, grid = 0.5, (200, 1, 32, 33)
    kspace = image_to_kspace(torch.full(grid, amplitude))
    image = kspace_to_image(RicianNoise(sigma, relative_to_dc=False)(kspace, generator))
    law = rice(amplitude / sigma, scale=sigma)
    tolerance = 4 * law.std() / math.sqrt(image.numel())
    assert image.real.mean().item() == pytest.approx(law.mean(), abs=tolerance)
    assert image.real.var().item() == pytest.approx(law.var(), rel=0.02)
    assert image.imag.abs().max() < 1e-4


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_poisson_variance_follows_the_magnitude(share, generator):
    counts, dc, phase = 400.0, 8.0, 0.7
    kspace = torch.full((20_000, 1, 1, 2), share * dc, dtype=torch.complex64) * complex(
        math.cos(phase), math.sin(phase)
    )
    kspace[..., 1] = dc  # index n // 2
    noisy = PoissonNoise(counts)(kspace, generator)[..., 0]
    assert noisy.abs().mean().item() == pytest.approx(share * dc, rel=0.01)
    assert noisy.abs().var().item() == pytest.approx(share * dc * dc / counts, rel=4 * math.sqrt(2 / 20_000))
    torch.testing.assert_close(noisy.angle(), torch.full_like(noisy.real, phase))


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_shape_dtype_seed_and_zero_kspace(model):
    kspace = random_tensor((2, 3, 5, 6), torch.complex64)
    first, second = (model(kspace, torch.Generator().manual_seed(1)) for _ in range(2))
    assert (first.shape, first.dtype) == (kspace.shape, kspace.dtype)
    assert torch.equal(first, second)
    assert not torch.equal(first, model(kspace, torch.Generator().manual_seed(2)))
    assert torch.equal(model(torch.zeros_like(kspace)), torch.zeros_like(kspace))


def test_refuses_std_and_counts():
    for bad in (-1.0, float("nan"), float("inf")):
        for model in (ComplexGaussianNoise, RicianNoise):
            refuses(ValueError, "noise_std must be a finite number >= 0", model, bad)
        refuses(ValueError, "counts_at_dc must be a finite number > 0", PoissonNoise, bad)
    refuses(ValueError, "counts_at_dc must be a finite number > 0", PoissonNoise, 0.0)
