"""What the Gaussian reconstructors share: intensity normalisation, measured samples, and the three output channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image
from infomri_monai.acquisition.symmetry import conjugate_partner

__all__ = ["channels_to_complex", "complex_to_channels"]


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
    largest = torch.linalg.vector_norm(zero_filled, dim=1, keepdim=True).amax(dim=(2, 3), keepdim=True).detach()
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def recover_mask(kspace: Tensor, threshold: float = 1e-6) -> Tensor:
    """Positions that were measured, read off the non-zeros of the zero-filled image's k-space (paper, III-D)."""
    magnitude = kspace.abs()
    return (magnitude > threshold * magnitude.amax(dim=(2, 3), keepdim=True)).to(magnitude.dtype)


def measured_samples(image: Tensor, mask: Tensor | None, real_valued: bool) -> tuple[Tensor, Tensor]:
    """Measured k-space of a zero-filled complex image and its mask, completed by symmetry for real-valued images."""
    kspace = image_to_kspace(image, 2)
    if mask is None:
        mask = recover_mask(kspace)
    if real_valued:
        partner_mask = conjugate_partner(mask, 2)
        total = kspace + conjugate_partner(kspace, 2).conj()
        kspace = total / (mask + partner_mask).clamp_min(1.0)
        mask = torch.maximum(mask, partner_mask)
    return kspace, mask


def starting_image(zero_filled: Tensor, mask: Tensor | None, real_valued: bool) -> Tensor:
    """The zero-filled image, or for real-valued images the one filled by conjugate symmetry (its imaginary part is zero)."""
    image = channels_to_complex(zero_filled)
    if not real_valued:
        return image
    kspace, _ = measured_samples(image, mask, real_valued)
    return kspace_to_image(kspace, 2)


def gaussian_channels(
    mean: Tensor, raw_log_variance: Tensor, scale: Tensor, bounds: tuple[float, float], offset: Tensor
) -> Tensor:
    """Stack mean (2 channels) and bounded log-variance (1 channel), both back in the input's intensity units.

    The bounds are soft (a scaled sigmoid), so that the gradient never dies at them, and hold in normalised units. ``offset`` is
    the logarithm of the variance's temperature, 0 until it is calibrated on validation data.
    """
    low, high = bounds
    log_variance = low + (high - low) * torch.sigmoid(raw_log_variance.float()) + offset
    return torch.cat([mean * scale, log_variance + 2 * torch.log(scale)], dim=1)


def raw_for_log_variance(log_variance: float, bounds: tuple[float, float]) -> float:
    """The pre-sigmoid value whose bounded log-variance is ``log_variance``; for initialising a bias."""
    share = (log_variance - bounds[0]) / (bounds[1] - bounds[0])
    if not 0 < share < 1:
        raise ValueError(f"initial log-variance {log_variance} must lie inside log_variance_bounds {bounds}.")
    return math.log(share / (1 - share))
