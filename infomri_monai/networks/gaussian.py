"""What the Gaussian reconstructors share: intensity normalisation, measured samples, and the four output channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image
from infomri_monai.acquisition.symmetry import fill_partners

__all__ = ["MagnitudeVariance", "channels_to_complex", "complex_to_channels", "magnitude_log_variance"]


def complex_to_channels(image: Tensor) -> Tensor:
    """Complex (batch, 1, *spatial) to real (batch, 2, *spatial): real part, imaginary part.

    Example:
        >>> import torch
        >>> complex_to_channels(torch.ones(1, 1, 4, 4, dtype=torch.complex64)).shape
        torch.Size([1, 2, 4, 4])
    """
    return torch.cat([image.real, image.imag], dim=1)


def channels_to_complex(channels: Tensor) -> Tensor:
    """Real (batch, 2, *spatial) to complex (batch, 1, *spatial); the inverse of :func:`complex_to_channels`.

    Example:
        >>> import torch
        >>> channels_to_complex(torch.ones(1, 2, 1, 1))[0, 0, 0, 0]
        tensor(1.+1.j)
    """
    return torch.complex(channels[:, :1].float(), channels[:, 1:2].float())


def intensity_scale(zero_filled: Tensor) -> Tensor:
    """Largest magnitude of each zero-filled image, shape (batch, 1, 1, 1); 1 for an all-zero image."""
    # torch.linalg.vector_norm over two channels takes a hundred times as long on a CPU
    largest = zero_filled.detach().square().sum(1, keepdim=True).amax(dim=(2, 3), keepdim=True).sqrt()
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def recover_mask(kspace: Tensor, threshold: float = 1e-5) -> Tensor:
    """Positions that were measured, read off the non-zeros of the zero-filled image's k-space (paper, III-D).

    The threshold is relative to the largest magnitude. The transform leaves 1e-7 where nothing was measured; noise of 5e-4 hides
    a measured sample once in some thousands.
    """
    magnitude = kspace.abs()
    return (magnitude > threshold * magnitude.amax(dim=(2, 3), keepdim=True)).to(magnitude.dtype)


def measured_samples(image: Tensor, mask: Tensor, real_valued: bool) -> tuple[Tensor, Tensor]:
    """Measured k-space of a zero-filled complex image and its mask, completed by symmetry for real-valued images."""
    kspace = image_to_kspace(image, 2)
    return fill_partners(kspace, mask, 2) if real_valued else (kspace, mask)


def mask_or_recovered(image: Tensor, mask: Tensor | None) -> Tensor:
    """The given mask, or the one that the zero-filled complex image shows."""
    return recover_mask(image_to_kspace(image, 2)) if mask is None else mask


def completed_by_symmetry(zero_filled: Tensor, mask: Tensor | None = None) -> Tensor:
    """The zero-filled image, (batch, 2, H, W), of k-space completed by symmetry, whose imaginary part is zero (real images)."""
    scale = intensity_scale(zero_filled)
    image = channels_to_complex(zero_filled / scale)
    kspace, _ = measured_samples(image, mask_or_recovered(image, mask), True)
    real = kspace_to_image(kspace, 2).real * scale
    return torch.cat([real, torch.zeros_like(real)], dim=1)


class MagnitudeVariance(nn.Module):
    """Log-variance of the magnitude beside that of the components: a small head that only looks at a reconstruction.

    Errors along a pixel's phase change its magnitude, errors across it hardly do, and the two differ several times where an image
    has little phase; one variance for both components says neither. The head starts at the components' log-variance, and what it
    sees is detached: training it touches neither the mean nor the mask.

    Args:
        features: channels of the features.
        width: channels of the hidden layer.

    Example:
        >>> import torch
        >>> head, image, raw = MagnitudeVariance(3, 4), torch.rand(1, 2, 8, 8), torch.rand(1, 1, 8, 8)
        >>> torch.equal(head(torch.rand(1, 3, 8, 8), image, image, raw)[:, 1:], raw)
        True
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features + 7, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1)
        )
        for parameter in self.layers[2].parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, mean: Tensor, start: Tensor, raw: Tensor) -> Tensor:
        """Pre-sigmoid log-variances of the components (as given) and of the magnitude, (batch, 2, H, W).

        Args:
            features: of the reconstruction, (batch, features, H, W).
            mean: normalised, (batch, 2, H, W).
            start: normalised zero-filled image, (batch, 2, H, W).
            raw: pre-sigmoid log-variance of the components, (batch, 1, H, W).
        """
        of_mean = mean.square().sum(1, keepdim=True).sqrt()
        of_start = start.square().sum(1, keepdim=True).sqrt()
        seen = torch.cat([features, mean, start, raw, of_mean, of_start], dim=1).detach()
        seen = seen.clamp(-1e4, 1e4)  # of normalised images; what diverges further would overflow into NaN here first
        return torch.cat([raw, raw.detach() + self.layers(seen)], dim=1)


def magnitude_log_variance(channels: Tensor) -> Tensor:
    """Log-variance of the magnitude, (batch, 1, *spatial), of a reconstructor's three or four channels.

    The fourth channel, where there is one. Three channels know one variance of every component: of a real image that is the
    magnitude's, of a complex one the magnitude's is at most the sum of both (it is 1-Lipschitz). That is no trained output, and has
    no gradient.

    Example:
        >>> import torch
        >>> magnitude_log_variance(torch.tensor([3.0, 4.0, 0.0, -2.0]).reshape(1, 4, 1, 1)).item()
        -2.0
    """
    if channels.shape[1] > 3:
        return channels[:, 3:4]
    # of each image, whatever else is in the batch
    components = 1.0 + channels[:, 1].flatten(1).any(1).to(channels.dtype)
    return channels[:, 2:3].detach() + components.log().reshape(-1, *[1] * (channels.ndim - 1))


def gaussian_channels(
    mean: Tensor, raw_log_variance: Tensor, scale: Tensor, bounds: tuple[float, float], line: Tensor, mask: Tensor
) -> Tensor:
    """Stack mean (2 channels) and bounded log-variances, all back in the input's intensity units.

    The bounds are soft (a scaled sigmoid), so that the gradient never dies at them, and hold in normalised units. ``line`` is
    the logarithm of the variance's temperature, ``line[c, 0] + line[c, 1] * log(ratio)`` for channel c of the log-variances; it
    is 0 until calibrated on validation data.
    """
    low, high = bounds
    ratio = mask.mean(dim=(1, 2, 3), keepdim=True).detach().clamp_min(1e-6)
    temperature = line[:, 0].reshape(1, -1, 1, 1) + line[:, 1].reshape(1, -1, 1, 1) * torch.log(ratio)
    log_variance = low + (high - low) * torch.sigmoid(raw_log_variance.float()) + temperature
    return torch.cat([mean * scale, log_variance + 2 * torch.log(scale)], dim=1)


def raw_for_log_variance(log_variance: float, bounds: tuple[float, float]) -> float:
    """The pre-sigmoid value whose bounded log-variance is ``log_variance``; for initialising a bias."""
    share = (log_variance - bounds[0]) / (bounds[1] - bounds[0])
    if not 0 < share < 1:
        raise ValueError(f"initial log-variance {log_variance} must lie inside log_variance_bounds {bounds}.")
    return math.log(share / (1 - share))
