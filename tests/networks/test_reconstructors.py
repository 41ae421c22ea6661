"""What both Gaussian reconstructors promise: start, units, masks, gradients and any grid.

The paper's attacker: its layers, its four channels, its place in the reconstruction system.
"""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from helper import assert_batch_equals_elements, refuses
from monai.networks.nets import BasicUNet
from reconstructors import every_kind, every_network, measured, trained
from torch.nn import functional as F

from infomri_monai.acquisition import (
    FourierMeasurement,
    conjugate_partner,
    hermitian_completion,
    image_to_kspace,
    kspace_to_image,
)
from infomri_monai.losses import MeanSquaredErrorLoss
from infomri_monai.networks import (
    GaussianUNet,
    ThreeLayerReconstructor,
    UnrolledReconstructor,
    channels_to_complex,
    complex_to_channels,
    magnitude_log_variance,
)
from infomri_monai.networks.reconstructors import ProximalStep
from infomri_monai.sampling import UniformRandom
from infomri_monai.sampling.draw import straight_through
from infomri_monai.systems import ReconstructionSystem

GRIDS = [(32, 32), (33, 35), (32, 41), (48, 31)]


@every_network
@pytest.mark.parametrize("grid", GRIDS)
def test_starts_as_the_zero_filled_image(build, grid):
    _, mask, zero_filled = measured(grid)
    for given in (mask, None):
        out = build()(zero_filled, given)
        assert out.shape == (2, 4, *grid)
        assert torch.equal(out[:, 2], out[:, 3])  # the head of the magnitude starts at the components' variance
        torch.testing.assert_close(out[:, :2], zero_filled, rtol=1e-4, atol=1e-5)


@every_network
@pytest.mark.parametrize("grid", GRIDS)
def test_real_valued_starts_as_the_hermitian_completion(build, grid):
    image, mask, zero_filled = measured(grid, real_valued=True)
    completed, _ = hermitian_completion(image_to_kspace(image) * mask, mask)
    for given in (mask, None):
        out = build(real_valued=True)(zero_filled, given)
        torch.testing.assert_close(out[:, :1], kspace_to_image(completed).real, rtol=1e-4, atol=1e-5)
        assert out[:, 1].abs().max() == 0


@every_network
@every_kind
def test_half_a_plane_is_enough_for_a_real_image_and_only_for_it(build, real_valued):
    grid = (33, 32)
    index = torch.arange(33 * 32).reshape(grid)
    mask = (index >= conjugate_partner(index)).float().expand(2, 1, *grid)
    image, _, _ = measured(grid, real_valued=True)
    zero_filled = complex_to_channels(kspace_to_image(image_to_kspace(image) * mask))
    error = (build(real_valued=real_valued)(zero_filled, mask)[:, :1] - image).abs().max()
    assert (error < 1e-4) == real_valued


@every_network
@every_kind
def test_all_zero_image_gives_zeros(build, real_valued):
    network = trained(build(real_valued=real_valued))
    zero = torch.zeros(2, 2, 32, 32)
    for given in (torch.ones(2, 1, 32, 32), None):
        out = network(zero, given)
        assert torch.isfinite(out).all()
    fresh = build(real_valued=real_valued)(zero, None)
    assert fresh[:, :2].abs().max() == 0
    assert torch.isfinite(fresh).all()


