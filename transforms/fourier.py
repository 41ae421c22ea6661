"""To k-space and back to the image, and the crop of k-space's centre: a lower resolution over the same field of view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends
from torch import Tensor

from infomri_monai.acquisition import CentreWarning, crop_kspace, image_to_kspace, kspace_to_image
from infomri_monai.arrays import as_whole
from infomri_monai.transforms.common import (
    EachKey,
    check_spatial_dims,
    checked_tensor,
    plain,
    slices_first,
    slices_last,
    with_meta_of,
)


class ImageToKSpace(Transform):
    """Centred orthonormal Fourier transform of an image.

    Args:
        spatial_dims: number of axes after the channel to transform (1, 2 or 3). One more axis is taken as slices: a
            volume (channel, height, width, slice) with ``spatial_dims=2`` is transformed slice by slice.

    Raises:
        ValueError: if ``spatial_dims`` is not 1, 2 or 3.

    Example:
        >>> import torch
        >>> ImageToKSpace()(torch.ones(1, 4, 4)).as_tensor()[0, 2, 2]  # DC at n // 2
        tensor(4.+0.j)
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, spatial_dims: int = 2) -> None:
        self.spatial_dims = check_spatial_dims(spatial_dims)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Transform.

        Args:
            img: real or complex image, shape (channel, *spatial) or (channel, *spatial, slice).

        Returns:
            Complex k-space of the same shape, precision (complex64 for float32), device and metadata.

        Raises:
            ValueError: if the number of axes does not fit, or a value is NaN or Inf.
        """
        image = checked_tensor(img, "image", self.spatial_dims)
        kspace = image_to_kspace(slices_first(plain(image), self.spatial_dims), self.spatial_dims)
        return with_meta_of(slices_last(kspace, self.spatial_dims), image)


class KSpaceToImage(Transform):
    """Inverse of :class:`ImageToKSpace`: the complex image of k-space.

    Args:
        spatial_dims: number of axes after the channel to transform (1, 2 or 3); one more axis is taken as slices.

    Raises:
        ValueError: if ``spatial_dims`` is not 1, 2 or 3.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 5, 6)
        >>> torch.allclose(KSpaceToImage()(ImageToKSpace()(image)).as_tensor().real, image, atol=1e-6)
        True
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, spatial_dims: int = 2) -> None:
        self.spatial_dims = check_spatial_dims(spatial_dims)
        self._warn_off_centre = CentreWarning(__name__, spatial_dims)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Transform.

        Args:
            img: complex k-space, shape (channel, *spatial) or (channel, *spatial, slice), DC at ``n // 2``; where it lies
                elsewhere, the log says so once.

        Returns:
            Complex image of the same shape, device and metadata.

        Raises:
            ValueError: if the data is real, the number of axes does not fit, or a value is NaN or Inf.
        """
        kspace = checked_tensor(img, "k-space", self.spatial_dims, kspace=True)
        slices = slices_first(plain(kspace), self.spatial_dims)
        self._warn_off_centre(slices)
        image = kspace_to_image(slices, self.spatial_dims)
        return with_meta_of(slices_last(image, self.spatial_dims), kspace)


class ImageToKSpaced(EachKey):
    """Dictionary version of :class:`ImageToKSpace`; replaces every key's image by its k-space.

    Args:
        keys: keys of the images.
        spatial_dims: number of axes after the channel to transform.
        allow_missing_keys: skip missing keys instead of raising KeyError.

    Example:
        >>> import torch
        >>> ImageToKSpaced("image")({"image": torch.ones(1, 4, 4)})["image"].dtype
        torch.complex64
    """

    def __init__(self, keys: KeysCollection, spatial_dims: int = 2, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = ImageToKSpace(spatial_dims)


class KSpaceToImaged(EachKey):
    """Dictionary version of :class:`KSpaceToImage`; replaces every key's k-space by its complex image.

    Args:
        keys: keys of the k-spaces.
        spatial_dims: number of axes after the channel to transform.
        allow_missing_keys: skip missing keys instead of raising KeyError.

    Example:
        >>> import torch
        >>> KSpaceToImaged("kspace")({"kspace": torch.ones(1, 4, 4, dtype=torch.complex64)})["kspace"].shape
        torch.Size([1, 4, 4])
    """

    def __init__(self, keys: KeysCollection, spatial_dims: int = 2, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = KSpaceToImage(spatial_dims)


ImageToKSpaceD = ImageToKSpaceDict = ImageToKSpaced
KSpaceToImageD = KSpaceToImageDict = KSpaceToImaged


class CropKSpace(Transform):
    """Keep the centre of k-space: a lower resolution over the same field of view.

    Values are scaled by ``sqrt(cropped positions / all positions)``, so that with the orthonormal transform *image*
    intensities are kept (a constant image keeps its value). DC stays at ``n // 2``. The affine of a MetaTensor is
    updated: voxels grow by ``n / roi_size``, and the voxel at ``n // 2`` stays at its place in the world.

    Args:
        roi_size: size of the centre along each spatial axis; one number for all axes; -1 keeps an axis.
        domain: ``"kspace"`` for k-space in and out; ``"image"`` for an image in and out. A real image gives a real
            image: on an even ``roi_size`` the highest frequency has lost its conjugate partner, and its imaginary part
                is dropped.
        spatial_dims: number of axes after the channel that are cropped (1, 2 or 3); one more axis is taken as slices.

    Raises:
        ValueError: if ``roi_size`` is neither positive nor -1, ``domain`` is unknown or ``spatial_dims`` is not 1, 2 or
            3.

    Example:
        >>> import torch
        >>> CropKSpace(4, domain="image")(torch.full((1, 8, 6), 3.0)).as_tensor()[0, 0].round()
        tensor([3., 3., 3., 3.])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, roi_size: Sequence[int] | int, domain: str = "kspace", spatial_dims: int = 2) -> None:
        self.spatial_dims = check_spatial_dims(spatial_dims)
        several = isinstance(roi_size, Sequence) or np.ndim(roi_size) > 0
        given: Any = roi_size if several else [roi_size] * self.spatial_dims
        sizes = [as_whole(n, "roi_size") for n in given]
        if len(sizes) != self.spatial_dims or any(n < 1 and n != -1 for n in sizes):
            raise ValueError(
                f"roi_size must be one size or {self.spatial_dims}, positive or -1 (keeps an axis), got {roi_size!r}."
            )
        if domain not in ("kspace", "image"):
            raise ValueError(f"domain must be 'kspace' or 'image', got {domain!r}.")
        self.roi_size = tuple(sizes)
        self.domain = domain

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Crop.

        Args:
            img: complex k-space, or an image where ``domain="image"``; shape (channel, *spatial) or (channel, *spatial,
                slice).

        Returns:
            The cropped k-space or image, shape (channel, *roi_size) or (channel, *roi_size, slice).

        Raises:
            ValueError: if ``roi_size`` is larger than the grid, or as :class:`ImageToKSpace` and :class:`KSpaceToImage`
                say.
        """
        in_kspace = self.domain == "kspace"
        data = checked_tensor(img, "k-space" if in_kspace else "image", self.spatial_dims, kspace=in_kspace)
        grid = tuple(data.shape[1 : 1 + self.spatial_dims])
        size = tuple(n if r == -1 else r for n, r in zip(grid, self.roi_size, strict=True))
        if any(r > n for n, r in zip(grid, size, strict=True)):
            raise ValueError(f"roi_size {size} is larger than the grid {grid}; a crop cannot add frequencies.")
        stack = slices_first(plain(data), self.spatial_dims)
        kspace = stack if in_kspace else image_to_kspace(stack, self.spatial_dims)
        cropped = crop_kspace(kspace, list(size), self.spatial_dims) * math.sqrt(math.prod(size) / math.prod(grid))
        if not in_kspace:
            cropped = kspace_to_image(cropped, self.spatial_dims)
            cropped = cropped if data.is_complex() else cropped.real
        result = with_meta_of(slices_last(cropped, self.spatial_dims).contiguous(), data)
        return _coarser(result, grid, size) if isinstance(result, MetaTensor) else result


def _coarser(image: MetaTensor, grid: tuple[int, ...], size: tuple[int, ...]) -> MetaTensor:
    """Update the affine: old index = n // 2 + (new index - r // 2) * n / r along every cropped axis."""
    affine = image.affine
    new_to_old = torch.eye(affine.shape[-1], dtype=affine.dtype, device=affine.device)
    for axis, (n, r) in enumerate(zip(grid, size, strict=True)):
        if axis < affine.shape[-1] - 1:
            new_to_old[axis, axis] = n / r
            new_to_old[axis, -1] = n // 2 - (r // 2) * n / r
    image.affine = affine @ new_to_old
    return image


class CropKSpaced(EachKey):
    """Dictionary version of :class:`CropKSpace`; replaces every key's data.

    Args:
        keys: keys of the k-spaces or images.
        roi_size: size of the centre along each spatial axis; -1 keeps an axis.
        domain: ``"kspace"`` or ``"image"``.
        spatial_dims: number of axes after the channel that are cropped.
        allow_missing_keys: skip missing keys instead of raising KeyError.

    Example:
        >>> import torch
        >>> CropKSpaced("image", 4, domain="image")({"image": torch.ones(1, 8, 8)})["image"].shape
        torch.Size([1, 4, 4])
    """

    def __init__(
        self,
        keys: KeysCollection,
        roi_size: Sequence[int] | int,
        domain: str = "kspace",
        spatial_dims: int = 2,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = CropKSpace(roi_size, domain, spatial_dims)


CropKSpaceD = CropKSpaceDict = CropKSpaced
