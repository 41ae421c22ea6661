"""A case as DICOM writes it: frames of rows and columns, positions and direction cosines in LPS, decimal strings, sixteen bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.valuerep import DSfloat

__all__ = ["Quantised", "SliceGeometry", "decimal", "decimals", "dicom_frames", "quantise", "slice_geometry"]

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
#: largest cosine of the angle between rows and columns; scanners round theirs to six digits
SKEW = 1e-4
#: stored value
LARGEST = 2**16 - 1


@dataclass(frozen=True)
class SliceGeometry:
    """Where the slices of a case lie; everything in DICOM's patient coordinates (LPS) and mm, float64.

    Attributes:
        orientation: direction cosines of the rows, then of the columns (ImageOrientationPatient), shape (6,).
        positions: centre of the first pixel of every slice (ImagePositionPatient), in the order of the case's slices,
            shape (slices, 3).
        pixel_spacing: distance of neighbouring rows, then of neighbouring columns (PixelSpacing).
        slice_spacing: distance of neighbouring slices along their normal (SpacingBetweenSlices).
        order: the case's slices as they follow one another along the normal (cross product of row and column cosines): 0, 1, ...
            or, where the affine is left-handed, the reverse.
    """

    orientation: NDArray[np.float64]
    positions: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    slice_spacing: float
    order: tuple[int, ...]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the slices, shape (3,)."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return np.asarray(normal / np.linalg.norm(normal))


def slice_geometry(affine: ArrayLike, slices: int) -> SliceGeometry:
    """DICOM's description of a grid.

    A left-handed grid is written as well: every slice keeps its own position, and ``order`` says that they are numbered backwards.
    So is a stack whose slices are shifted against each other (a tilted stack). Rows must be perpendicular to columns, because
    DICOM has no words for pixels that are not.

    Args:
        affine: (column, row, slice) index to RAS in mm, 4 x 4.
        slices: number of slices, at least 1.

    Returns:
        The geometry.

    Raises:
        ValueError: if the affine is not a finite, invertible 4 x 4 matrix with the last row 0 0 0 1, or rows are not perpendicular
            to columns, or there is no slice.

    Example:
        >>> geometry = slice_geometry(np.diag([0.5, 0.75, 3, 1]), slices=2)
        >>> geometry.orientation.tolist(), geometry.pixel_spacing, geometry.slice_spacing
        ([-1.0, 0.0, 0.0, 0.0, -1.0, 0.0], (0.75, 0.5), 3.0)
        >>> geometry.positions.tolist(), geometry.order
        ([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]], (0, 1))

    References:
        DICOM PS3.3 2024e, C.7.6.2.1.1 (Image Position and Image Orientation).
    """
    matrix = _checked(affine)
    if slices < 1:
        raise ValueError(f"slices must be at least 1, got {slices}.")
    steps = RAS_TO_LPS @ matrix[:3, :3] + 0.0  # no negative zeros
    column_spacing, row_spacing = (float(np.linalg.norm(steps[:, axis])) for axis in (0, 1))
    rows, columns = steps[:, 0] / column_spacing, steps[:, 1] / row_spacing
    if abs(skew := float(rows @ columns)) > SKEW:
        raise ValueError(
            f"affine: rows and columns must be perpendicular, got an angle of {np.degrees(np.arccos(skew)):.3f} degrees; DICOM "
            "cannot describe a sheared grid. Resample the case onto a grid without shear."
        )
    normal = np.cross(rows, columns)
    step = float(steps[:, 2] @ normal) / float(np.linalg.norm(normal))
    positions = RAS_TO_LPS @ matrix[:3, 3] + np.arange(slices)[:, None] * steps[:, 2] + 0.0
    order = range(slices) if step > 0 else range(slices - 1, -1, -1)
    return SliceGeometry(
        np.concatenate([rows, columns]), positions, (row_spacing, column_spacing), abs(step), tuple(order)
    )


def _checked(affine: ArrayLike) -> NDArray[np.float64]:
    """The affine as float64, if it is one."""
    matrix = np.asarray(affine, dtype=np.float64)
    valid = matrix.shape == (4, 4) and bool(np.isfinite(matrix).all()) and bool((matrix[3] == (0, 0, 0, 1)).all())
    if not valid:
        raise ValueError(f"affine must be a finite 4 x 4 matrix with the last row 0 0 0 1, got {matrix.tolist()}.")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if lengths.min() == 0 or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3:
        raise ValueError(f"affine must map the three axes to different directions, got {matrix.tolist()}.")
    return matrix


def dicom_frames(image: Any) -> NDArray[Any]:
    """An image as DICOM orders its pixels.

    Args:
        image: real array or tensor, shape (columns, rows), (columns, rows, slices) or (1, columns, rows, slices).

    Returns:
        The same numbers, contiguous, shape (slices, rows, columns).

    Raises:
        ValueError: if the shape is another, an axis is empty, or a value is complex, NaN or infinite.

    Example:
        >>> dicom_frames(np.arange(6.0).reshape(3, 2)).tolist()
        [[[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]]
    """
    array = image.detach().cpu().numpy() if hasattr(image, "detach") else np.asarray(image)
    spatial = array[0] if array.ndim == 4 and len(array) == 1 else array
    if spatial.ndim not in (2, 3) or 0 in spatial.shape:
        raise ValueError(
            f"image must have the shape (columns, rows), (columns, rows, slices) or (1, columns, rows, slices), got {array.shape}."
        )
    if np.iscomplexobj(spatial):
        raise ValueError(f"image must be real, got {array.dtype}; write its magnitude.")
    if bad := int(spatial.size - np.isfinite(spatial).sum()):
        raise ValueError(f"image must be finite, got {bad} NaN or infinite of {spatial.size} values.")
    return np.ascontiguousarray(spatial.reshape(*spatial.shape[:2], -1).transpose(2, 1, 0))


def decimal(value: float) -> DSfloat:
    """A number as a decimal string of at most 16 characters, which hold at least nine significant digits.

    Example:
        >>> str(decimal(-100 / 3)), len(str(decimal(-100 / 3)))
        ('-33.333333333333', 16)
    """
    return DSfloat(float(value), auto_format=True)


def decimals(values: Iterable[float]) -> list[DSfloat]:
    """Several of them."""
    return [decimal(value) for value in values]


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
