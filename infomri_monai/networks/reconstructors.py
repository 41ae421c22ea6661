"""Reconstruction networks: from the zero-filled image to the mean and the log-variances of every pixel.

All take real and imaginary part as two channels and return four: the mean's two parts, the log-variance per real component, and the
log-variance of the magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.nn import functional as F

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image
from infomri_monai.networks.gaussian import (
    MagnitudeVariance,
    channels_to_complex,
    complex_to_channels,
    gaussian_channels,
    intensity_scale,
    mask_or_recovered,
    measured_samples,
    raw_for_log_variance,
)

__all__ = ["GaussianUNet", "ThreeLayerReconstructor", "UnrolledReconstructor"]


class GaussianUNet(nn.Module):
    """MONAI ``BasicUNet`` that predicts a correction of the zero-filled image and log-variances (equation 22).

    The last layer starts at zero, so that the untrained network returns the zero-filled image.

    Args:
        features: channels of the six levels of ``BasicUNet``; (64, 128, 256, 512, 1024, 64) is the paper's scale (31.1 M).
        norm: normalisation of ``BasicUNet``; group normalisation keeps an image's intensity contrast better than instance norm.
        log_variance_bounds: soft bounds of the log-variance, for an image normalised to a maximum of 1 (decision 13).
        initial_log_variance: log-variance before training, in the same units.
        real_valued: the image is real: the input is completed by conjugate symmetry and the imaginary mean is zero.

    Example:
        >>> import torch
        >>> net = GaussianUNet(features=(8, 8, 16, 16, 16, 8))
        >>> x = torch.rand(1, 2, 32, 32)
        >>> torch.allclose(net(x)[:, :2], x, atol=1e-5)
        True
    """

    def __init__(
        self,
        features: Sequence[int] = (16, 16, 32, 64, 64, 16),
        norm: tuple[str, dict] = ("group", {"num_groups": 4}),
        log_variance_bounds: tuple[float, float] = (-13.8, 1.6),
        initial_log_variance: float = -6.0,
        real_valued: bool = False,
    ) -> None:
        super().__init__()
        self.real_valued = real_valued
        self.log_variance_line = nn.Parameter(torch.zeros(2, 2), requires_grad=False)  # set by CalibrateVariance
        self.log_variance_low, self.log_variance_high = float(log_variance_bounds[0]), float(log_variance_bounds[1])
        self.unet = BasicUNet(spatial_dims=2, in_channels=2, out_channels=3, features=tuple(features), norm=norm)
        last = self.unet.final_conv
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.bias[2] = raw_for_log_variance(initial_log_variance, log_variance_bounds)
        self.magnitude_variance = MagnitudeVariance(3, 16)

    def forward(self, zero_filled: Tensor, mask: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """Reconstruct.

        Args:
            zero_filled: real and imaginary part, shape (batch, 2, H, W); sizes are padded inside ``BasicUNet`` if needed.
            mask: used only for real-valued images (conjugate completion); None recovers it from the image's k-space.

        Returns:
            Mean (real, imaginary), log-variance per real component and of the magnitude, (batch, 4, H, W), in the input's units.
        """
        scale = intensity_scale(zero_filled)
        image = channels_to_complex(zero_filled / scale)
        measured = mask_or_recovered(image, mask)
        if self.real_valued:
            kspace, _ = measured_samples(image, measured, True)
            image = kspace_to_image(kspace, 2)
        x = complex_to_channels(image)
        out = self.unet(x)
        mean = x + out[:, :2]
        if self.real_valued:
            mean = torch.cat([mean[:, :1], torch.zeros_like(mean[:, :1])], dim=1)
        raw = self.magnitude_variance(out, mean, x, out[:, 2:])
        bounds = (self.log_variance_low, self.log_variance_high)
        return gaussian_channels(mean, raw, scale, bounds, self.log_variance_line, measured)


def _conv(inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


class ProximalStep(nn.Module):
    """Learned proximal mapping of one phase: x + G(F~(soft(F(D(x))))), as in ISTA-Net+.

    Args:
        channels: feature channels.
        threshold: initial soft threshold, in units of the normalised image.
    """

    def __init__(self, channels: int, threshold: float = 0.01) -> None:
        super().__init__()
        self.lift = _conv(2, channels)
        self.forward_transform = nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels))
        self.backward_transform = nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels))
        self.project = _conv(channels, 2)
        nn.init.zeros_(self.project.weight)
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, image: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Refine an image.

        Args:
            image: shape (batch, 2, H, W).
            gain: factor of every channel's coefficients before the soft threshold, shape (batch, channels, 1, 1).

        Returns:
            The refined image (batch, 2, H, W) and the features (batch, channels, H, W).
        """
        # channels-last convolutions are about five times faster on a CPU at these widths
        code = gain * self.forward_transform(self.lift(image.contiguous(memory_format=torch.channels_last)))
        # a negative threshold would make the mapping jump at zero
        code = torch.sign(code) * F.relu(code.abs() - self.threshold.abs())
        features = self.backward_transform(code)
        return image + self.project(features), features


