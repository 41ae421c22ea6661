"""Phase encodes as a table (CSV) that a sequence programmer can read."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infomri_monai.scanner.ordering import ORDERINGS, PhaseEncodes

__all__ = ["phase_encode_table", "read_phase_encodes"]

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
