"""Sixteen bits for an image of any range, with the bound of what they lose."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infomri_monai.deploy.dicom.geometry import decimal

__all__ = ["Quantised", "quantise"]

LARGEST = 2**16 - 1


class Quantised(NamedTuple):
    """Stored values and how to read them: ``stored * slope + intercept``.

    Attributes:
        stored: uint16, the image's shape.
        slope: RescaleSlope, exactly as its decimal string says.
        intercept: RescaleIntercept, exactly as its decimal string says.
    """

    stored: NDArray[np.uint16]
    slope: float
    intercept: float


def quantise(image: NDArray[Any]) -> Quantised:
    """Store a real image in 16 bits, one slope and intercept for all of it.

    Integers that span at most 65535 keep their values exactly (slope 1; intercept 0 where they are in 0..65535). Otherwise no
    value is off by more than (max - min) / 65535 / 2, the half step of 16 bits; the decimal strings of slope and intercept have
    16 characters, which adds at most 1e-9 of the largest magnitude. Negative values are stored by a negative intercept.

    Args:
        image: finite real numbers, any shape.

    Returns:
        Stored values, slope and intercept.

    Raises:
        ValueError: if a value is not finite or the range is too large for a double.

    Example:
        >>> quantise(np.array([-1.0, 0.25, 1.0])).stored.tolist()
        [0, 40959, 65535]
        >>> quantise(np.array([3.0, 70.0]))
        Quantised(stored=array([ 3, 70], dtype=uint16), slope=1.0, intercept=0.0)
    """
    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low):
        raise ValueError(f"image must be finite, got values from {low} to {high}.")
    if high - low <= LARGEST and bool((values == np.rint(values)).all()) and max(abs(low), abs(high)) < 2**53:
        intercept = 0.0 if low >= 0 and high <= LARGEST else low
        if float(str(decimal(intercept))) == intercept:
            return Quantised((values - intercept).astype(np.uint16), 1.0, intercept)
    intercept = float(str(decimal(low)))
    # a little larger, so that the string, which has nine digits at least, is not smaller than the step
    slope = float(str(decimal((high - low) / LARGEST * (1 + 1e-9)))) or 1.0
    stored = np.rint((values - intercept) / slope).clip(0, LARGEST)
    return Quantised(stored.astype(np.uint16), slope, intercept)
