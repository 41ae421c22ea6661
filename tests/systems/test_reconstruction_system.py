"""The reconstruction system: fields, ratios, seeds, lines, coils and prospective use."""

from __future__ import annotations

import pytest
import torch

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.information import gaussian_nll
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom
from infomri_monai.systems import ReconstructionSystem

GRID = (16, 18)


def system_for(readout_axis=None, real_valued=False, measurement=None, grid=GRID):
    return ReconstructionSystem(
        PatternGenerationNetwork(grid, readout_axis=readout_axis),
        measurement or FourierMeasurement(),
        UnrolledReconstructor(phases=1, channels=4, real_valued=real_valued),
    )


def images(batch=3, real_valued=False, grid=GRID):
    dtype = torch.float32 if real_valued else torch.complex64
    return torch.rand((batch, 1, *grid), generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_fields_agree_with_each_other(generator):
    system, image = system_for(), images()
    result = system(image, 0.25, generator)
    for field in result[:6]:
        assert field.shape == image.shape
    assert result.mean.is_complex()
    assert not result.log_variance.is_complex()
    assert set(result.mask.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(result.ratio, result.mask.mean((1, 2, 3)))
    torch.testing.assert_close(result.kspace, system.measurement.fully_sampled(image) * result.mask)
    torch.testing.assert_close(result.zero_filled, system.measurement.adjoint(result.kspace, result.mask))
    torch.testing.assert_close(result.probabilities.mean((1, 2, 3)), torch.full((3,), 0.25))
    torch.testing.assert_close(result.mean, result.zero_filled, rtol=1e-4, atol=1e-5)  # the untrained network


@pytest.mark.parametrize("axis", [0, 1])
def test_lines(axis, generator):
    result = system_for(readout_axis=axis)(images(), 0.5, generator)
    assert result.mask.shape[2 + axis] == 1
    assert result.mask.shape[3 - axis] == GRID[1 - axis]
    assert result.mean.shape == images().shape
    filled = (result.kspace != 0).float()
    torch.testing.assert_close(filled, result.mask.expand_as(filled))


def test_coils(generator):
    maps = torch.randn(1, 4, *GRID, dtype=torch.complex64)
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    result = system_for(measurement=FourierMeasurement(2, maps))(images(), 0.25, generator)
    assert result.kspace.shape == (3, 4, *GRID)
    assert result.mean.shape == (3, 1, *GRID)


def test_prospective_reconstruction_is_the_simulated_one(generator):
    system = system_for()
    simulated = system(images(), 0.25, generator)
    prospective = system.reconstruct(simulated.kspace, simulated.mask)
    torch.testing.assert_close(prospective.mean, simulated.mean)
    torch.testing.assert_close(prospective.ratio, simulated.ratio)


def test_likelihood_trains_policy_and_network(generator):
    system, image = system_for(), images()
    result = system(image, [0.1, 0.25, 0.5], generator)
    gaussian_nll(image, result.mean, result.log_variance).backward()
    assert system.policy.embedding.grad.abs().max() > 0
    assert system.network.phases[0].project.weight.grad.abs().max() > 0
    assert all(torch.isfinite(p.grad).all() for p in system.parameters() if p.grad is not None)


def test_the_policy_feels_what_an_unmeasured_position_is_worth():
    """The derivative of 0.5 |F^H(m k) - x|^2 through the whole system is (m - 1) |k|^2: -|k|^2 where nothing was measured."""
    from infomri_monai.acquisition import image_to_kspace

    class Fixed(UniformRandom):
        def draw(self, ratio, positions, generator, acquired):
            mask, probabilities = super().draw(ratio, positions, generator, acquired)
            self.mask = mask.requires_grad_()
            return self.mask, probabilities

    image = torch.randn((2, 1, 12, 15), generator=torch.Generator().manual_seed(0))
    policy = Fixed()
    system = ReconstructionSystem(policy, FourierMeasurement(), UnrolledReconstructor(phases=1, channels=4))
    zero_filled = system(image, 0.3, torch.Generator().manual_seed(1)).zero_filled
    (0.5 * (zero_filled - image).abs().square().sum()).backward()
    expected = (policy.mask.detach() - 1) * image_to_kspace(image).abs().square()
    torch.testing.assert_close(policy.mask.grad, expected, atol=1e-4, rtol=1e-4)