class UnrolledReconstructor(nn.Module):
    """Gaussian reconstructor of unrolled proximal gradient steps (equation 22; ISTA-Net+ with our measurement).

    Every phase takes a gradient step towards the measured samples and applies a learned proximal mapping. It starts as the
    identity on the zero-filled image, because the last layer of every phase starts at zero. One network serves every ratio: a
    small MLP of log(ratio) scales the coefficients of every phase before its soft threshold, as a threshold of ISTA has to follow
    the level of the aliasing.

    Args:
        phases: number of phases.
        channels: feature channels of every phase.
        log_variance_bounds: soft bounds of the log-variance, for an image normalised to a maximum of 1 (decision 13).
        initial_log_variance: log-variance before training, in the same units.
        real_valued: the image is real, so k-space is conjugate symmetric and every sample also measures its partner.

    Raises:
        ValueError: if ``phases`` or ``channels`` < 1, or the initial log-variance lies outside its bounds.

    References:
        Zhang and Ghanem, "ISTA-Net", CVPR 2018. InfoMRI (2026), section III-F2. Perez et al., "FiLM", AAAI 2018 (here without the
        shift).

    Example:
        >>> import torch
        >>> net = UnrolledReconstructor(phases=2, channels=4)
        >>> x = torch.rand(1, 2, 16, 16)
        >>> out = net(x)
        >>> out.shape, torch.allclose(out[:, :2], x, atol=1e-5)
        (torch.Size([1, 4, 16, 16]), True)
    """

    def __init__(
        self,
        phases: int = 5,
        channels: int = 16,
        log_variance_bounds: tuple[float, float] = (-13.8, 1.6),
        initial_log_variance: float = -6.0,
        real_valued: bool = False,
    ) -> None:
        super().__init__()
        if phases < 1 or channels < 1:
            raise ValueError(f"phases and channels must be >= 1, got {phases} and {channels}.")
        self.real_valued = real_valued
        self.log_variance_line = nn.Parameter(torch.zeros(2, 2), requires_grad=False)  # set by CalibrateVariance
        self.log_variance_low, self.log_variance_high = float(log_variance_bounds[0]), float(log_variance_bounds[1])
        self.phases = nn.ModuleList([ProximalStep(channels) for _ in range(phases)])
        self.step_size = nn.Parameter(torch.ones(phases))
        self.ratio_gain = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, phases * channels))
        nn.init.zeros_(self.ratio_gain[-1].get_parameter("weight"))
        nn.init.zeros_(self.ratio_gain[-1].get_parameter("bias"))
        self.variance_head = nn.Sequential(
            _conv(channels + 4, channels, bias=True), nn.ReLU(), _conv(channels, 1, bias=True)
        )
        last = self.variance_head[-1]
        nn.init.zeros_(last.get_parameter("weight"))
        nn.init.constant_(last.get_parameter("bias"), raw_for_log_variance(initial_log_variance, log_variance_bounds))
        self.magnitude_variance = MagnitudeVariance(channels, channels)

    def forward(self, zero_filled: Tensor, mask: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """Reconstruct.

        Args:
            zero_filled: real and imaginary part, shape (batch, 2, H, W).
            mask: 0/1, broadcasts to (batch, 1, H, W); None recovers it from the zeros of the image's k-space.

        Returns:
            Mean (real, imaginary), log-variance per real component and of the magnitude, (batch, 4, H, W), in the input's units.
        """
        scale = intensity_scale(zero_filled)
        start = zero_filled / scale
        measured = mask_or_recovered(channels_to_complex(start), mask)
        kspace, mask_used = measured_samples(channels_to_complex(start), measured, self.real_valued)
        x = complex_to_channels(kspace_to_image(kspace, 2))
        features = x
        gain = self._gain(measured)
        for index, phase in enumerate(self.phases):
            # k-space is masked already: an attached mask would enter twice, and a position's gradient be no longer its effect
            residual = (image_to_kspace(channels_to_complex(x), 2) - kspace) * mask_used.detach()
            x = x - self.step_size[index] * complex_to_channels(kspace_to_image(residual, 2))
            x, features = phase(x, gain[:, index])
            if self.real_valued:
                x = torch.cat([x[:, :1], torch.zeros_like(x[:, :1])], dim=1)
        raw = self.variance_head(torch.cat([features, x, start], dim=1))
        raw = self.magnitude_variance(features, x, start, raw)
        bounds = (self.log_variance_low, self.log_variance_high)
        return gaussian_channels(x, raw, scale, bounds, self.log_variance_line, measured)

    def _gain(self, mask: Tensor) -> Tensor:
        """Factors (batch, phases, channels, 1, 1) between exp(-2) and exp(2) that follow the ratio; 1 before training."""
        log_ratio = torch.log(mask.mean(dim=(1, 2, 3)).detach().clamp_min(1e-6)).unsqueeze(1)
        raw = self.ratio_gain(log_ratio + 2.0).float()  # 2 brings the trained range, 4 to 35 %, about zero
        gain = torch.exp(2 * torch.tanh(raw / 2))
        return gain.reshape(mask.shape[0], len(self.phases), -1, 1, 1)


class ThreeLayerReconstructor(nn.Module):
    """Conv(2, 32, 3) - ReLU - Conv(32, 64, 3) - ReLU - Conv(64, 1, 1), the attacker of the paper's MNIST experiment.

    It returns the four channels that :class:`~infomri_monai.systems.ReconstructionSystem` reads: the mean, an imaginary part of 0
    and log-variances of 0 (it is trained with the mean squared error and knows no uncertainty). Images keep their size and their
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
        (torch.Size([1, 4, 28, 28]), 19169)
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
            Mean (real, imaginary: 0) and log-variances (0), float32, (batch, 4, H, W).
        """
        mean = self.layers(zero_filled).float()
        return F.pad(mean, [0, 0, 0, 0, 0, 3])