@every_network
@every_kind
@pytest.mark.parametrize("factor", [1e-3, 250.0])
def test_scale_equivariance(build, real_valued, factor):
    network = trained(build(real_valued=real_valued))
    _, mask, zero_filled = measured(real_valued=real_valued)
    out, scaled = network(zero_filled, mask), network(factor * zero_filled, mask)
    torch.testing.assert_close(scaled[:, :2] / factor, out[:, :2], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(scaled[:, 2:] - 2 * math.log(factor), out[:, 2:], rtol=1e-3, atol=1e-3)


@every_network
@every_kind
def test_recovered_mask_is_as_good_as_the_given_one(build, real_valued):
    network = trained(build(real_valued=real_valued))
    _, mask, zero_filled = measured((33, 32), real_valued=real_valued)
    torch.testing.assert_close(network(zero_filled, None), network(zero_filled, mask), rtol=1e-4, atol=1e-4)


@every_network
@every_kind
def test_batch_is_its_elements(build, real_valued):
    network = trained(build(real_valued=real_valued))
    _, mask, zero_filled = measured((33, 35), real_valued=real_valued)
    assert_batch_equals_elements(network, zero_filled, mask, rtol=1e-4, atol=1e-4)


@every_network
@every_kind
def test_gradient_reaches_every_parameter_and_the_probabilities(build, real_valued):
    network = trained(build(real_valued=real_valued)).train()
    image, _, _ = measured((32, 33), real_valued=real_valued)
    probabilities = torch.full(image.shape, 0.4, requires_grad=True)
    uniform = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    mask = straight_through(probabilities, uniform)
    out = network(complex_to_channels(kspace_to_image(image_to_kspace(image) * mask)), mask)
    (out[:, :2] - complex_to_channels(image.to(torch.complex64))).square().mean().add(out[:, 2:].mean()).backward()
    assert torch.isfinite(probabilities.grad).all()
    assert (probabilities.grad != 0).float().mean() > 0.9
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name


@every_network
@every_kind
def test_unsampled_positions_feel_their_energy(build, real_valued):
    """At the identity, 0.5 ||mean - x||^2 falls by |y|^2 per unit of mask, and by twice that if a partner is filled too."""
    image, mask, _ = measured((33, 32), real_valued=real_valued)
    kspace, mask = image_to_kspace(image), mask.requires_grad_()
    out = build(real_valued=real_valued)(complex_to_channels(kspace_to_image(kspace * mask)), mask)
    (0.5 * (out[:, :2] - complex_to_channels(image.to(torch.complex64))).square().sum()).backward()
    neither = torch.maximum(mask.detach(), conjugate_partner(mask.detach())) == 0
    index = torch.arange(33 * 32).reshape(33, 32)
    has_partner = conjugate_partner(index) != index
    expected = -torch.where(has_partner & real_valued, 2.0, 1.0) * kspace.abs().square()
    torch.testing.assert_close(mask.grad[neither], expected[neither], rtol=1e-3, atol=1e-3)


@every_network
def test_log_variance_starts_at_its_value_and_keeps_its_bounds(build):
    _, mask, zero_filled = measured()
    scale = zero_filled.square().sum(1, keepdim=True).sqrt().amax((2, 3), keepdim=True)
    start = build()(zero_filled, mask)[:, 2:] - 2 * scale.log()
    torch.testing.assert_close(start, torch.full_like(start, -6.0))
    wild = build()
    with torch.no_grad():
        for parameter in wild.parameters():
            if parameter.requires_grad:  # the temperature of the calibration is not bounded
                parameter.mul_(100).add_(1)
    bounded = wild(zero_filled, mask)[:, 2:] - 2 * scale.log()
    assert bounded.min() >= -13.8 - 1e-3
    assert bounded.max() <= 1.6 + 1e-3


def test_paper_scale_has_31_million_parameters():
    with torch.device("meta"):
        unet = BasicUNet(spatial_dims=2, in_channels=2, out_channels=3, features=(64, 128, 256, 512, 1024, 64))
    assert sum(p.numel() for p in unet.parameters()) == pytest.approx(31.1e6, rel=0.002)
    ours = GaussianUNet(features=(64, 128, 256, 512, 1024, 64))
    assert sum(p.numel() for p in ours.unet.parameters()) == sum(p.numel() for p in unet.parameters())


@pytest.mark.parametrize("arguments", [{"phases": 0}, {"channels": 0}])
def test_unrolled_refuses_sizes(arguments):
    refuses(ValueError, "must be >= 1", UnrolledReconstructor, **arguments)


@pytest.mark.parametrize("network", [GaussianUNet, UnrolledReconstructor])
def test_refuses_initial_log_variance_outside_its_bounds(network):
    refuses(ValueError, "must lie inside log_variance_bounds", network, initial_log_variance=-20.0)


def test_negative_threshold_does_not_jump():
    """The proximal mapping stays continuous whatever sign its threshold has learned."""
    generator = torch.Generator().manual_seed(0)
    step = ProximalStep(4, threshold=-0.05)
    torch.nn.init.normal_(step.project.weight, generator=generator)
    image = 1e-3 * torch.randn((1, 2, 64, 64), generator=generator)
    nudged = image + 1e-6 * torch.randn(image.shape, generator=generator)
    gain = torch.ones(1, 4, 1, 1)
    with torch.no_grad():
        assert (step(nudged, gain)[0] - step(image, gain)[0]).abs().max() < 1e-4


def test_gains_start_at_one_and_follow_each_images_own_ratio():
    """Doubling a gain is dividing the soft threshold by two and doubling the output; images of a batch do not share it."""
    net = trained(UnrolledReconstructor(phases=2, channels=4))
    mask = torch.zeros(2, 1, 32, 32)
    mask[0, ..., :16], mask[1, ..., :4] = 1, 1
    assert torch.equal(UnrolledReconstructor(phases=2, channels=4)._gain(mask), torch.ones(2, 2, 4, 1, 1))
    torch.nn.init.normal_(net.ratio_gain[-1].weight, generator=torch.Generator().manual_seed(0))
    gain = net._gain(mask)
    assert gain.min() > 0
    assert not torch.allclose(gain[0], gain[1])
    raw = net.ratio_gain(torch.tensor([[math.log(0.5) + 2]]))
    expected = (2 * (raw / 2).tanh()).exp().reshape(2, 4, 1, 1)
    torch.testing.assert_close(gain[0], expected)
    step, image = net.phases[0], torch.randn((1, 2, 9, 8), generator=torch.Generator().manual_seed(1))
    doubled, _ = step(image, torch.full((1, 4, 1, 1), 2.0))
    with torch.no_grad():
        step.threshold.div_(2)
        halved, _ = step(image, torch.ones(1, 4, 1, 1))
    torch.testing.assert_close(doubled - image, 2 * (halved - image), rtol=1e-4, atol=1e-5)


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
    refuses(ValueError, "channels must be two numbers >= 1", ThreeLayerReconstructor, channels)


@every_network
@every_kind
def test_training_the_magnitudes_variance_touches_neither_mean_nor_mask(build, real_valued):
    network = trained(build(real_valued=real_valued)).train()
    image, mask, _ = measured((32, 33), real_valued=real_valued)
    mask = mask.expand(image.shape).clone().requires_grad_()
    network(complex_to_channels(kspace_to_image(image_to_kspace(image) * mask)), mask)[:, 3].sum().backward()
    reached = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"magnitude_variance"}
    assert not mask.grad.any()


