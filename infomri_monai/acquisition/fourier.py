"""Centred orthonormal Fourier transform between images and k-space."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from infomri_monai.arrays import as_numbers, as_tensor, as_whole

__all__ = ["crop_kspace", "image_to_kspace", "kspace_to_image"]


def _spatial_axes(data: Tensor, spatial_dims: int) -> list[int]:
    if spatial_dims not in (1, 2, 3):
        raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}.")
    if data.ndim < spatial_dims:
        raise ValueError(f"data of shape {list(data.shape)} has fewer than spatial_dims={spatial_dims} axes.")
    return [
        axis - spatial_dims for axis in range(spatial_dims)
    ]  # a comprehension, because TorchScript has no list(range)


def _by_matrix(data: Tensor, axes: list[int], inverse: bool) -> Tensor:
    """The same transform as matrix products, for ONNX: the DFT of ONNX Runtime errs by 1e-5 where n is no power of two."""
    real, imag = (data.real, data.imag) if data.is_complex() else (data, torch.zeros_like(data))
    for axis in axes:
        n = data.shape[axis]
        k = torch.arange(n, device=data.device) - n // 2
        # the phase as a remainder of integers, and in float64, because cosines of large float32 phases lose digits
        angle = (k.unsqueeze(1) * k % n).to(torch.float64) * (2 * math.pi / n)
        cos, sin = ((f(angle) / math.sqrt(n)).to(real.dtype) for f in (torch.cos, torch.sin))
        sin = sin if inverse else -sin
        real, imag = real.movedim(axis, -1), imag.movedim(axis, -1)
        real, imag = real @ cos - imag @ sin, real @ sin + imag @ cos
        real, imag = real.movedim(-1, axis), imag.movedim(-1, axis)
    return torch.complex(real, imag)


def _transform(data: Tensor, spatial_dims: int, inverse: bool) -> Tensor:
    axes = _spatial_axes(data, spatial_dims)
    if not torch.jit.is_scripting():  # noqa: SIM102 - TorchScript leaves the block out only where this is all of the condition
        # asking torch.onnx would import it, which takes a quarter of a second; where it is not imported nothing is exported
        if "torch.onnx" in sys.modules and torch.onnx.is_in_onnx_export():
            return _by_matrix(data, axes, inverse)
    data = torch.fft.ifftshift(data, dim=axes)
    data = torch.fft.ifftn(data, dim=axes, norm="ortho") if inverse else torch.fft.fftn(data, dim=axes, norm="ortho")
    return torch.fft.fftshift(data, dim=axes)


def image_to_kspace(image: Tensor, spatial_dims: int = 2) -> Tensor:
    """Transform an image to k-space.

    Args:
        image: real or complex tensor, shape (..., *spatial).
        spatial_dims: number of trailing axes to transform (1, 2 or 3).

    Returns:
        Complex tensor of the same shape; DC lies at index ``n // 2`` of every transformed axis. Orthonormal: the l2
        norm is kept.

    Raises:
        ValueError: if ``spatial_dims`` is not 1, 2 or 3 or the tensor has fewer axes.

    Example:
        >>> import torch
        >>> image_to_kspace(torch.ones(1, 4, 4))[0, 2, 2]
        tensor(4.+0.j)
    """
    if not torch.jit.is_scripting():
        image, spatial_dims = as_numbers(image, "image"), as_whole(spatial_dims, "spatial_dims")
    return _transform(image, spatial_dims, inverse=False)


def kspace_to_image(kspace: Tensor, spatial_dims: int = 2) -> Tensor:
    """Transform k-space to a complex image; the inverse and the adjoint of :func:`image_to_kspace`.

    Args:
        kspace: complex tensor, shape (..., *spatial), DC at index ``n // 2``.
        spatial_dims: number of trailing axes to transform (1, 2 or 3).

    Returns:
        Complex tensor of the same shape.

    Raises:
        ValueError: if ``spatial_dims`` is not 1, 2 or 3 or the tensor has fewer axes.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 1, 5, 6)
        >>> torch.allclose(kspace_to_image(image_to_kspace(x)).real, x, atol=1e-6)
        True
    """
    if not torch.jit.is_scripting():
        kspace, spatial_dims = as_numbers(kspace, "kspace"), as_whole(spatial_dims, "spatial_dims")
    return _transform(kspace, spatial_dims, inverse=True)


def crop_kspace(kspace: Tensor, size: list[int], spatial_dims: int = 2) -> Tensor:
    """Keep the centre of k-space, which lowers the resolution and leaves the field of view as it is.

    The values are kept as they were measured. Under the orthonormal transform the image of the crop is therefore
    brighter by sqrt(N / M), with N and M positions before and after; multiply by sqrt(M / N) to keep intensities.

    Args:
        kspace: tensor of shape (..., *spatial), DC at index ``n // 2``.
        size: one length per transformed axis, each from 1 to the axis's length.
        spatial_dims: number of trailing axes to crop (1, 2 or 3).

    Returns:
        View of shape (..., *size); DC lies at ``m // 2`` of every cropped axis, for odd and even lengths alike.

    Raises:
        ValueError: if ``spatial_dims`` is not 1, 2 or 3, the tensor has fewer axes, or ``size`` does not fit.

    Example:
        >>> import torch
        >>> crop_kspace(torch.arange(7.0)[None], [4], spatial_dims=1)
        tensor([[1., 2., 3., 4.]])
    """
    if not torch.jit.is_scripting():
        kspace, spatial_dims = as_tensor(kspace, "kspace"), as_whole(spatial_dims, "spatial_dims")
        size = [as_whole(n, "size") for n in size]
    axes = _spatial_axes(kspace, spatial_dims)
    if len(size) != spatial_dims:
        raise ValueError(f"size must have one length for each of the {spatial_dims} spatial axes, got {list(size)}.")
    for axis, length in zip(axes, size):  # noqa: B905 - TorchScript's zip has no strict
        if length < 1 or length > kspace.shape[axis]:
            raise ValueError(
                f"size {list(size)} must lie between 1 and the k-space grid {list(kspace.shape[-spatial_dims:])}."
            )
    for axis, length in zip(axes, size):  # noqa: B905
        kspace = kspace.narrow(axis, kspace.shape[axis] // 2 - length // 2, length)
    return kspace
