"""Noise models by Monte-Carlo against their closed forms; tolerances are four standard errors."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from helper import random_tensor, refuses, refuses_each
from monai.transforms import NormalizeIntensity
from scipy.stats import rice

from infomri_monai.acquisition import (
    ComplexGaussianNoise,
    FourierMeasurement,
    PoissonNoise,
    RicianNoise,
    image_to_kspace,
    kspace_to_image,
)

MODELS = [ComplexGaussianNoise(0.1), RicianNoise(0.1), PoissonNoise(0.1)]


def head(*grid: int) -> torch.Tensor:
    """The same object on any grid: an ellipse with a bright spot, mean intensity about a fifth of its peak."""
    axes = [(torch.arange(n) - n // 2) / n for n in grid]
    square = sum((3 * a).square() for a in torch.meshgrid(*axes, indexing="ij"))
    return ((square < 1) * 0.6 + (square < 0.02) * 0.9)[None, None].float()


def image_noise(model, image, dims: int = 2) -> torch.Tensor:
    """Root mean square of the image's noise per real component, as a share of its peak."""
    kspace = image_to_kspace(image, dims)
    added = kspace_to_image(model(kspace, torch.Generator().manual_seed(0)) - kspace, dims)
    return torch.view_as_real(added).square().mean().sqrt() / image.abs().max()


@pytest.mark.parametrize("make", [ComplexGaussianNoise, PoissonNoise])
@pytest.mark.parametrize("grid", [(64, 64), (63, 96), (96, 96), (200, 200), (512, 512), (128, 128, 128)])
def test_the_same_noise_on_every_grid(grid, make):
    dims, image = len(grid), head(*grid)
    found = image_noise(make(0.01, spatial_dims=dims), image, dims)
    assert float(found) == pytest.approx(0.01, rel=4 / math.sqrt(4 * image.numel()) + 0.1 * (make is PoissonNoise))


def test_dc_grows_with_the_grid_and_peak_does_not():
    """What 5e-4 of DC is of the mean intensity: 0.05 % times the root of the number of pixels."""
    shares = {}
    for grid in ((64, 64), (200, 200), (512, 512), (128, 128, 128)):
        image, dims = head(*grid), len(grid)
        for reference, std in (("dc", 5e-4), ("peak", 0.01)):
            noise = image_noise(ComplexGaussianNoise(std, reference, dims), image, dims)
            share = noise * image.max() / image.mean() if reference == "dc" else noise
            shares[reference, grid] = round(100 * float(share))
    assert [share for (reference, _), share in shares.items() if reference == "dc"] == [3, 10, 26, 72]
    assert {share for (reference, _), share in shares.items() if reference == "peak"} == {1}


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("change", ["", "NormalizeIntensity", "linear phase"])
def test_the_same_noise_with_any_normalisation_and_phase(change, scale):
    image = head(96, 96)
    if change == "NormalizeIntensity":
        image = NormalizeIntensity()(image[0]).as_tensor()[None]
    if change == "linear phase":
        image = image * torch.exp(0.7j * torch.arange(96))
    assert float(image_noise(ComplexGaussianNoise(0.01), image * scale)) == pytest.approx(0.01, rel=0.03)
    if change:
        with pytest.warns(UserWarning, match="reference='dc': the DC sample is not the largest"):
            assert float(image_noise(ComplexGaussianNoise(5e-4, "dc"), image)) < 1e-3


@pytest.mark.parametrize("reference", ["peak", "dc"])
@pytest.mark.parametrize("model", [ComplexGaussianNoise, RicianNoise, PoissonNoise])
def test_an_image_of_zeros_is_told_once(model, reference):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            assert not model(0.1, reference)(torch.zeros(2, 1, 6, 6, dtype=torch.complex64)).any()
    assert [str(one.message)[:40] for one in told] == [f"reference={reference!r}: an image is zero everywhere"[:40]]


@pytest.mark.parametrize("model", [ComplexGaussianNoise, RicianNoise, PoissonNoise])
def test_coils_share_the_peak_of_their_root_sum_of_squares(model):
    maps = random_tensor((1, 3, 32, 32), torch.complex64)
    image = 5 * head(32, 32)
    coils = maps * image
    combined = coils.abs().square().sum(1).sqrt().max()
    measurement = FourierMeasurement(coil_maps=maps, noise=model(0.1))
    assert float(measurement.noise.sigma(image_to_kspace(coils))) == pytest.approx(0.1 * float(combined), rel=1e-5)
    noisy = measurement(image, torch.ones(1, 1, 32, 32), torch.Generator().manual_seed(0))
    alone = model(0.1)(image_to_kspace(coils), torch.Generator().manual_seed(0))
    torch.testing.assert_close(noisy, alone, rtol=1e-3, atol=1e-3)


