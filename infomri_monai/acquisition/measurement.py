"""The measurement y = m * (F S x + noise) as an object with a forward and an adjoint, and the mask's part of it alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image
from infomri_monai.acquisition.noise import NoiseModel
from infomri_monai.arrays import as_mask, as_numbers, takes

__all__ = ["FourierMeasurement", "apply_mask"]


def apply_mask(kspace: Tensor, mask: Tensor) -> Tensor:
    """m * k, and nothing of what the mask hides.

    A product alone keeps the signs of hidden samples, as -0 * 1 and -k * 0 are -0; adding zero makes them +0 (IEEE 754) and
    leaves the gradients to k-space and to the mask as they are.

    Args:
        kspace: complex (or real), any shape.
        mask: 0/1, broadcasts to ``kspace``; not checked.

    Returns:
        Of the dtype of ``kspace``; +0 in both parts where the mask is 0.

    Example:
        >>> hidden = apply_mask(torch.tensor([-1.0 + 2j]), torch.tensor([0.0]))
        >>> torch.signbit(torch.view_as_real(hidden)).tolist()
        [[False, False]]
    """
    return (kspace * mask.to(kspace.real.dtype)).add_(0)


class FourierMeasurement(nn.Module):
    """Undersampled Cartesian Fourier measurement (equation 2), single coil unless coil maps are given.

    ``forward`` is y = m * (F S x + epsilon), ``adjoint`` is S^H F^H (m * y). Without noise the two pass the dot-product test.

    Args:
        spatial_dims: number of spatial axes (2 or 3).
        coil_maps: complex sensitivities, shape (1 or batch, coil, *spatial); None for a single coil (S is the identity).
        noise: noise model applied before the mask; None for a noise-free measurement.

    Raises:
        ValueError: if ``coil_maps`` is not complex or lacks the coil axis.

    Example:
        >>> import torch
        >>> measurement = FourierMeasurement()
        >>> mask = torch.zeros(1, 1, 8, 8); mask[..., 4, 4] = 1
        >>> measurement.zero_filled(torch.ones(1, 1, 8, 8), mask).real.mean()
        tensor(1.)
    """

    coil_maps: Tensor | None

    @takes(spatial_dims="whole", coil_maps="number")
    def __init__(self, spatial_dims: int = 2, coil_maps: Tensor | None = None, noise: NoiseModel | None = None) -> None:
        super().__init__()
        if coil_maps is not None and (not coil_maps.is_complex() or coil_maps.ndim != spatial_dims + 2):
            raise ValueError(
                f"coil_maps must be complex with shape (batch, coil, *spatial), got {coil_maps.dtype} {tuple(coil_maps.shape)}."
            )
        self.spatial_dims = spatial_dims
        self.noise = noise
        self.register_buffer("coil_maps", coil_maps, persistent=False)

    def fully_sampled(self, image: Tensor) -> Tensor:
        """F S x: noise-free k-space of every coil, shape (batch, coil, *spatial)."""
        return image_to_kspace(self._coil_images(image), self.spatial_dims)

    def forward(self, image: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Measure an image.

        Args:
            image: real or complex, shape (batch, 1, *spatial).
            mask: 0/1 that broadcasts to (batch, 1, *spatial); one that requires a gradient is a policy's own, and not checked.
            generator: source of the noise.

        Returns:
            Complex k-space (batch, coil, *spatial), +0 where nothing is measured.

        Raises:
            ValueError: if the image's axes do not fit ``spatial_dims`` or the coil maps, it has several channels, or the mask
                holds other values than 0 and 1.
        """
        mask = as_mask(mask)
        coil_images = self._coil_images(image)
        kspace = image_to_kspace(coil_images, self.spatial_dims)
        if self.noise is not None:
            kspace = self.noise(kspace, generator, coil_images)
        return apply_mask(kspace, mask)

    def adjoint(self, kspace: Tensor, mask: Tensor | None = None) -> Tensor:
        """S^H F^H (m * y): complex image, shape (batch, 1, *spatial).

        Leave ``mask`` out where k-space is masked already, as :meth:`forward` returns it: the value is the same, but a second
        factor of m has the derivative 2 m k, which is zero wherever nothing was measured, and a learned policy would never feel
        what another sample is worth.
        """
        kspace = as_numbers(kspace, "kspace")
        self._check(kspace)
        measured = kspace if mask is None else apply_mask(kspace, as_mask(mask))
        coil_images = kspace_to_image(measured, self.spatial_dims)
        if self.coil_maps is None:
            return coil_images
        return (self.coil_maps.conj() * coil_images).sum(1, keepdim=True)

    def zero_filled(self, image: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The zero-filled reconstruction of a simulated measurement: complex, shape (batch, 1, *spatial).

        Its gradient reaches the mask at measured and unmeasured positions alike.
        """
        return self.adjoint(self.forward(image, mask, generator))

    def _coil_images(self, image: Tensor) -> Tensor:
        image = as_numbers(image, "image")
        self._check(image)
        if image.shape[1] != 1:
            hint = "; two channels: real and imaginary? use torch.complex" if image.shape[1] == 2 else ""
            raise ValueError(
                "image must have one channel, (batch, 1, *spatial), channel first and no slice axis, got "
                f"{tuple(image.shape)}{hint}."
            )
        return image if self.coil_maps is None else self.coil_maps * image

    def _check(self, data: Tensor) -> None:
        if data.ndim != self.spatial_dims + 2:
            raise ValueError(
                f"expected (batch, channel, *spatial) with {self.spatial_dims} spatial axes, got shape {tuple(data.shape)}."
            )
        if self.coil_maps is not None and data.shape[2:] != self.coil_maps.shape[2:]:
            raise ValueError(
                f"grid {tuple(data.shape[2:])} differs from the coil maps' grid {tuple(self.coil_maps.shape[2:])}."
            )
