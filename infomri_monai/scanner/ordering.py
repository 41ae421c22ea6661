"""Phase encodes of a mask in the order in which a scanner measures them, and their table as a text file."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from infomri_monai.arrays import as_mask, takes

__all__ = ["ORDERINGS", "PhaseEncodes", "phase_encode_table", "phase_encodes", "read_phase_encodes"]


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


@takes(readout_axis="whole", shots="whole", seed="whole")
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
    given = as_mask(np.asarray(mask) if isinstance(mask, (list, tuple)) else mask)
    measured, grid = _measured(given.detach().cpu().numpy(), readout_axis)
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


_COLUMNS = {1: ["order", "shot", "line", "ky"], 2: ["order", "shot", "line", "partition", "ky", "kz"]}
_RECORD = "# record: "


def phase_encode_table(encodes: PhaseEncodes, record: Mapping[str, Any] | None = None) -> str:
    """The text of a CSV file of phase encodes.

    Three comment lines (``#``) say what the columns mean, in which units, and (JSON) where the encodes come from. Then
    follow the columns' names and a row per encode in measuring order: ``order`` and ``shot`` from 0, ``line`` (and
    ``partition``) the index from 0, ``ky`` (and ``kz``) the same about DC in units of 1 / field of view.

    Args:
        encodes: what to list.
        record: what else to keep, JSON types.

    Example:
        >>> from infomri_monai.scanner.ordering import phase_encodes
        >>> text = phase_encode_table(phase_encodes([[0, 1, 1, 0]] * 2, readout_axis=0, ordering="centric"))
        >>> print(*text.splitlines()[3:], sep="; ")
        order,shot,line,ky; 0,0,2,0; 1,0,1,-1
    """
    columns = _COLUMNS[len(encodes.axes)]
    names = columns[2 : 2 + len(encodes.axes)]
    axes = zip(names, encodes.axes, encodes.matrix, strict=True)
    where = "; ".join(
        f"{name}: 0 to {n - 1} along axis {axis} of the grid, DC is {name} {n // 2}" for name, axis, n in axes
    )
    kept = {
        **(record or {}),
        "grid": list(encodes.grid),
        "readout_axis": encodes.readout_axis,
        "ordering": encodes.ordering,
        "checksum": encodes.checksum,
    }
    rows = np.column_stack([np.arange(len(encodes.positions)), encodes.shot, encodes.positions, encodes.signed])
    lines = [
        "# Phase encodes in the order of measuring, one a row. order, shot: from 0",
        f"# {where}; ky, kz: the index minus DC's, in units of 1 / field of view of its axis",
        f"{_RECORD}{json.dumps(kept)}",
        ",".join(columns),
        *(",".join(map(str, row)) for row in rows.tolist()),
    ]
    return "\n".join(lines) + "\n"


def read_phase_encodes(path: str | os.PathLike[str]) -> PhaseEncodes:
    """Read a file that holds a :func:`phase_encode_table`, as the export writes it; its ``mask`` is the mask that was written.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a file, a row or column is missing, an index lies outside the grid or comes
            twice, ``ky`` or ``kz`` contradicts the index, or the mask has not the recorded checksum.

    Example:
        >>> import tempfile
        >>> from infomri_monai.scanner.ordering import phase_encodes
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "lines.csv").write_text(phase_encode_table(phase_encodes([1, 0, 1])))
        ...     read_phase_encodes(f"{folder}/lines.csv").mask
        array([1, 0, 1], dtype=uint8)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"file of phase encodes {path} does not exist or is not a file.")
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is not a file of phase encodes, or it is damaged: {error}") from error


def _parse(text: str) -> PhaseEncodes:
    """The encodes of a file's text."""
    lines = text.splitlines()
    record = json.loads(next((line for line in lines if line.startswith(_RECORD)), _RECORD)[len(_RECORD) :] or "{}")
    if not record:
        raise ValueError(f"no comment line starts with {_RECORD!r}.")
    grid, axis = tuple(int(n) for n in record["grid"]), record["readout_axis"]
    encodes = PhaseEncodes(np.empty((0, 1), np.int64), np.empty(0, np.int64), grid, axis, record["ordering"])
    if encodes.ordering not in ORDERINGS or len(encodes.axes) not in _COLUMNS:
        raise ValueError(f"ordering {encodes.ordering!r} or grid {grid} with read-out axis {axis} is unknown.")
    columns = _COLUMNS[len(encodes.axes)]
    header, *rows = csv.reader(line for line in lines if line and not line.startswith("#"))
    if header != columns:
        raise ValueError(f"columns must be {', '.join(columns)}, got {', '.join(header)}.")
    table = np.array(rows, dtype=np.int64).reshape(-1, len(columns))
    if not np.array_equal(table[:, 0], np.arange(len(table))):
        raise ValueError("column order must count the rows from 0.")
    index = table[:, 2 : 2 + len(encodes.axes)]
    if ((index < 0) | (index >= np.array(encodes.matrix))).any() or len(np.unique(index, axis=0)) != len(index):
        raise ValueError(f"an index lies outside the grid {grid} or comes twice.")
    encodes = encodes._replace(positions=index, shot=table[:, 1])
    if not np.array_equal(table[:, 2 + len(encodes.axes) :], encodes.signed):
        raise ValueError("a column k contradicts its index.")
    if encodes.checksum != record["checksum"]:
        raise ValueError("the mask of the rows has not the recorded checksum.")
    return encodes
