"""The paper's small attacker: three convolutions from the zero-filled image to the image."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

__all__ = ["ThreeLayerReconstructor"]


class ThreeLayerReconstructor(nn.Module):
    """Conv(2, 32, 3) - ReLU - Conv(32, 64, 3) - ReLU - Conv(64, 1, 1), the attacker of the paper's MNIST experiment.

    It returns the three channels that :class:`~infomri_monai.systems.ReconstructionSystem` reads: the mean, an imaginary part of 0
    and a log-variance of 0 (it is trained with the mean squared error and knows no uncertainty). Images keep their size and their
    intensity units; they are expected to be of order 1, as nothing is normalised.

    The receptive field is 5 x 5 pixels: an attack with this network alone says little about aliasing that is spread over the
    image. Stronger attackers are :class:`~infomri_monai.networks.GaussianUNet` and
    :class:`~infomri_monai.networks.UnrolledReconstructor`.

    Args:
        channels: channels after the first and the second convolution.

    Raises:
        ValueError: if ``channels`` are not two numbers >= 1.

    References:
        InfoMRI (2026), section IV-C.

    Example:
        >>> import torch
        >>> network = ThreeLayerReconstructor()
        >>> network(torch.rand(1, 2, 28, 28)).shape, sum(p.numel() for p in network.parameters())
        (torch.Size([1, 3, 28, 28]), 19169)
    """

    def __init__(self, channels: tuple[int, int] = (32, 64)) -> None:
        super().__init__()
        if len(channels) != 2 or min(channels) < 1:
            raise ValueError(f"channels must be two numbers >= 1, got {channels!r}.")
        self.real_valued = True
        self.layers = nn.Sequential(
            nn.Conv2d(2, channels[0], 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels[0], channels[1], 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels[1], 1, 1),
        )

    def forward(self, zero_filled: Tensor, mask: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """Reconstruct.

        Args:
            zero_filled: real and imaginary part, (batch, 2, H, W).
            mask: not used; the other reconstructors take one.

        Returns:
            Mean (real, imaginary: 0) and log-variance (0), float32, (batch, 3, H, W).
        """
        mean = self.layers(zero_filled).float()
        return torch.cat([mean, torch.zeros_like(mean), torch.zeros_like(mean)], dim=1)
