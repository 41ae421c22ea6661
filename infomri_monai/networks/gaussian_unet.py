"""Residual Gaussian U-Net on the zero-filled image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from infomri_monai.acquisition.fourier import kspace_to_image
from infomri_monai.networks.gaussian import (
    channels_to_complex,
    complex_to_channels,
    gaussian_channels,
    intensity_scale,
    mask_or_recovered,
    measured_samples,
    raw_for_log_variance,
)

__all__ = ["GaussianUNet"]


class GaussianUNet(nn.Module):
    """MONAI ``BasicUNet`` that predicts a correction of the zero-filled image and a log-variance (equation 22).

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
        self.log_variance_line = nn.Parameter(torch.zeros(2), requires_grad=False)  # set by CalibrateVariance
        self.log_variance_low, self.log_variance_high = float(log_variance_bounds[0]), float(log_variance_bounds[1])
        self.unet = BasicUNet(spatial_dims=2, in_channels=2, out_channels=3, features=tuple(features), norm=norm)
        last = self.unet.final_conv
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.bias[2] = raw_for_log_variance(initial_log_variance, log_variance_bounds)

    def forward(self, zero_filled: Tensor, mask: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """Reconstruct.

        Args:
            zero_filled: real and imaginary part, shape (batch, 2, H, W); sizes are padded inside ``BasicUNet`` if needed.
            mask: used only for real-valued images (conjugate completion); None recovers it from the image's k-space.

        Returns:
            Mean (real, imaginary) and log-variance per real component, shape (batch, 3, H, W), in the input's units.
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
        bounds = (self.log_variance_low, self.log_variance_high)
        return gaussian_channels(mean, out[:, 2:], scale, bounds, self.log_variance_line, measured)
