"""A mask from any sampling policy, drawn from MONAI's random state."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends

from infomri_monai.arrays import as_number
from infomri_monai.sampling import MaskSample, SamplingPolicy
from infomri_monai.sampling.policy import check_ratio_range
from infomri_monai.transforms.common import (
    DrawsOnce,
    check_same_grid,
    check_spatial_dims,
    checked_tensor,
    draw_seed,
    seeded_generator,
    with_meta_of,
)


def ratio_range(ratio: float | Sequence[float]) -> tuple[float, float]:
    """One ratio or a (low, high) pair as (low, high); ValueError where a ratio is outside (0, 1] or low > high."""
    bounds: Any = ratio
    if not isinstance(ratio, Sequence) and math.prod(np.shape(ratio)) == 1:
        bounds = [as_number(ratio, "ratio")] * 2
    if isinstance(bounds, str) or np.shape(bounds) != (2,):
        raise ValueError(f"ratio must be one sampling ratio or a (low, high) range, got {ratio!r}.")
    return check_ratio_range(bounds, "ratio")


def as_policy(policy: SamplingPolicy | str | os.PathLike[str]) -> SamplingPolicy:
    """A policy as it is, or loaded from its checkpoint's path."""
    if isinstance(policy, SamplingPolicy):
        return policy
    if isinstance(policy, (str, os.PathLike)):
        from infomri_monai.sampling.checkpoint import load_policy

        return load_policy(policy)
    raise ValueError(f"policy must be a SamplingPolicy or the path of a saved one, got {type(policy).__name__}.")


class RandSampleMask(Randomizable, Transform):
    """Sample a mask for the grid of an image (or of its k-space).

    ``randomize`` draws the ratio and one seed from ``self.R``; the policy draws the mask from a torch generator with
    that seed, without gradient. The policy is used, not copied: training it in this process changes the masks.

    Args:
        policy: any sampling policy, or the path of a learned one's checkpoint (see
            ``infomri_monai.sampling.save_policy``).
        ratio: sampling ratio in (0, 1], or a (low, high) range to draw it from uniformly, anew for every mask.
        spatial_dims: number of axes after the channel that the policy samples (2 or 3, 1 for lines). One more axis is
            taken as slices, which share the mask, as they do in one multi-slice acquisition.

    Raises:
        ValueError: if ``ratio`` is outside (0, 1] or its low > high, or ``policy`` is neither a policy nor a path.
        OSError, ValueError: as ``load_policy`` says, for a path.

    Example:
        >>> import torch
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> sample = RandSampleMask(PatternGenerationNetwork((32, 32)), ratio=0.25).set_random_state(0)
        >>> mask, probabilities, ratio = sample(torch.rand(1, 32, 32))
        >>> mask.shape, round(float(ratio), 2)
        (torch.Size([1, 32, 32]), 0.25)
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self, policy: SamplingPolicy | str | os.PathLike[str], ratio: float | Sequence[float], spatial_dims: int = 2
    ) -> None:
        self.spatial_dims = check_spatial_dims(spatial_dims)
        self.ratio_range = ratio_range(ratio)
        self.policy = as_policy(policy)
        self._ratio = self.ratio_range[0]
        self._seed: int | None = None

    def randomize(self, data: Any = None) -> None:
        """Draw the ratio and the seed of the mask's generator."""
        self._ratio = float(self.R.uniform(*self.ratio_range))
        self._seed = draw_seed(self.R)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> MaskSample:
        """Sample a mask.

        Args:
            img: image or k-space, shape (channel, *spatial) or (channel, *spatial, slice); only its grid is used.
            randomize: draw anew; False repeats the last mask.

        Returns:
            The mask, 0/1 floats of shape (1, *spatial) with size 1 along a read-out axis (and along a slice axis); its
            probabilities, of the same shape; and its realised ratio, a float tensor without axes. On the image's
            device.

        Raises:
            ValueError: if the number of axes does not fit, the grid differs from the policy's, or no mask on this grid
                can meet the ratio.
        """
        image = checked_tensor(img, "image", self.spatial_dims)
        if randomize:
            self.randomize()
        sample = self.sample(image.shape[1:], image.device)
        return sample._replace(
            mask=with_meta_of(sample.mask, image), probabilities=with_meta_of(sample.probabilities, image)
        )

    @torch.no_grad()
    def sample(self, shape: Sequence[int], device: torch.device | str = "cpu") -> MaskSample:
        """The mask of the last draw for an image of ``shape`` (without the channel), as :meth:`__call__` returns it."""
        source = next(chain(self.policy.parameters(), self.policy.buffers()), torch.empty(0)).device
        generator = seeded_generator(self._seed, source)
        drawn = self.policy([self._ratio], shape[: self.spatial_dims], generator)
        mask, probabilities = drawn.mask[0].to(device), drawn.probabilities[0].to(device)
        if len(shape) > self.spatial_dims:
            mask, probabilities = mask.unsqueeze(-1), probabilities.unsqueeze(-1)
        return MaskSample(mask, probabilities, drawn.ratio[0].to(device))


class RandSampleMaskd(DrawsOnce):
    """Dictionary version of :class:`RandSampleMask`; adds the mask and its realised ratio, leaves the keys as they are.

    Args:
        keys: keys of images or k-spaces; one mask serves all, so they must share a grid.
        policy: any sampling policy, or the path of a learned one's checkpoint.
        ratio: sampling ratio in (0, 1], or a (low, high) range.
        spatial_dims: number of axes after the channel that the policy samples.
        mask_key: where the mask goes, shape (1, *spatial).
        ratio_key: where the realised ratio goes, a float tensor without axes.
        allow_missing_keys: skip missing keys instead of raising KeyError; without any key nothing is added.

    Raises:
        ValueError: as :class:`RandSampleMask`, and if the keys' grids differ.

    Example:
        >>> import torch
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> sample = RandSampleMaskd("image", PatternGenerationNetwork((32, 32)), ratio=(0.1, 0.3))
        >>> sorted(sample({"image": torch.rand(1, 32, 32)}))
        ['image', 'mask', 'ratio']
    """

    def __init__(
        self,
        keys: KeysCollection,
        policy: SamplingPolicy | str | os.PathLike[str],
        ratio: float | Sequence[float],
        spatial_dims: int = 2,
        mask_key: str = "mask",
        ratio_key: str = "ratio",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = RandSampleMask(policy, ratio, spatial_dims)
        self.mask_key = mask_key
        self.ratio_key = ratio_key

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, Any]:
        """Add the mask and its realised ratio."""
        d: dict[Hashable, Any] = dict(data)
        dims = self.transform.spatial_dims
        images = {key: checked_tensor(d[key], f"image {key!r}", dims) for key in self.key_iterator(d)}
        check_same_grid((key, tuple(image.shape[1:])) for key, image in images.items())
        self.randomize()
        if images:
            first = next(iter(images.values()))
            d[self.mask_key], _, d[self.ratio_key] = self.transform(first, randomize=False)
        return d


RandSampleMaskD = RandSampleMaskDict = RandSampleMaskd
