"""The measurement: adjoint, linearity, gradient and the explicit matrix M F S, with and without coils."""

from __future__ import annotations

import pytest
import torch
from helper import (
    GRIDS_2D,
    GRIDS_3D,
    assert_adjoint,
    assert_batch_equals_elements,
    assert_gradient,
    assert_linear,
    explicit_transform,
    random_tensor,
    refuses,
)

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement


def mask_for(grid, batch=2):
    return (random_tensor((batch, 1, *grid), torch.float64, 5) > 0).double()


def measurement_for(grid, coils, noise=None):
    maps = None if coils is None else random_tensor((1, coils, *grid), seed=6)
    return FourierMeasurement(len(grid), maps, noise)


@pytest.mark.parametrize("coils", [None, 1, 3])
@pytest.mark.parametrize("grid", GRIDS_2D + GRIDS_3D)
def test_adjoint_linear_and_explicit_matrix(grid, coils):
    measurement, mask = measurement_for(grid, coils), mask_for(grid)
    domain, codomain = (2, 1, *grid), (2, coils or 1, *grid)
    assert_adjoint(lambda x: measurement(x, mask), lambda y: measurement.adjoint(y, mask), domain, codomain)
    assert_linear(lambda x: measurement(x, mask), domain)
    image = random_tensor(domain)
    coil_images = image if coils is None else image * measurement.coil_maps
    torch.testing.assert_close(measurement(image, mask), explicit_transform(coil_images, len(grid)) * mask)


def test_full_mask_inverts_and_zero_filled_is_adjoint_of_forward():
    """Without coils, and with coils of unit sum of squares."""
    image, mask, maps = random_tensor((2, 1, 5, 6)), mask_for((5, 6)), random_tensor((1, 3, 5, 6))
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    for measurement in (FourierMeasurement(), FourierMeasurement(2, maps)):
        torch.testing.assert_close(measurement.zero_filled(image, torch.ones(1)), image)
        expected = measurement.adjoint(measurement(image, mask), mask)
        torch.testing.assert_close(measurement.zero_filled(image, mask), expected)
        lines = mask[..., :1, :]
        torch.testing.assert_close(measurement(image, lines), measurement(image, lines.expand(2, 1, 5, 6)))


def test_refuses_shapes_and_coil_maps():
    refuses(ValueError, "2 spatial axes", FourierMeasurement(), torch.ones(4, 4), torch.ones(1))
    differs, measurement = "differs from the coil maps' grid", measurement_for((4, 4), 2)
    refuses(ValueError, differs, measurement, torch.ones(1, 1, 4, 5), torch.ones(1))
    for maps in (torch.ones(1, 2, 4, 4), torch.ones(2, 4, 4, dtype=torch.complex64)):
        refuses(ValueError, "coil_maps must be complex", FourierMeasurement, 2, maps)


def test_gradient_to_image_and_mask_and_batch():
    measurement, image, mask = FourierMeasurement(), random_tensor((2, 1, 3, 4)), mask_for((3, 4))
    assert_gradient(measurement.zero_filled, image, mask)
    assert_batch_equals_elements(measurement.zero_filled, image, mask)


@pytest.mark.parametrize("coils", [None, 2])
def test_zero_filled_feels_what_an_unmeasured_position_is_worth(coils):
    """d/dm of |F^H S^H (m k)|^2 / 2 with the adjoint's own image z: Re(conj(k) A z), at m = 0 as at m = 1."""
    measurement, image, mask = measurement_for((5, 6), coils), random_tensor((2, 1, 5, 6)), mask_for((5, 6))
    mask.requires_grad_()
    zero_filled = measurement.zero_filled(image, mask)
    (0.5 * zero_filled.abs().square().sum()).backward()
    kspace, again = measurement.fully_sampled(image), measurement.fully_sampled(zero_filled.detach())
    expected = (kspace.conj() * again).real.sum(1, keepdim=True)
    torch.testing.assert_close(mask.grad, expected)
    if coils:  # cross-talk of the coils reaches unmeasured positions; a second factor of m would make it zero there
        assert mask.grad[mask == 0].abs().min() > 0


def test_noise_is_seeded_and_stays_under_the_mask():
    measurement = measurement_for((8, 9), None, ComplexGaussianNoise(0.1))
    image, mask = random_tensor((2, 1, 8, 9)), mask_for((8, 9))
    first, second = (measurement(image, mask, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert first[mask.expand_as(first) == 0].abs().max() == 0
    assert not torch.equal(first, measurement(image, mask, torch.Generator().manual_seed(4)))


def test_coil_maps_travel_with_the_module_but_not_with_its_state():
    measurement = measurement_for((4, 4), 2)
    assert measurement.state_dict() == {}
    assert measurement.to("meta").coil_maps.is_meta
