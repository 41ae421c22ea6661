"""The phase encodes of a mask, in the order in which a sequence measures them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ORDERINGS", "PhaseEncodes", "phase_encodes"]


class PhaseEncodes(NamedTuple):
    """Phase encodes in measuring order, along one axis (lines) or two (lines and partitions of a 3D sequence).

    Attributes:
        positions: which position of each phase-encode axis, from 0; DC is ``n // 2``; shape (encodes, axes), axes 1 or 2.
        shot: the shot, from 0, that each encode belongs to; shape (encodes,).
        grid: sizes of the whole grid, the read-out axis included.
        readout_axis: index of the grid's axis that is read out, or None where the grid holds phase-encode axes only.
        ordering: one of ``ORDERINGS``.
    """

    positions: NDArray[np.int64]
    shot: NDArray[np.int64]
    grid: tuple[int, ...]
    readout_axis: int | None
    ordering: str

    @property
    def axes(self) -> tuple[int, ...]:
        """The grid's phase-encode axes."""
        return tuple(axis for axis in range(len(self.grid)) if axis != self.readout_axis)

    @property
    def matrix(self) -> tuple[int, ...]:
        """Number of positions along each phase-encode axis."""
        return tuple(self.grid[axis] for axis in self.axes)

    @property
    def signed(self) -> NDArray[np.int64]:
        """k in units of 1 / field of view, DC is 0: ``positions - n // 2``; shape (encodes, axes)."""
        return self.positions - np.array(self.matrix) // 2

    @property
    def mask(self) -> NDArray[np.uint8]:
        """0/1 on the whole grid: what these encodes measure."""
        measured = np.zeros(self.matrix, np.uint8)
        measured[tuple(self.positions.T)] = 1
        if self.readout_axis is not None:
            measured = np.expand_dims(measured, self.readout_axis)
        return np.ascontiguousarray(np.broadcast_to(measured, self.grid))

    @property
    def checksum(self) -> str:
        """SHA-256 of ``mask`` (uint8, C order), as ``sha256:`` and hexadecimal digits."""
        return f"sha256:{hashlib.sha256(self.mask.tobytes()).hexdigest()}"


def _sequential(encodes: PhaseEncodes, generator: np.random.Generator) -> NDArray[np.int64]:
    return np.lexsort(tuple(encodes.positions.T))


def _centric(encodes: PhaseEncodes, generator: np.random.Generator) -> NDArray[np.int64]:
    """By radius in cycles per pixel, then by angle from the negative first axis: 0, -1, 1, -2, 2 on one axis."""
    k = encodes.signed / np.array(encodes.matrix)
    angle = np.arctan2(k[:, 1], -k[:, 0]) if k.shape[1] == 2 else k[:, 0]
    return np.lexsort((angle, np.square(k).sum(1)))


def _random(encodes: PhaseEncodes, generator: np.random.Generator) -> NDArray[np.int64]:
    return generator.permutation(len(encodes.positions))


#: name -> places of the encodes, given in ascending order, in the order of measuring
ORDERINGS: dict[str, Callable[[PhaseEncodes, np.random.Generator], NDArray[np.int64]]] = {
    "sequential": _sequential,
    "centric": _centric,
    "interleaved": _sequential,
    "random": _random,
}


def phase_encodes(
    mask: ArrayLike, readout_axis: int | None = None, ordering: str = "sequential", shots: int = 1, seed: int = 0
) -> PhaseEncodes:
    """List the phase encodes that a mask measures, in a k-space ordering.

    Args:
        mask: zeros and ones on the whole grid, with one or two phase-encode axes beside the read-out axis.
        readout_axis: the axis that is read out; the mask must be the same all along it. None where every axis of the
            grid is a phase-encode axis (a 2D mask is then the plane of lines and partitions of a 3D sequence).
        ordering: ``"sequential"``: ascending index, lines faster than partitions. ``"centric"``: from DC outwards, on
            one axis 0, -1, 1, -2, 2, ..., on two axes by radius in cycles per pixel. ``"interleaved"``: shot s takes
            every ``shots``-th measured encode of the sequential list, from the s-th on. ``"random"``: a permutation.
        shots: number of shots, at most the number of encodes; above 1 for ``"interleaved"``, and only there.
        seed: of the random ordering, >= 0.

    Returns:
        Every measured encode once.

    Raises:
        ValueError: if the mask is empty, holds anything but 0 and 1, varies along the read-out axis or has not one or
            two phase-encode axes, or another argument is out of range.

    Example:
        >>> encodes = phase_encodes([[1, 0, 1, 1, 0, 1]] * 4, readout_axis=0, ordering="centric")
        >>> encodes.signed[:, 0].tolist(), encodes.positions[:, 0].tolist(), encodes.mask.shape
        ([0, -1, 2, -3], [3, 2, 5, 0], (4, 6))
    """
    measured, grid = _measured(np.asarray(mask), readout_axis)
    positions = np.argwhere(measured).astype(np.int64)
    if ordering not in ORDERINGS:
        raise ValueError(f"ordering must be one of {', '.join(ORDERINGS)}, got {ordering!r}.")
    if not 1 <= shots <= len(positions):
        raise ValueError(f"shots must lie in 1 to the number of phase encodes, {len(positions)}, got {shots}.")
    if shots == 1 and ordering == "interleaved" and len(positions) > 1:
        raise ValueError("shots must be at least 2 for the ordering 'interleaved', got 1, which is the sequential one.")
    if shots > 1 and ordering != "interleaved":
        raise ValueError(f"shots must be 1 unless ordering is 'interleaved', got shots={shots} and {ordering!r}.")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}.")
    encodes = PhaseEncodes(positions, np.zeros(len(positions), np.int64), grid, readout_axis, ordering)
    order = ORDERINGS[ordering](encodes, np.random.default_rng(seed))
    shot = np.arange(len(order)) % shots
    by_shot = np.argsort(shot, kind="stable")
    return encodes._replace(positions=positions[order[by_shot]], shot=shot[by_shot])


def _measured(mask: NDArray, readout_axis: int | None) -> tuple[NDArray, tuple[int, ...]]:
    """The mask over its phase-encode axes only, and the whole grid."""
    grid = tuple(int(n) for n in mask.shape)
    if readout_axis is not None and not 0 <= readout_axis < mask.ndim:
        raise ValueError(f"readout_axis must be None or an axis of the mask's {mask.ndim}, got {readout_axis}.")
    count = mask.ndim - (readout_axis is not None)
    if count not in (1, 2):
        raise ValueError(
            f"mask must have 1 or 2 phase-encode axes, got {count}: shape {grid} with readout_axis={readout_axis}."
        )
    if not np.isin(mask, (0, 1)).all():
        raise ValueError("mask must hold only 0 and 1.")
    if not mask.any():
        raise ValueError(f"mask must measure at least one position, got none on grid {grid}.")
    if readout_axis is None:
        return mask, grid
    measured = mask.take(0, readout_axis)
    if not (mask == np.expand_dims(measured, readout_axis)).all():
        raise ValueError(
            f"mask must be the same all along readout_axis={readout_axis}: this one holds single positions, not lines."
        )
    return measured, grid
