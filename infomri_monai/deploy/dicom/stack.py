"""Order slices in space and give the stack its affine; a stack with holes or doubles is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.dicom.slices import SliceHeader

__all__ = ["Stack", "stack_slices"]

#: share of the spacing by which gaps may differ, for positions written with few decimals
IRREGULAR = 0.02
#: mm; slices nearer than this lie at the same position
SAME_POSITION = 1e-2
#: largest deviation of the two directions from unit length and from a right angle
NOT_ORTHONORMAL = 1e-2
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Stack(NamedTuple):
    """How slices make a volume.

    Attributes:
        order: number (from 0) of the slice at each place, along the normal (row direction x column direction).
        affine: (column, row, slice) index to RAS, mm, 4 x 4.
        warnings: what is odd about it.
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64]
    warnings: tuple[str, ...]


def stack_slices(slices: Sequence[SliceHeader]) -> Stack:
    """Order slices along their normal, with the affine that MONAI's ITK reader gives.

    Directions are made orthonormal, and the spacing is the mean distance of the slices. A single slice is as thick as
    SpacingBetweenSlices, else SliceThickness, else 1 mm (ITK: 1 mm where SpacingBetweenSlices is missing).

    Args:
        slices: at least one, of one orientation.

    Raises:
        DeployError: if the directions are not orthonormal, slices share a position, are missing, are spaced irregularly, or
            are not stacked along their normal. Names slices by their place in the order, from 1.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> from infomri_monai.deploy.dicom.slices import slice_headers
        >>> headers = [slice_headers(d)[0] for d in example_datasets(slices=3, oblique=False, spacing=5.0)]
        >>> stack = stack_slices(headers[::-1])
        >>> stack.order, float(stack.affine[2, 2])
        ((2, 1, 0), 5.0)

    References:
        DICOM PS3.3 (2024), C.7.6.2.1.1 Image Position and Image Orientation.
    """
    directions = _directions(slices[0].orientation)
    positions = np.stack([s.position for s in slices])
    distances = positions @ directions[:, 2]
    order = np.argsort(distances, kind="stable")
    spacing, warnings = _single_spacing(slices[0]) if len(slices) == 1 else _spacing(distances[order], slices[0])
    first = positions[order[0]]
    aside = (positions[order] - first) - np.outer(distances[order] - distances[order[0]], directions[:, 2])
    if np.linalg.norm(aside, axis=1).max() > max(0.05, IRREGULAR * spacing):
        raise DeployError(
            "the slices must be stacked along their normal; these are shifted sideways (sheared or curved)."
        )
    rows, columns = slices[0].pixel_spacing
    affine = np.eye(4)
    affine[:3, :3] = directions * [columns, rows, spacing]
    affine[:3, 3] = first
    return Stack(tuple(int(n) for n in order), _LPS_TO_RAS @ affine, warnings)


def _directions(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row direction, column direction and normal in columns, made orthonormal as ITK does: rows give way."""
    row, column = orientation[:3], orientation[3:]
    defects = (np.linalg.norm(row) - 1, np.linalg.norm(column) - 1, row @ column)
    if np.abs(defects).max() > NOT_ORTHONORMAL:
        raise DeployError("ImageOrientationPatient must hold two orthogonal unit vectors.")
    normal = np.cross(row, column)
    column, normal = column / np.linalg.norm(column), normal / np.linalg.norm(normal)
    return np.stack([np.cross(column, normal), column, normal], axis=1)


def _single_spacing(header: SliceHeader) -> tuple[float, tuple[str, ...]]:
    for value in (header.spacing, header.thickness):
        if value is not None and value > 0:
            return value, ()
    return 1.0, ("the slice has neither SpacingBetweenSlices nor SliceThickness; 1 mm is taken.",)


def _spacing(distances: NDArray[np.float64], header: SliceHeader) -> tuple[float, tuple[str, ...]]:
    """Mean distance of ordered slices, mm, once they are known to be regular."""
    gaps = np.diff(distances)
    if (same := int((gaps < SAME_POSITION).sum())) > 0:
        place = int(np.argmax(gaps < SAME_POSITION)) + 1
        raise DeployError(
            f"each position must hold one image; {same} of {len(distances)} images lie where another one does (first at slice "
            f"{place}): several acquisitions in one series, or copies of files."
        )
    step = _step(gaps, header)
    if not _are_multiples(gaps, step):
        raise DeployError(
            f"the slices must be evenly spaced; the gaps range from {gaps.min():.4g} to {gaps.max():.4g} mm."
        )
    missing = np.round(gaps / step).astype(int) - 1
    if missing.any():
        place = int(np.argmax(missing > 0)) + 1
        raise DeployError(f"missing slices: gap of {missing[place - 1]} between slice {place} and {place + 1}.")
    spacing = float(distances[-1] - distances[0]) / len(gaps)
    declared = spacing if header.spacing is None else header.spacing
    if abs(declared - spacing) <= max(SAME_POSITION, IRREGULAR * spacing):
        return spacing, ()
    return spacing, (
        f"the header declares {declared:.4g} mm between slices, their positions are {spacing:.4g} mm apart; the positions count.",
    )


def _step(gaps: NDArray[np.float64], header: SliceHeader) -> float:
    """Distance of neighbouring slices, were none missing: the header's if it explains all gaps, else the smallest gap.

    A header's spacing below the thickness is not trusted: some scanners write the gap between slices there.
    """
    declared, thickness = header.spacing or 0.0, header.thickness or 0.0
    if declared > 0 and declared >= 0.99 * thickness > 0 and _are_multiples(gaps, declared):
        return declared
    return float(gaps[gaps <= 1.2 * gaps.min()].mean())


def _are_multiples(gaps: NDArray[np.float64], step: float) -> bool:
    """Whether gaps are whole multiples of a step, within the tolerances."""
    ratio = gaps / step
    count = np.maximum(np.round(ratio), 1)
    return bool((np.abs(ratio / count - 1) <= max(SAME_POSITION / step, IRREGULAR)).all())
