"""Noise of the measurement: what is added to fully sampled k-space before the mask selects from it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image

__all__ = ["ComplexGaussianNoise", "NoiseModel", "PoissonNoise", "RicianNoise"]


def dc_magnitude(kspace: Tensor, spatial_dims: int) -> Tensor:
    """Magnitude at the centre of k-space, shape (batch, channel, 1, ...), for scaling noise to the signal."""
    for axis in range(-spatial_dims, 0):
        kspace = kspace.narrow(axis, kspace.shape[axis] // 2, 1)
    return kspace.abs()


class NoiseModel(nn.Module, ABC):
    """Interface of the noise models: noisy k-space from noise-free k-space.

    Args:
        spatial_dims: number of trailing spatial axes.
    """

    def __init__(self, spatial_dims: int = 2) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims

    @abstractmethod
    def forward(self, kspace: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy k-space of the same shape and dtype."""


def _check_std(std: float) -> float:
    if not 0.0 <= std < float("inf"):
        raise ValueError(f"noise_std must be a finite number >= 0, got {std}.")
    return float(std)


def _complex_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Complex normal deviates with unit variance *per real component*."""
    shape = (*like.shape, 2)
    return torch.view_as_complex(torch.randn(shape, generator=generator, device=like.device, dtype=like.real.dtype))


class ComplexGaussianNoise(NoiseModel):
    """Circular complex Gaussian noise, the paper's model (equation 2).

    Args:
        noise_std: standard deviation of each real component (not of the complex variable).
        relative_to_dc: if True, ``noise_std`` is in units of each image's own DC magnitude; else in k-space units.
        spatial_dims: number of trailing spatial axes.

    Raises:
        ValueError: if ``noise_std`` is negative or not finite.

    Example:
        >>> import torch
        >>> noise = ComplexGaussianNoise(0.5, relative_to_dc=False)
        >>> y = noise(torch.zeros(1, 1, 64, 64, dtype=torch.complex64), torch.Generator().manual_seed(0))
        >>> round(float(y.real.std()), 1)
        0.5
    """

    def __init__(self, noise_std: float = 5e-4, relative_to_dc: bool = True, spatial_dims: int = 2) -> None:
        super().__init__(spatial_dims)
        self.noise_std = _check_std(noise_std)
        self.relative_to_dc = relative_to_dc

    def forward(self, kspace: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return ``kspace + epsilon``."""
        if self.noise_std == 0:
            return kspace
        noise = _complex_normal(kspace, generator).mul_(self.noise_std)
        return kspace + (noise * dc_magnitude(kspace, self.spatial_dims) if self.relative_to_dc else noise)


class RicianNoise(NoiseModel):
    """Noise of a magnitude image: complex Gaussian noise is added in image space and only the magnitude is kept.

    This is what k-space simulated from stored magnitude images (DICOM) carries. The orthonormal transform keeps the
    standard deviation, so ``noise_std`` means the same as in :class:`ComplexGaussianNoise`.

    Args:
        noise_std: standard deviation of each real component before the magnitude is taken.
        relative_to_dc: if True, in units of each image's own DC magnitude.
        spatial_dims: number of trailing spatial axes.

    References:
        Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", MRM 1995, equation (1).

    Example:
        >>> import torch
        >>> zero = torch.zeros(1, 1, 64, 64, dtype=torch.complex64)
        >>> y = RicianNoise(1.0, relative_to_dc=False)(zero, torch.Generator().manual_seed(0))
        >>> round(float(y[0, 0, 32, 32].real) / 64, 1)  # mean of a Rayleigh variable: sqrt(pi/2)
        1.3
    """

    def __init__(self, noise_std: float = 5e-4, relative_to_dc: bool = True, spatial_dims: int = 2) -> None:
        super().__init__(spatial_dims)
        self.gaussian = ComplexGaussianNoise(noise_std, relative_to_dc, spatial_dims)

    def forward(self, kspace: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the transform of the magnitude of the noisy image."""
        noisy = kspace_to_image(self.gaussian(kspace, generator), self.spatial_dims)
        return image_to_kspace(noisy.abs(), self.spatial_dims).to(kspace.dtype)


class PoissonNoise(NoiseModel):
    """Signal-dependent noise: the magnitude of each sample is a scaled Poisson count, its phase is kept.

    Args:
        counts_at_dc: expected count at DC; the variance of a sample of magnitude a is ``a * |DC| / counts_at_dc``.
        spatial_dims: number of trailing spatial axes.

    Raises:
        ValueError: if ``counts_at_dc`` is not positive.

    Example:
        >>> import torch
        >>> k = torch.ones(1, 1, 8, 8, dtype=torch.complex64)
        >>> bool((PoissonNoise(1e6)(k, torch.Generator().manual_seed(0)) - k).abs().max() < 1e-2)
        True
    """

    def __init__(self, counts_at_dc: float = 1e6, spatial_dims: int = 2) -> None:
        super().__init__(spatial_dims)
        if not 0 < counts_at_dc < float("inf"):
            raise ValueError(f"counts_at_dc must be a finite number > 0, got {counts_at_dc}.")
        self.counts_at_dc = float(counts_at_dc)

    def forward(self, kspace: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return k-space whose magnitudes are Poisson counts in units of ``|DC| / counts_at_dc``."""
        unit = dc_magnitude(kspace, self.spatial_dims) / self.counts_at_dc
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        counts = torch.poisson(kspace.abs() / unit, generator=generator)
        return torch.polar(counts * unit, kspace.angle())
