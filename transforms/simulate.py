"""A simulated acquisition in one transform: k-space, noise, mask, undersampling, zero-filled reconstruction."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends
from torch import Tensor

from infomri_monai.acquisition import ComplexGaussianNoise, NoiseModel, image_to_kspace, kspace_to_image
from infomri_monai.sampling import MaskSample, SamplingPolicy
from infomri_monai.transforms.common import (
    DrawsOnce,
    check_new_keys,
    check_same_grid,
    checked_tensor,
    complex_to_channels,
    in_kspace,
    output_name,
    plain,
    slices_first,
    slices_last,
    with_meta_of,
)
from infomri_monai.transforms.mask import RandSampleMask
from infomri_monai.transforms.noise import RandKSpaceNoise, measure


class SimulatedAcquisition(NamedTuple):
    """What :class:`SimulateAcquisition` returns, for one image with ``c`` channels.

    Attributes:
        kspace: undersampled noisy k-space, complex, zero where not measured, shape (c, *spatial).
        mask: 0/1 floats, shape (1, *spatial), size 1 along a read-out axis.
        ratio: realised sampling ratio, a float tensor without axes.
        zero_filled: zero-filled image, real (2 * c, *spatial) or complex (c, *spatial).
    """

    kspace: Tensor
    mask: Tensor
    ratio: Tensor
    zero_filled: Tensor


class SimulateAcquisition(Randomizable, Transform):
    """Simulate an undersampled acquisition of an image, y = m * (F x + noise), and its zero-filled reconstruction.

    The same as ImageToKSpace, RandKSpaceNoise, RandSampleMask, Undersample and ZeroFilled one after the other on one
    random state. A volume with ``spatial_dims=2`` (a NIfTI volume, say) is acquired slice by slice along its last axis
    with one mask for all slices; ``spatial_dims=3`` samples the volume's k-space with a policy that fits a 3D grid.

    Args:
        policy: any sampling policy, or the path of a learned one's checkpoint.
        ratio: sampling ratio in (0, 1], or a (low, high) range to draw it from uniformly for every image.
        noise_std: complex Gaussian noise, standard deviation per real component relative to the peak: the largest magnitude
            of the image, or of the root sum of squares of its channels (coils); 0 for none. None means 0.01, unless
            ``noise`` is given.
        noise: any other noise model, instead of ``noise_std``, e.g. ``ComplexGaussianNoise(5e-4, reference="dc")``.
        spatial_dims: number of axes after the channel that are acquired (1, 2 or 3).
        channels: zero-filled image as real channels (default, what exported networks take: all real parts, then all
            imaginary parts), or False for complex.

    Raises:
        ValueError: if both ``noise_std`` and ``noise`` are given, or as :class:`RandSampleMask`,
            :class:`RandKSpaceNoise` and ``ComplexGaussianNoise`` say.

    Example:
        >>> import torch
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> simulate = SimulateAcquisition(PatternGenerationNetwork((32, 32)), ratio=0.25).set_random_state(0)
        >>> result = simulate(torch.rand(1, 32, 32))
        >>> result.kspace.dtype, result.mask.shape, result.zero_filled.shape
        (torch.complex64, torch.Size([1, 32, 32]), torch.Size([2, 32, 32]))
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        policy: SamplingPolicy | str | os.PathLike[str],
        ratio: float | Sequence[float],
        noise_std: float | None = None,
        noise: NoiseModel | None = None,
        spatial_dims: int = 2,
        channels: bool = True,
    ) -> None:
        if noise is not None and noise_std is not None:
            raise ValueError(f"give noise_std or noise, not both: got {noise_std!r} and {type(noise).__name__}.")
        if noise is None:
            noise = ComplexGaussianNoise(0.01 if noise_std is None else noise_std, spatial_dims=spatial_dims)
        self.add_noise = RandKSpaceNoise(noise, spatial_dims=spatial_dims)
        self.sample_mask = RandSampleMask(policy, ratio, spatial_dims)
        self.spatial_dims = self.sample_mask.spatial_dims
        self.channels = channels

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> SimulateAcquisition:
        """Set the random state, one stream for noise and mask (the same seed for both would make them dependent)."""
        super().set_random_state(seed, state)
        self.add_noise.set_random_state(state=self.R)
        self.sample_mask.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw the ratio and the mask's seed, then the noise's seed."""
        self.sample_mask.randomize()
        self.add_noise.randomize()

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> SimulatedAcquisition:
        """Simulate.

        Args:
            img: real or complex image, shape (channel, *spatial) or (channel, *spatial, slice).
            randomize: draw anew; False repeats the last mask and noise.

        Returns:
            k-space, mask, realised ratio and zero-filled image on the image's device, with its metadata; complex64 and
            float32 unless the image is in double precision. The gradient flows from k-space and zero-filled to the
            image.

        Raises:
            ValueError: if the number of axes does not fit, a value is NaN or Inf, the grid differs from the policy's,
                or no mask on this grid can meet the ratio.
        """
        image = checked_tensor(img, "image", self.spatial_dims)
        if randomize:
            self.randomize()
        sample = self.sample_mask.sample(image.shape[1:], image.device)
        return self.acquire(image, sample, self.add_noise.generator(image.device))

    def acquire(self, image: Tensor, sample: MaskSample, generator: torch.Generator) -> SimulatedAcquisition:
        """Acquire a checked image with a mask of :meth:`RandSampleMask.sample` and noise from ``generator``."""
        dims = self.spatial_dims
        slices = slices_first(plain(image), dims)
        mask = slices_first(sample.mask, dims)
        kspace = measure(image_to_kspace(slices, dims), mask, self.add_noise.noise, generator, slices)
        zero_filled = slices_last(kspace_to_image(kspace, dims), dims)
        return SimulatedAcquisition(
            in_kspace(slices_last(kspace, dims), image),
            in_kspace(sample.mask, image),
            sample.ratio,
            with_meta_of(complex_to_channels(zero_filled) if self.channels else zero_filled, image),
        )


class SimulateAcquisitiond(DrawsOnce):
    """Dictionary version of :class:`SimulateAcquisition`; adds its results and leaves the images as they are.

    One key adds ``kspace``, ``mask``, ``ratio`` and ``zero_filled``. Several keys (contrasts of one examination) share
    the mask and the ratio, have independent noise, and add ``{key}_kspace`` and ``{key}_zero_filled``.

    Args:
        keys: keys of the images; with several, they must share a grid.
        policy: any sampling policy, or the path of a learned one's checkpoint.
        ratio: sampling ratio in (0, 1], or a (low, high) range.
        noise_std: complex Gaussian noise per real component, relative to the peak; 0 for none, None for 0.01.
        noise: any other noise model, instead of ``noise_std``.
        spatial_dims: number of axes after the channel that are acquired; one more axis is taken as slices.
        channels: zero-filled image as real channels (default) or complex.
        kspace_key: name of the undersampled k-space.
        mask_key: name of the mask.
        ratio_key: name of the realised ratio.
        zero_filled_key: name of the zero-filled image.
        allow_missing_keys: skip missing keys instead of raising KeyError; without any key nothing is added.
        overwrite: replace what the data holds under the outputs' names; False refuses.

    Raises:
        ValueError: as :class:`SimulateAcquisition`, if the keys' grids differ, or the data holds an output's name already.

    Example:
        >>> import torch
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> simulate = SimulateAcquisitiond("image", policy=PatternGenerationNetwork((32, 32)), ratio=(0.1, 0.3))
        >>> sorted(simulate.set_random_state(0)({"image": torch.rand(1, 32, 32)}))
        ['image', 'kspace', 'mask', 'ratio', 'zero_filled']
    """

    def __init__(
        self,
        keys: KeysCollection,
        policy: SamplingPolicy | str | os.PathLike[str],
        ratio: float | Sequence[float],
        noise_std: float | None = None,
        noise: NoiseModel | None = None,
        spatial_dims: int = 2,
        channels: bool = True,
        kspace_key: str = "kspace",
        mask_key: str = "mask",
        ratio_key: str = "ratio",
        zero_filled_key: str = "zero_filled",
        allow_missing_keys: bool = False,
        overwrite: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = SimulateAcquisition(policy, ratio, noise_std, noise, spatial_dims, channels)
        self.kspace_key = kspace_key
        self.mask_key = mask_key
        self.ratio_key = ratio_key
        self.zero_filled_key, self.overwrite = zero_filled_key, overwrite

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Simulate the acquisition of every key."""
        d: dict[Hashable, Any] = dict(data)
        dims = self.transform.spatial_dims
        images = {key: checked_tensor(d[key], f"image {key!r}", dims) for key in self.key_iterator(d)}
        check_same_grid((key, tuple(plain(image).shape[1:])) for key, image in images.items())
        self._check_names(d, images)
        self.randomize()
        if not images:
            return d
        first = plain(next(iter(images.values())))
        sample = self.transform.sample_mask.sample(first.shape[1:], first.device)
        generator = self.transform.add_noise.generator(first.device)
        for key, image in images.items():
            result = self.transform.acquire(image, sample, generator)
            d[output_name(self.keys, key, self.kspace_key)] = result.kspace
            d[output_name(self.keys, key, self.zero_filled_key)] = result.zero_filled
            d[self.mask_key], d[self.ratio_key] = result.mask, result.ratio
        return d

    def _check_names(self, data: Mapping[Hashable, Any], images: Iterable[Hashable]) -> None:
        kspaces, zero_filled = (
            [output_name(self.keys, key, name) for key in images] for name in (self.kspace_key, self.zero_filled_key)
        )
        shared = {"mask_key": [self.mask_key], "ratio_key": [self.ratio_key]} if kspaces else {}
        check_new_keys(data, self.overwrite, kspace_key=kspaces, zero_filled_key=zero_filled, **shared)


SimulateAcquisitionD = SimulateAcquisitionDict = SimulateAcquisitiond
