"""The list that a reconstructor joins to be tested: one constructor per network, small enough for a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.networks import GaussianUNet, UnrolledReconstructor, complex_to_channels

BUILDERS = {
    "unet": lambda real_valued=False: GaussianUNet(features=(4, 4, 8, 8, 8, 4), real_valued=real_valued),
    "unroll": lambda real_valued=False: UnrolledReconstructor(phases=2, channels=4, real_valued=real_valued),
}
every_network = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
every_kind = pytest.mark.parametrize("real_valued", [False, True], ids=["complex", "real"])


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with every parameter moved away from its start, so that nothing is the identity any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def measured(grid=(32, 32), batch=2, real_valued=False, ratio=0.4, seed=0) -> tuple[Tensor, Tensor, Tensor]:
    """Image, mask and zero-filled channels of random images with random masks."""
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float32 if real_valued else torch.complex64
    image = torch.randn((batch, 1, *grid), generator=generator, dtype=dtype)
    mask = (torch.rand((batch, 1, *grid), generator=generator) < ratio).float()
    return image, mask, complex_to_channels(FourierMeasurement().zero_filled(image, mask))
