"""Noise of the measurement: what is added to fully sampled k-space before the mask selects from it."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image
from infomri_monai.arrays import takes

__all__ = ["ComplexGaussianNoise", "NoiseModel", "PoissonNoise", "RicianNoise"]

#: what ``noise_std`` is a share of
REFERENCES = ("peak", "dc", "absolute")
_DC_NOT_LARGEST = (
    "reference='dc': the DC sample is not the largest of k-space (a normalised image, or one with a linear phase?), so that noise "
    "relative to it says nothing of the image; reference='peak' does not depend on normalisation and phase."
)
_NO_SIGNAL = (
    "reference={!r}: an image is zero everywhere, so that noise relative to it is zero; reference='absolute' adds some."
)


def peak_magnitude(image: Tensor, spatial_dims: int) -> Tensor:
    """Largest magnitude of an image, of the root sum of squares where it has several coils.

    Args:
        image: real or complex, shape (..., coil, *spatial).
        spatial_dims: number of trailing spatial axes.

    Returns:
        Real, shape (..., 1, 1, ...): one number for all coils.

    Example:
        >>> peak_magnitude(torch.tensor([[[3.0, 1.0]], [[4.0, 0.0]]]), 2)
        tensor([[[5.]]])
    """
    return _combined(image, spatial_dims).amax(tuple(range(-spatial_dims, 0)), keepdim=True)


def _combined(data: Tensor, spatial_dims: int) -> Tensor:
    coils = -spatial_dims - 1
    return data.abs() if data.shape[coils] == 1 else torch.linalg.vector_norm(data, dim=coils, keepdim=True)


class NoiseModel(nn.Module, ABC):
    """Interface of the noise models: noisy k-space from noise-free k-space.

    Args:
        spatial_dims: number of trailing spatial axes.
    """

    def __init__(self, spatial_dims: int = 2) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims

    @abstractmethod
    def forward(self, kspace: Tensor, generator: torch.Generator | None = None, image: Tensor | None = None) -> Tensor:
        """Return noisy k-space of the same shape and dtype.

        Args:
            kspace: fully sampled, shape (..., coil, *spatial).
            generator: source of the noise.
            image: the coils' images where they are at hand, which saves a model that needs them a transform.
        """


class _StatedNoise(NoiseModel):
    """A noise model with a standard deviation per real component that is stated relative to something of the image."""

    @takes(noise_std="scalar", spatial_dims="whole")
    def __init__(self, noise_std: float = 0.01, reference: str = "peak", spatial_dims: int = 2) -> None:
        super().__init__(spatial_dims)
        self.noise_std = noise_std
        if not 0 <= noise_std < float("inf"):
            raise ValueError(f"noise_std must be a finite number >= 0, got {noise_std!r}.")
        if reference not in REFERENCES:
            raise ValueError(f"reference must be one of {', '.join(map(repr, REFERENCES))}, got {reference!r}.")
        self.reference = reference

    def sigma(self, kspace: Tensor, image: Tensor | None = None) -> Tensor:
        """Standard deviation per real component in the units of k-space, which are those of the image.

        Args:
            kspace: fully sampled, complex, shape (..., coil, *spatial).
            image: the coils' images where they are at hand.

        Returns:
            Shape (..., 1, 1, ...): one number for all coils, as of one receiver.

        Warns:
            UserWarning: if the reference says nothing of an image: it is zero, or its DC is not the largest sample.
        """
        if self.reference == "absolute":
            return kspace.real.new_full([1] * kspace.ndim, self.noise_std)
        if self.reference == "dc":
            reference = magnitude = _combined(kspace, self.spatial_dims)
            for axis in range(-self.spatial_dims, 0):
                reference = reference.narrow(axis, reference.shape[axis] // 2, 1)
            if bool((reference < (1 - 1e-4) * magnitude.detach()).any()):
                warnings.warn(_DC_NOT_LARGEST, stacklevel=2)
        else:
            image = kspace_to_image(kspace, self.spatial_dims) if image is None else image
            reference = peak_magnitude(image, self.spatial_dims)
        if not bool(reference.all()):
            warnings.warn(_NO_SIGNAL.format(self.reference), stacklevel=2)
        return self.noise_std * reference


def _complex_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Complex normal deviates with unit variance *per real component*."""
    shape = (*like.shape, 2)
    return torch.view_as_complex(torch.randn(shape, generator=generator, device=like.device, dtype=like.real.dtype))


