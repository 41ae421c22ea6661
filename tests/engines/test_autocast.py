"""Mixed precision as an inferer: what is computed in bfloat16, and that it is off by default."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import AutocastInferer
from infomri_monai.losses import GaussianNLLLoss
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.systems import ReconstructionSystem


def small_system():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UnrolledReconstructor(phases=1, channels=4)
    return ReconstructionSystem(PatternGenerationNetwork((16, 18)), FourierMeasurement(), network)


def image():
    return torch.rand(2, 1, 16, 18, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)


def test_it_is_off_by_default_and_then_the_plain_call(generator):
    layer = nn.Linear(3, 2)
    x = torch.randn(4, 3, generator=generator)
    assert torch.equal(AutocastInferer()(x, layer), layer(x))


def test_convolutions_run_in_bfloat16_only_where_enabled():
    seen = []
    layer = nn.Conv2d(1, 1, 1)
    layer.register_forward_hook(lambda *arguments: seen.append(arguments[-1].dtype))
    for enabled in (True, False):
        AutocastInferer(enabled)(torch.ones(1, 1, 2, 2), layer)
    assert seen == [torch.bfloat16, torch.float32]
    assert not torch.is_autocast_enabled("cpu")


def test_arguments_reach_the_network():
    assert AutocastInferer(True)(torch.ones(1), lambda x, y, z=0: float(x + y + z), 2, z=3) == 6


def test_the_system_in_mixed_precision_is_the_system():
    """Measurement and mask are bit for bit the same; the mean agrees to bfloat16's 8 bits of the network's part."""
    system = small_system()
    nn.init.normal_(system.network.phases[0].project.weight, std=0.05)
    arguments = lambda: (torch.tensor([0.2, 0.5]), torch.Generator().manual_seed(1))  # noqa: E731
    full = system(image(), *arguments())
    mixed = AutocastInferer(True)(image(), system, *arguments())
    assert [field.dtype for field in mixed] == [field.dtype for field in full]
    for name in ("mask", "kspace", "zero_filled", "ratio"):
        assert torch.equal(getattr(mixed, name), getattr(full, name))
    assert (mixed.mean - full.mean).abs().max() < 0.02 * full.mean.abs().max()
    loss = GaussianNLLLoss()(mixed, image())
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for p in system.parameters() if p.requires_grad)


def test_a_word_is_no_switch():
    with pytest.raises(ValueError, match="enabled must be True or False"):
        AutocastInferer("false")
