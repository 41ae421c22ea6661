"""Undersampled k-space and its zero-filled reconstruction."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from infomri_monai.acquisition.measurement import apply_mask
from infomri_monai.transforms.common import (
    check_new_keys,
    checked_mask,
    checked_tensor,
    complex_to_channels,
    output_name,
    plain,
    with_meta_of,
)
from infomri_monai.transforms.fourier import KSpaceToImage


class Undersample(Transform):
    """Keep the k-space samples that a mask selects: y = m * k.

    Example:
        >>> import torch
        >>> Undersample()(torch.ones(1, 2, 2, dtype=torch.complex64), torch.eye(2)[None]).as_tensor().real
        tensor([[[1., 0.],
                 [0., 1.]]])
    """

    backend = [TransformBackends.TORCH]

    def __call__(self, img: NdarrayOrTensor, mask: NdarrayOrTensor) -> Tensor:  # type: ignore[override]
        """Undersample.

        Args:
            img: complex k-space, shape (channel, *spatial) or (channel, *spatial, slice).
            mask: 0/1, as many axes as the k-space, each of the same size or of size 1, where it broadcasts.

        Returns:
            Complex k-space of the same shape, dtype, device and metadata, zero where nothing is measured.

        Raises:
            ValueError: if the k-space is real or holds NaN or Inf, or the mask does not fit it or is complex.
        """
        kspace = checked_tensor(img, "k-space", kspace=True)
        return with_meta_of(apply_mask(plain(kspace), checked_mask(mask, kspace)), kspace)


class ZeroFilled(Transform):
    """Zero-filled reconstruction: the inverse transform of undersampled k-space.

    Args:
        channels: True (default, what exported networks take) for real data with the real parts of all channels first,
            then their imaginary parts; False for a complex image.
        spatial_dims: number of axes after the channel to transform (1, 2 or 3); one more axis is taken as slices.

    Raises:
        ValueError: if ``spatial_dims`` is not 1, 2 or 3.

    Example:
        >>> import torch
        >>> ZeroFilled()(torch.ones(1, 8, 8, dtype=torch.complex64)).shape
        torch.Size([2, 8, 8])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, channels: bool = True, spatial_dims: int = 2) -> None:
        self.channels = channels
        self.to_image = KSpaceToImage(spatial_dims)

    def __call__(self, img: NdarrayOrTensor) -> Tensor:
        """Reconstruct.

        Args:
            img: complex k-space, zero where not measured, shape (channel, *spatial) or (channel, *spatial, slice).

        Returns:
            Real (2 * channel, *spatial) or complex (channel, *spatial), with the slice axis, device and metadata kept.

        Raises:
            ValueError: as :class:`KSpaceToImage` says.
        """
        image = self.to_image(img)
        return with_meta_of(complex_to_channels(plain(image)), image) if self.channels else image


class Undersampled(MapTransform):
    """Dictionary version of :class:`Undersample`; replaces every key's k-space by the undersampled one.

    Args:
        keys: keys of the k-spaces.
        mask_key: key of the mask that serves them all.
        allow_missing_keys: skip missing keys instead of raising KeyError.

    Raises:
        KeyError: if the mask is missing.

    Example:
        >>> import torch
        >>> data = {"kspace": torch.ones(1, 8, 8, dtype=torch.complex64), "mask": torch.zeros(1, 8, 8)}
        >>> float(Undersampled("kspace")(data)["kspace"].abs().sum())
        0.0
    """

    backend = Undersample.backend

    def __init__(self, keys: KeysCollection, mask_key: str = "mask", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.transform = Undersample()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Undersample every key."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key], d[self.mask_key])
        return d


class ZeroFilledd(MapTransform):
    """Dictionary version of :class:`ZeroFilled`; adds the reconstruction and keeps the k-space.

    Args:
        keys: keys of the undersampled k-spaces.
        channels: real channels (default) or complex.
        spatial_dims: number of axes after the channel to transform.
        zero_filled_key: where the reconstruction goes; with several keys, ``{key}_{zero_filled_key}``.
        allow_missing_keys: skip missing keys instead of raising KeyError.
        overwrite: replace what the data holds under that name; False refuses.

    Raises:
        ValueError: as :class:`ZeroFilled`, or if the data holds the output's name already.

    Example:
        >>> import torch
        >>> sorted(ZeroFilledd("kspace")({"kspace": torch.ones(1, 8, 8, dtype=torch.complex64)}))
        ['kspace', 'zero_filled']
    """

    backend = ZeroFilled.backend

    def __init__(
        self,
        keys: KeysCollection,
        channels: bool = True,
        spatial_dims: int = 2,
        zero_filled_key: str = "zero_filled",
        allow_missing_keys: bool = False,
        overwrite: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.zero_filled_key, self.overwrite = zero_filled_key, overwrite
        self.transform = ZeroFilled(channels, spatial_dims)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Reconstruct every key."""
        d = dict(data)
        names = {key: output_name(self.keys, key, self.zero_filled_key) for key in self.key_iterator(d)}
        check_new_keys(d, self.overwrite, zero_filled_key=names.values())
        return {**d, **{name: self.transform(d[key]) for key, name in names.items()}}


UndersampleD = UndersampleDict = Undersampled
ZeroFilledD = ZeroFilledDict = ZeroFilledd
