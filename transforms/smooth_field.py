"""Smooth random fields: white noise at the knots of a cubic B-spline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["smooth_field"]


def smooth_field(
    shape: tuple[int, int], wavelength: float, draw: np.random.Generator, fields: Sequence[int] = ()
) -> NDArray[np.float32]:
    """Draw Gaussian fields of zero mean and unit variance that vary over about ``wavelength`` pixels.

    Args:
        shape: (height, width).
        wavelength: pixels, positive; up to 2 gives white noise.
        draw: source of the numbers.
        fields: leading axes, one independent field for each position.

    Returns:
        Array of shape (*fields, height, width).

    Example:
        >>> smooth_field((32, 24), 8.0, np.random.default_rng(0), (6,)).shape
        (6, 32, 24)
    """
    knots = [int(np.ceil(n / max(wavelength / 2, 1) - 1e-6)) + 3 for n in shape]
    coarse = draw.standard_normal((*fields, *knots)).astype(np.float32)
    if wavelength <= 2:
        return coarse[..., : shape[0], : shape[1]]
    fy, fx = (_cubic_spline(n, k, wavelength / 2) for n, k in zip(shape, knots, strict=True))
    return np.asarray(fy @ coarse @ fx.T, dtype=np.float32)


def _cubic_spline(length: int, knots: int, spacing: float) -> NDArray[np.float32]:
    """B-spline weights (length, knots), each row of unit norm, so that white noise at the knots keeps its variance."""
    distance = np.abs(np.arange(length)[:, None] / spacing + 1 - np.arange(knots)[None])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    weights = np.where(distance < 1, inner, np.clip(2 - distance, 0, None) ** 3 / 6)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
