"""To k-space and back to the image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from infomri_monai.acquisition import image_to_kspace, kspace_to_image
from infomri_monai.transforms.common import (
    check_spatial_dims,
    checked_tensor,
    plain,
    slices_first,
    slices_last,
    with_meta_of,
)

__all__ = [
    "ImageToKSpace",
    "ImageToKSpaceD",
    "ImageToKSpaceDict",
    "ImageToKSpaced",
    "KSpaceToImage",
    "KSpaceToImageD",
    "KSpaceToImageDict",
    "KSpaceToImaged",
]


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

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Transform.

        Args:
            img: complex k-space, shape (channel, *spatial) or (channel, *spatial, slice), DC at ``n // 2``.

        Returns:
            Complex image of the same shape, device and metadata.

        Raises:
            ValueError: if the data is real, the number of axes does not fit, or a value is NaN or Inf.
        """
        kspace = checked_tensor(img, "k-space", self.spatial_dims, kspace=True)
        image = kspace_to_image(slices_first(plain(kspace), self.spatial_dims), self.spatial_dims)
        return with_meta_of(slices_last(image, self.spatial_dims), kspace)


class ImageToKSpaced(MapTransform):
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

    backend = ImageToKSpace.backend

    def __init__(self, keys: KeysCollection, spatial_dims: int = 2, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = ImageToKSpace(spatial_dims)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Transform every key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d


class KSpaceToImaged(MapTransform):
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

    backend = KSpaceToImage.backend

    def __init__(self, keys: KeysCollection, spatial_dims: int = 2, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = KSpaceToImage(spatial_dims)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Transform every key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d


ImageToKSpaceD = ImageToKSpaceDict = ImageToKSpaced
KSpaceToImageD = KSpaceToImageDict = KSpaceToImaged