def test_gaussian_has_its_std_in_every_component(generator):
    noise = ComplexGaussianNoise(0.3, reference="absolute")(
        torch.zeros(50, 1, 64, 64, dtype=torch.complex64), generator
    )
    n = noise.numel()
    for component in (noise.real, noise.imag):
        assert component.mean().item() == pytest.approx(0, abs=4 * 0.3 / math.sqrt(n))
        assert component.std().item() == pytest.approx(0.3, abs=4 * 0.3 / math.sqrt(2 * n))
    assert (noise.real * noise.imag).mean().item() == pytest.approx(0, abs=4 * 0.09 / math.sqrt(n))


@pytest.mark.parametrize("grid", [(64, 64), (63, 64), (41, 77)])
def test_gaussian_relative_to_each_images_own_reference(grid, generator):
    image = torch.stack([torch.ones(1, *grid), 5 * torch.ones(1, *grid)])
    kspace = image_to_kspace(image)
    for reference, root in (("peak", 1), ("dc", math.sqrt(grid[0] * grid[1]))):
        added = ComplexGaussianNoise(0.01, reference)(kspace, generator) - kspace
        measured = torch.view_as_real(added).flatten(1).std(1) / torch.tensor([1.0, 5.0]) / root
        torch.testing.assert_close(measured, torch.full((2,), 0.01), rtol=4 / math.sqrt(4 * grid[0] * grid[1]), atol=0)
    assert ComplexGaussianNoise(0.0)(kspace) is kspace


@pytest.mark.parametrize("amplitude", [0.0, 1.0, 3.0])
def test_rician_mean_and_variance(amplitude, generator):
    sigma, grid = 0.5, (200, 1, 32, 33)
    kspace = image_to_kspace(torch.full(grid, amplitude))
    image = kspace_to_image(RicianNoise(sigma, reference="absolute")(kspace, generator))
    law = rice(amplitude / sigma, scale=sigma)
    tolerance = 4 * law.std() / math.sqrt(image.numel())
    assert image.real.mean().item() == pytest.approx(law.mean(), abs=tolerance)
    assert image.real.var().item() == pytest.approx(law.var(), rel=0.02)
    assert image.imag.abs().max() < 1e-4


def test_poisson_variance_follows_the_magnitude(generator):
    """Two magnitudes, a tenth and 1: variances in the same proportion, their mean 2 σ²."""
    phase, sigma = 0.7, 0.05
    kspace = torch.tensor([0.1, 1.0]).repeat(20_000, 1, 1, 1) * complex(math.cos(phase), math.sin(phase))
    noisy = PoissonNoise(sigma, reference="absolute")(kspace, generator)[:, 0, 0]
    expected = 2 * sigma**2 * torch.tensor([0.1, 1.0]) / 0.55
    torch.testing.assert_close(noisy.abs().mean(0), torch.tensor([0.1, 1.0]), rtol=0.01, atol=0)
    torch.testing.assert_close(noisy.abs().var(0), expected, rtol=4 * math.sqrt(2 / 20_000), atol=0)
    counted = noisy[:, 1]
    torch.testing.assert_close(counted.angle(), torch.full_like(counted.real, phase))


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_shape_dtype_and_seed(model):
    kspace = random_tensor((2, 3, 5, 6), torch.complex64)
    first, second = (model(kspace, torch.Generator().manual_seed(1)) for _ in range(2))
    assert (first.shape, first.dtype) == (kspace.shape, kspace.dtype)
    assert torch.equal(first, second)
    assert not torch.equal(first, model(kspace, torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("model", [ComplexGaussianNoise, RicianNoise, PoissonNoise])
def test_refuses_std_and_reference(model):
    bad = {"noise_std": [-1.0, float("nan"), float("inf")], "reference": ["DC", "", True, None]}
    refuses_each(model, {}, **bad)
    refuses(ValueError, "one of 'peak', 'dc', 'absolute', got 'max'", model, reference="max")
