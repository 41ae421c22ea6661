"""Where the slices of an ISMRMRD file lie in the patient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infomri_monai.data.raw_errors import RawDataError

__all__ = ["centred_affine", "order_slices", "slice_place"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def slice_place(heads: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Centre and axes of one slice from its lines' headers.

    Args:
        heads: acquisition headers of the slice's lines.

    Returns:
        The centre (3,), and the directions of readout, phase encoding and their cross product as columns (3, 3), LPS, mm; None
        where the directions are not set or no unit vectors at right angles.

    Raises:
        RawDataError: if they are not finite or differ between the lines.
    """
    vectors = np.stack([heads[name].astype(np.float64) for name in ("position", "read_dir", "phase_dir")])
    if not np.isfinite(vectors).all():
        raise RawDataError("the geometry of the lines holds NaN or Inf.")
    spread = np.ptp(vectors, axis=1).max(1)
    if spread[0] > 0.1 or spread[1:].max() > 1e-3:
        raise RawDataError("the lines of one slice have different positions or directions.")
    centre, read, phase = vectors[:, 0]
    products = np.array([read @ read, phase @ phase, read @ phase])
    if np.abs(products - [1, 1, 0]).max() > 1e-3:
        return None
    read = read / np.linalg.norm(read)
    phase = phase - (phase @ read) * read
    phase = phase / np.linalg.norm(phase)
    return centre, np.stack([read, phase, np.cross(read, phase)], axis=1)


def order_slices(
    places: list[tuple[NDArray[np.float64], NDArray[np.float64]]], thickness: float
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Order slices along their normal, the cross product of readout and phase encoding.

    Args:
        places: centre and axes of every slice, from :func:`slice_place`.
        thickness: of a slice, mm; the step where there is one slice only.

    Returns:
        The slices' order; the centre of the first (3,) and the step to the next (3,), LPS, mm.

    Raises:
        RawDataError: if slices are not parallel, lie at one place, or are not equally spaced, as where one is missing.

    Example:
        >>> axes = np.eye(3)
        >>> places = [(np.array([0.0, 0.0, z]), axes) for z in (6, 0, 3)]
        >>> order_slices(places, 3.0)[0]
        [1, 2, 0]
    """
    axes = places[0][1]
    if any(np.abs(other - axes).max() > 1e-3 for _, other in places):
        raise RawDataError("the slices are not parallel.")
    centres = np.stack([centre for centre, _ in places])
    along = centres @ axes[:, 2]
    order = [int(i) for i in np.argsort(along, kind="stable")]
    if len(order) == 1:
        return order, centres[0], thickness * axes[:, 2]
    steps = np.diff(centres[order], axis=0)
    gaps = np.diff(along[order])
    if gaps.min() < 1e-2:
        raise RawDataError("several slices lie at one place.")
    mean = (centres[order[-1]] - centres[order[0]]) / (len(order) - 1)
    if np.abs(steps - mean).max() > max(0.05, 0.01 * float(gaps.min())):
        raise RawDataError(
            f"the slices are not equally spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): is a slice missing?"
        )
    return order, centres[order[0]], mean


def centred_affine(
    centre: NDArray[np.float64],
    axes: NDArray[np.float64],
    size: tuple[int, int],
    pixel: tuple[float, float],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Affine of a stack of slices whose pixel ``n // 2`` lies at the centre of the field of view, as the transform has it.

    Args:
        centre: centre of the first slice (3,), LPS, mm.
        axes: directions of readout and phase encoding in the first two columns, LPS.
        size: pixels along readout and phase encoding.
        pixel: their size, mm.
        step: from a slice to the next (3,), LPS, mm.

    Returns:
        (readout, phase encoding, slice) index to RAS in mm, 4 x 4.

    Example:
        >>> centred_affine(np.zeros(3), np.eye(3), (4, 2), (2.0, 3.0), np.array([0.0, 0.0, 5.0]))[:3]
        array([[-2.,  0.,  0.,  4.],
               [ 0., -3.,  0.,  3.],
               [ 0.,  0.,  5.,  0.]])
    """
    linear = np.stack([axes[:, 0] * pixel[0], axes[:, 1] * pixel[1], step], axis=1)
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ linear
    affine[:3, 3] = _LPS_TO_RAS @ (centre - linear[:, :2] @ np.array([size[0] // 2, size[1] // 2]))
    return affine