class ComplexGaussianNoise(_StatedNoise):
    """Circular complex Gaussian noise, the paper's model (equation 2).

    The orthonormal transform keeps the standard deviation, so that the noise of the image has the same one per real component.
    Relative to the image's peak it is the same share of it on every grid, in two and three dimensions, with any phase and
    normalisation. The DC magnitude is not: it grows with the root of the number of pixels, and vanishes with the mean.

    Args:
        noise_std: standard deviation of each real component (not of the complex variable).
        reference: what ``noise_std`` is a share of. ``"peak"``: the largest magnitude of the image that the given, fully sampled
            k-space has, of the root sum of squares where there are several coils. ``"dc"``: the magnitude at the centre of k-space,
            the convention of the papers (5e-4). ``"absolute"``: of 1, in the units of k-space.
        spatial_dims: number of trailing spatial axes.

    Raises:
        ValueError: if ``noise_std`` is negative or not finite, or ``reference`` is none of these.

    Example:
        >>> import torch
        >>> kspace = image_to_kspace(torch.full((1, 1, 64, 64), 50.0))
        >>> y = ComplexGaussianNoise(0.01)(kspace, torch.Generator().manual_seed(0))
        >>> round(float((y - kspace).real.std()), 1)
        0.5
    """

    @takes(kspace="complex", image="number")
    def forward(self, kspace: Tensor, generator: torch.Generator | None = None, image: Tensor | None = None) -> Tensor:
        """Return ``kspace + epsilon``."""
        if self.noise_std == 0:
            return kspace
        return kspace + _complex_normal(kspace, generator).mul_(self.sigma(kspace, image))


class RicianNoise(_StatedNoise):
    """Noise of a magnitude image: complex Gaussian noise is added in image space and only the magnitude is kept.

    This is what k-space simulated from stored magnitude images (DICOM) carries.

    Args:
        noise_std: standard deviation of each real component before the magnitude is taken.
        reference: as of :class:`ComplexGaussianNoise`.
        spatial_dims: number of trailing spatial axes.

    References:
        Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", MRM 1995, equation (1).

    Example:
        >>> import torch
        >>> zero = torch.zeros(1, 1, 64, 64, dtype=torch.complex64)
        >>> y = RicianNoise(1.0, reference="absolute")(zero, torch.Generator().manual_seed(0))
        >>> round(float(y[0, 0, 32, 32].real) / 64, 1)  # mean of a Rayleigh variable: sqrt(pi/2)
        1.3
    """

    @takes(kspace="complex", image="number")
    def forward(self, kspace: Tensor, generator: torch.Generator | None = None, image: Tensor | None = None) -> Tensor:
        """Return the transform of the magnitude of the noisy image."""
        image = kspace_to_image(kspace, self.spatial_dims) if image is None else image
        if self.noise_std:
            image = image + _complex_normal(kspace, generator).mul_(self.sigma(kspace, image))
        return image_to_kspace(image.abs(), self.spatial_dims).to(kspace.dtype)


class PoissonNoise(_StatedNoise):
    """Signal-dependent noise: the magnitude of each sample is a scaled Poisson count, its phase is kept.

    The variance of a sample of magnitude a is a · u; the unit u of the counts is such that the mean variance over k-space, and
    with it that of the image, is the one of :class:`ComplexGaussianNoise` with the same ``noise_std``.

    Args:
        noise_std: root mean square of the noise per real component.
        reference: as of :class:`ComplexGaussianNoise`.
        spatial_dims: number of trailing spatial axes.

    Example:
        >>> import torch
        >>> k = torch.ones(1, 1, 8, 8, dtype=torch.complex64)
        >>> bool((PoissonNoise(1e-3)(k, torch.Generator().manual_seed(0)) - k).abs().max() < 5e-2)
        True
    """

    @takes(kspace="complex", image="number")
    def forward(self, kspace: Tensor, generator: torch.Generator | None = None, image: Tensor | None = None) -> Tensor:
        """Return k-space whose magnitudes are Poisson counts times their unit."""
        if self.noise_std == 0:
            return kspace
        magnitude = kspace.abs()
        mean = magnitude.mean(tuple(range(-self.spatial_dims - 1, 0)), keepdim=True)
        unit = 2 * self.sigma(kspace, image).square() / mean
        unit = torch.where((mean > 0) & (unit > 0), unit, torch.ones_like(unit))
        return torch.polar(torch.poisson(magnitude / unit, generator=generator) * unit, kspace.angle())
