"""Noise in k-space, drawn from MONAI's random state."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends
from torch import Tensor

from infomri_monai.acquisition import ComplexGaussianNoise, NoiseModel
from infomri_monai.acquisition.measurement import apply_mask
from infomri_monai.arrays import as_number
from infomri_monai.transforms.common import (
    DrawsOnce,
    check_spatial_dims,
    checked_mask,
    checked_tensor,
    draw_seed,
    plain,
    seeded_generator,
    slices_first,
    slices_last,
    with_meta_of,
)


def measure(
    kspace: Tensor, mask: Tensor, noise: NoiseModel, generator: torch.Generator, image: Tensor | None = None
) -> Tensor:
    """m * (k + noise), equation (2) with k = F x, without drawing noise that the mask hides.

    Complex Gaussian noise is independent between positions, so that drawing it for the measured ones alone is the
    same law at a fraction of the time; any other model draws for all positions.

    Args:
        kspace: fully sampled, shape (..., *spatial) with ``noise.spatial_dims`` spatial axes.
        mask: 0/1, shape (1, ..., 1, *spatial) with as many axes, size 1 along a read-out axis.
        noise: noise model.
        generator: source of the noise, on the device of ``kspace``.
        image: the image of ``kspace`` where it is at hand.

    Returns:
        Noisy k-space of the same shape, zero where nothing is measured.
    """
    if type(noise) is not ComplexGaussianNoise or noise.noise_std == 0:
        return apply_mask(noise(kspace, generator, image), mask)
    dims = noise.spatial_dims
    axes = [axis for axis in range(-dims, 0) if mask.shape[axis] > 1]
    if len(axes) == 1:  # whole lines
        axis, full, chosen = axes[0], kspace, mask
    else:  # single positions
        axis, full, chosen = -1, kspace.flatten(-dims), mask.expand(*mask.shape[:-dims], *kspace.shape[-dims:])
    index = chosen.bool().flatten().nonzero()[:, 0]
    samples = full.index_select(axis, index)
    deviates = torch.randn((*samples.shape, 2), generator=generator, device=full.device, dtype=full.real.dtype)
    sigma = noise.sigma(kspace, image)
    noisy = samples + torch.view_as_complex(deviates) * (sigma if full is kspace else sigma.flatten(-dims))
    return torch.zeros_like(full).index_copy_(axis, index, noisy).reshape(kspace.shape)


class RandKSpaceNoise(RandomizableTransform):
    """Add the noise of a measurement to fully sampled k-space.

    ``randomize`` draws one seed from ``self.R``; the noise model draws from a torch generator with that seed on the
    data's device. Channels are coils and have noise of one standard deviation; contrasts belong under keys of their own.

    Args:
        noise: any noise model; None for complex Gaussian noise of 1 % of the image's peak per real component. The peak is that
            of the image which the given k-space has: of k-space that was undersampled before, of the zero-filled image.
        prob: probability that noise is added at all, in [0, 1].
        spatial_dims: number of axes after the channel of one image (2 or 3, 1 for lines); one more axis is taken as
            slices, each with its own peak.

    Raises:
        ValueError: if ``noise`` is no noise model or was made for another ``spatial_dims``, or ``prob`` is outside [0,
            1].

    Example:
        >>> import torch
        >>> kspace = torch.zeros(1, 64, 64, dtype=torch.complex64)
        >>> noise = RandKSpaceNoise(ComplexGaussianNoise(0.5, reference="absolute")).set_random_state(0)
        >>> round(float(noise(kspace).as_tensor().imag.std()), 1)
        0.5
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, noise: NoiseModel | None = None, prob: float = 1.0, spatial_dims: int = 2) -> None:
        if not 0 <= (prob := as_number(prob, "prob")) <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob!r}.")
        super().__init__(float(prob))
        self.spatial_dims = check_spatial_dims(spatial_dims)
        self.noise = ComplexGaussianNoise(spatial_dims=self.spatial_dims) if noise is None else noise
        if not isinstance(self.noise, NoiseModel):
            raise ValueError(f"noise must be a NoiseModel of infomri_monai.acquisition, got {type(noise).__name__}.")
        if self.noise.spatial_dims != self.spatial_dims:
            raise ValueError(
                f"noise was made for spatial_dims={self.noise.spatial_dims}, the transform for {self.spatial_dims}."
            )
        self._seed: int | None = None

    def randomize(self, data: Any = None) -> None:
        """Draw whether noise is added and the seed of its generator."""
        super().randomize(None)
        self._seed = draw_seed(self.R)

    def __call__(
        self,
        img: NdarrayOrTensor,
        randomize: bool = True,
        mask: NdarrayOrTensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Add noise.

        Args:
            img: complex k-space, shape (channel, *spatial) or (channel, *spatial, slice), DC at ``n // 2``.
            randomize: draw anew; False repeats the last noise.
            mask: 0/1, shape (1, *spatial), size 1 where it broadcasts. Where given, only the samples it selects get
                noise, which is faster and all that matters when the mask is applied next; the others are kept as they
                are.
            generator: continue this generator, on the data's device, instead of starting one from the drawn seed.

        Returns:
            Noisy k-space of the same shape, dtype, device and metadata.

        Raises:
            ValueError: if the data is real, the number of axes does not fit, a value is NaN or Inf, the mask does
                not fit, or the noise is relative to the peak of an image whose k-space the mask was applied to before.
        """
        kspace = checked_tensor(img, "k-space", self.spatial_dims, kspace=True)
        selection = None if mask is None else checked_mask(mask, kspace, channels=1)
        if randomize:
            self.randomize()
        if not self._do_transform:
            return kspace
        generator = self.generator(kspace.device) if generator is None else generator
        clean = slices_first(plain(kspace), self.spatial_dims)
        if selection is None:
            noisy = self.noise(clean, generator)
        else:
            selection = slices_first(selection, self.spatial_dims)
            self._check_reference(clean, selection)
            noisy = torch.where(selection > 0, measure(clean, selection, self.noise, generator), clean)
        return with_meta_of(slices_last(noisy, self.spatial_dims), kspace)

    def _check_reference(self, kspace: Tensor, mask: Tensor) -> None:
        """The peak of a zero-filled image is not the image's."""
        hidden = kspace.detach()[(mask == 0).expand_as(kspace)]
        if getattr(self.noise, "reference", "") == "peak" and len(hidden) and not hidden.any() and kspace.any():
            raise ValueError(
                "noise is relative to the peak of the image, but k-space is zero outside the mask, so that its image is not known: "
                "add the noise before the mask is applied, or give a noise model with reference='absolute'."
            )

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh generator from the last drawn seed."""
        return seeded_generator(self._seed, device)


class RandKSpaceNoised(DrawsOnce, RandomizableTransform):
    """Dictionary version of :class:`RandKSpaceNoise`.

    One draw serves all keys: their noise comes one after the other from one generator, so that it is independent
    between keys, as between the contrasts of one examination.

    Args:
        keys: keys of the k-spaces.
        noise: any noise model; None for complex Gaussian noise of 1 % of the image's peak.
        prob: probability that noise is added at all, to all keys or to none.
        spatial_dims: number of axes after the channel of one image.
        mask_key: key of a mask; where given, only the samples it selects get noise, and the mask must be there.
        allow_missing_keys: skip missing keys instead of raising KeyError.

    Example:
        >>> import torch
        >>> data = {"kspace": torch.ones(1, 8, 8, dtype=torch.complex64)}
        >>> RandKSpaceNoised("kspace").set_random_state(0)(data)["kspace"].shape
        torch.Size([1, 8, 8])
    """

    def __init__(
        self,
        keys: KeysCollection,
        noise: NoiseModel | None = None,
        prob: float = 1.0,
        spatial_dims: int = 2,
        mask_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_key = mask_key
        self.transform = RandKSpaceNoise(noise, prob, spatial_dims)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Add noise to every key."""
        d = dict(data)
        self.randomize(None)
        generators: dict[torch.device, torch.Generator] = {}
        for key in self.key_iterator(d):
            kspace = checked_tensor(d[key], f"k-space {key!r}", kspace=True)
            generator = generators.setdefault(kspace.device, self.transform.generator(kspace.device))
            mask = None if self.mask_key is None else d[self.mask_key]
            d[key] = self.transform(kspace, randomize=False, mask=mask, generator=generator)
        return d


RandKSpaceNoiseD = RandKSpaceNoiseDict = RandKSpaceNoised
