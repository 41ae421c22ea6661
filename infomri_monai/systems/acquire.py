"""The first step of every system: draw the masks, measure."""

from __future__ import annotations

import torch
from torch import Tensor

from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.sampling.policy import MaskSample, SamplingPolicy

__all__ = ["acquire"]


def acquire(
    policy: SamplingPolicy,
    measurement: FourierMeasurement,
    image: Tensor,
    ratio: float | list[float] | Tensor,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, MaskSample]:
    """Simulate an acquisition (Algorithm 1 and equation 2).

    Args:
        policy: chooses the masks.
        measurement: the acquisition.
        image: real or complex, shape (batch, 1, *spatial).
        ratio: one sampling ratio for all, or one per image.
        generator: source of the mask's and the noise's randomness.

    Returns:
        k-space, zero where not measured, (batch, coil, *spatial), and the masks with their probabilities.

    Raises:
        ValueError: if ``ratio`` has neither one entry nor one per image, or as :class:`SamplingPolicy` says.

    Example:
        >>> import torch
        >>> from infomri_monai.sampling import UniformRandom
        >>> kspace, sample = acquire(UniformRandom(), FourierMeasurement(), torch.ones(2, 1, 8, 8), 0.25)
        >>> kspace.shape, float(sample.mask.mean())
        (torch.Size([2, 1, 8, 8]), 0.25)
    """
    ratios = torch.as_tensor(ratio, dtype=torch.float32, device=image.device).reshape(-1)
    if ratios.numel() not in (1, image.shape[0]):
        raise ValueError(f"ratio must have 1 or {image.shape[0]} entries (one per image), got {ratios.numel()}.")
    sample = policy(ratios.expand(image.shape[0]), image.shape[2:], generator)
    return measurement(image, sample.mask, generator), sample
