"""The distribution of a structure's volume over samples, and whether the raters' volumes lie in it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.metrics.overlap import check_mask_sets, mask_pixels, present

__all__ = ["VolumeInterval", "volume_coverage", "volume_interval", "volume_quantiles"]


class VolumeInterval(NamedTuple):
    """Median and central interval of a volume, each (batch, structure), in pixels or the unit of the pixel's volume.

    Attributes:
        median: half of the samples are smaller.
        lower: lower end of the interval.
        upper: upper end of the interval.
    """

    median: Tensor
    lower: Tensor
    upper: Tensor


@takes(samples="label", pixel_volume="real", level="scalar")
def volume_interval(samples: Tensor, pixel_volume: Tensor | float = 1.0, level: float = 0.9) -> VolumeInterval:
    """Median and central interval of every structure's volume over the samples, interpolated linearly between samples.

    Args:
        samples: 0-1 masks, (batch, sample, structure, *spatial).
        pixel_volume: volume (area) of a pixel, e.g. in mm^3, positive; one for all images or one per image. 1 counts pixels.
        level: share of the samples inside the interval, in (0, 1).

    Returns:
        The three quantiles, float64.

    Raises:
        ValueError: if the shape does not fit, a value is neither 0 nor 1, or ``pixel_volume`` or ``level`` is out of range.

    Example:
        >>> import torch
        >>> samples = (torch.arange(8) < torch.tensor([2, 3, 7]).unsqueeze(1)).reshape(1, 3, 1, 8)
        >>> [round(float(v), 2) for v in volume_interval(samples, pixel_volume=0.5)]
        [1.5, 1.05, 3.3]
    """
    _check_level(level)
    pixels = mask_pixels(present(samples))
    scale = torch.as_tensor(pixel_volume, dtype=pixels.dtype, device=pixels.device).reshape(-1, 1)
    if len(scale) not in (1, len(pixels)) or not (scale > 0).all():
        raise ValueError(
            f"pixel_volume must be positive, 1 or {len(pixels)} numbers (one per image), got {pixel_volume}."
        )
    return VolumeInterval(*(scale * quantile for quantile in _quantiles(pixels, level)))


@takes(volumes="real", level="scalar")
def volume_quantiles(volumes: Tensor, level: float = 0.9) -> VolumeInterval:
    """The quantiles of :func:`volume_interval` for reports, from volumes that are counted already.

    One sample says nothing about its spread: the ends of its interval are NaN, while :func:`volume_interval` puts them on the
    median.

    Args:
        volumes: of every structure in every sample, (batch, sample, structure), any real type and unit, e.g. from
            :func:`~infomri_monai.metrics.mask_pixels`.
        level: share of the samples inside the interval, in (0, 1).

    Returns:
        The three quantiles, float64, in the unit of ``volumes``.

    Raises:
        ValueError: if the shape does not fit, there is no sample, or ``level`` is out of range.

    Example:
        >>> import torch
        >>> volumes = torch.tensor([[[2], [3], [7]]])
        >>> [round(float(v), 2) for v in volume_quantiles(volumes)]
        [3.0, 2.1, 6.6]
        >>> [float(v) for v in volume_quantiles(volumes[:, :1])]
        [2.0, nan, nan]
    """
    _check_level(level)
    if volumes.ndim != 3 or volumes.shape[1] == 0:
        raise ValueError(
            f"volumes must have shape (batch, sample, structure) and at least one sample, got {tuple(volumes.shape)}."
        )
    interval = _quantiles(volumes.double(), level)
    if volumes.shape[1] > 1:
        return interval
    unknown = torch.full_like(interval.median, torch.nan)
    return interval._replace(lower=unknown, upper=unknown)


def _quantiles(volumes: Tensor, level: float) -> VolumeInterval:
    """Over the second axis."""
    quantiles = torch.tensor([0.5, 0.5 - level / 2, 0.5 + level / 2], dtype=volumes.dtype, device=volumes.device)
    return VolumeInterval(*torch.quantile(volumes, quantiles, dim=1).unbind(0))


@takes(samples="label", raters="label", level="scalar")
def volume_coverage(samples: Tensor, raters: Tensor, level: float = 0.9) -> Tensor:
    """Share of the raters whose volume lies inside the samples' central interval, its ends included.

    Raters like the samples lie inside with probability ``level`` (K - 1) / (K + 1) for K samples of different volumes.

    Args:
        samples: 0-1 masks, (batch, sample, structure, *spatial).
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.
        level: share of the samples inside the interval, in (0, 1).

    Returns:
        In [0, 1], (batch, structure); NaN where all raters are missing.

    Raises:
        ValueError: if shapes do not fit, a value is neither 0, 1 nor NaN, or ``level`` is out of range.

    Example:
        >>> import torch
        >>> samples = (torch.arange(8) < torch.tensor([2, 3, 7]).unsqueeze(1)).reshape(1, 3, 1, 8)
        >>> volume_coverage(samples, samples)
        tensor([[0.3333]])
    """
    check_mask_sets(samples, raters)
    interval, volumes = volume_interval(samples, level=level), mask_pixels(raters)
    inside = (volumes >= interval.lower.unsqueeze(1)) & (volumes <= interval.upper.unsqueeze(1))
    return inside.float().masked_fill(volumes.isnan(), torch.nan).nanmean(1)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}.")