@pytest.mark.parametrize(("channels", "expected"), [(4, 7.0), (3, 5.0), (2, 5.0 + math.log(2))])
def test_magnitude_log_variance_of_four_channels_and_of_three(channels, expected):
    """Three channels of a real image (imaginary part 0) know the magnitude's variance; of a complex one the sum of both parts."""
    out = torch.tensor([3.0, 4.0 * (channels != 3), 5.0, 7.0]).reshape(1, 4, 1, 1)
    given = out if channels == 4 else out[:, :3]
    assert magnitude_log_variance(given).item() == pytest.approx(expected)


def test_magnitude_log_variance_of_a_real_image_beside_a_complex_one():
    channels = torch.zeros(2, 3, 4, 4)
    channels[1, 1] = 1
    alone = torch.cat([magnitude_log_variance(one[None]) for one in channels])
    torch.testing.assert_close(magnitude_log_variance(channels), alone)


def test_data_consistency_holds_the_mask_once():
    """The zero-filled image carries the mask's gradient already: a mask beside it that has one of its own would count twice."""
    network, (image, mask, _) = trained(UnrolledReconstructor(phases=3, channels=4)), measured((16, 17))
    mask = mask.expand(image.shape).clone().requires_grad_()
    gradients = []
    for beside in (mask, mask.detach()):
        out = network(complex_to_channels(kspace_to_image(image_to_kspace(image) * mask)), beside)
        gradients += torch.autograd.grad((channels_to_complex(out) - image).abs().square().sum(), mask)
    torch.testing.assert_close(*gradients)
    assert (gradients[0] != 0).float().mean() > 0.9
