"""The paper's attacker: its layers, its three channels, its place in the reconstruction system."""

from __future__ import annotations

import warnings

import pytest
import torch
from helper import assert_batch_equals_elements
from torch.nn import functional as F

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.losses import MeanSquaredErrorLoss
from infomri_monai.networks import ThreeLayerReconstructor
from infomri_monai.sampling import UniformRandom
from infomri_monai.systems import ReconstructionSystem


def network_of(*channels):
    torch.manual_seed(0)
    return ThreeLayerReconstructor(*channels)


def test_it_is_the_papers_three_convolutions(generator):
    network = network_of()
    x = torch.randn(2, 2, 28, 28, generator=generator)
    w1, b1, w2, b2, w3, b3 = network.parameters()
    hidden = F.relu(F.conv2d(F.relu(F.conv2d(x, w1, b1, padding=1)), w2, b2, padding=1))
    assert [tuple(w.shape) for w in (w1, w2, w3)] == [(32, 2, 3, 3), (64, 32, 3, 3), (1, 64, 1, 1)]
    out = network(x)
    torch.testing.assert_close(out[:, :1], F.conv2d(hidden, w3, b3))
    assert out[:, 1:].abs().max() == 0


@pytest.mark.parametrize("grid", [(28, 28), (17, 12)])
def test_images_keep_their_size_and_do_not_mix(grid, generator):
    assert_batch_equals_elements(network_of((4, 4)).eval(), torch.randn(3, 2, *grid, generator=generator))


def test_the_reconstruction_system_reads_it_as_a_real_image(generator):
    system = ReconstructionSystem(UniformRandom(), FourierMeasurement(), network_of((4, 4)))
    image = torch.rand(2, 1, 28, 28, generator=generator)
    result = system(image, 0.25, generator)
    assert result.mean.shape == image.shape
    assert not result.mean.is_complex()
    MeanSquaredErrorLoss()(result, image).backward()
    assert all(p.grad.abs().max() > 0 for p in system.network.parameters())


def test_exports(generator):
    network, x = network_of((4, 4)).eval(), torch.rand(1, 2, 16, 16, generator=generator)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(x), network(x))


@pytest.mark.parametrize("channels", [(32,), (0, 4), (4, 4, 4)])
def test_refuses_other_channels(channels):
    with pytest.raises(ValueError, match="channels must be two numbers >= 1"):
        ThreeLayerReconstructor(channels)
