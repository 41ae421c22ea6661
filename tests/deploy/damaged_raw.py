"""Files of raw k-space that are damaged in one way each, with the message that each must give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
from faults import FILE, FOLDER, GRID, SUBJECT, Bomb, Fault

from hospital.raw_scan import example_head, write_example_ismrmrd


def _raw(change: Callable[[h5py.Group], None] | None = None, **options: Any) -> Callable[[Path], None]:
    """An ISMRMRD file that is changed after it was written."""

    def write(folder: Path) -> None:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        path = folder / FOLDER / f"{FILE}.h5"
        image = example_head(2, GRID, seed=1)
        chosen = {"lines": range(0, GRID[1], 2), "subject": SUBJECT, **options}
        write_example_ismrmrd(path, image, **chosen)
        if change is not None:
            with h5py.File(path, "r+") as file:
                change(file["dataset"])

    return write


#: a scan of four coils is no fault: it is combined, with a warning
four_coils = _raw(coils=4)


def _xml(old: str, new: str) -> Callable[[Path], None]:
    """An ISMRMRD file with another header."""

    def change(group: h5py.Group) -> None:
        text = group["xml"][0].decode()
        assert old in text
        group["xml"][0] = text.replace(old, new).encode()

    return _raw(change)


def _lines(change: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    """An ISMRMRD file with other lines."""

    def change_table(group: h5py.Group) -> None:
        table = group["data"][()]
        change(table)
        group["data"][...] = table

    return _raw(change_table)


def _counter(name: str) -> Callable[[Path], None]:
    def change(table: np.ndarray) -> None:
        table["head"]["idx"][name][len(table) // 2 :] = 1

    return _lines(change)


def _samples(value: float) -> Callable[[Path], None]:
    def change(table: np.ndarray) -> None:
        for record in table:
            record["data"][:] = value

    return _lines(change)


def _undisclosed_slice(table: np.ndarray) -> None:
    """The lines of the second slice are navigators: it is missing."""
    navigator = 1 << (ismrmrd.ACQ_IS_NAVIGATION_DATA - 1)
    table["head"]["flags"][table["head"]["idx"]["slice"] == 1] |= np.uint64(navigator)


def _one_place(table: np.ndarray) -> None:
    table["head"]["position"] = table["head"]["position"][0]


def _truncated_raw(folder: Path) -> None:
    _raw()(folder)
    path = folder / FOLDER / f"{FILE}.h5"
    path.write_bytes(path.read_bytes()[:5000])


def _array(kspace: np.ndarray, pickled: bool = False) -> Callable[[Path], None]:
    """k-space as a NumPy file."""

    def write(folder: Path) -> None:
        (folder / FOLDER).mkdir(parents=True)
        np.save(folder / FOLDER / f"{FILE}.npy", kspace, allow_pickle=pickled)

    return write


def _only(rows: slice) -> np.ndarray:
    """k-space of a head where only some rows were measured."""
    head = example_head(2, GRID)
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(head, (1, 2)), axes=(1, 2), norm="ortho"), (1, 2))
    mask = np.zeros(GRID, bool)
    mask[rows, :3] = True
    return (kspace * mask).astype(np.complex64)


def _archive(folder: Path) -> None:
    (folder / FOLDER).mkdir(parents=True)
    np.savez(folder / FOLDER / f"{FILE}.npz", DOE_JANE=np.ones((2, 8, 8), np.complex64))


_RADIAL = _xml("<trajectory>cartesian</trajectory>", "<trajectory>radial</trajectory>")

RAW_FAULTS = (
    Fault("radial trajectory", _RADIAL, "raw data: the trajectory must be cartesian, the header says radial"),
    Fault("3D encoding", _xml("<z>1</z>", "<z>8</z>"), "raw data: the encoding must be 2D, the header describes a 3D"),
    Fault("damaged ISMRMRD header", _xml("</patientName>", "<"), "raw data: the ISMRMRD header cannot be read ("),
    Fault("name for a count", _xml("<center>32<", "<center>DOE^JANE<"), "the encoding limits must hold integers"),
    Fault("several repetitions", _counter("repetition"), "raw data: the file must hold one repetition, it holds 2"),
    Fault("several contrasts", _counter("contrast"), "raw data: the file must hold one contrast, it holds 2"),
    Fault("slices at one place", _lines(_one_place), "raw data: several slices lie at one place"),
    Fault("missing raw slice", _lines(_undisclosed_slice), "slices are missing: the header announces 2"),
    Fault("truncated ISMRMRD", _truncated_raw, "raw data: the file is truncated or no .h5 file ("),
    Fault("zero samples", _samples(0), "raw data: all samples are zero: nothing was received"),
    Fault("NaN samples", _samples(np.nan), "raw data: kspace holds NaN or Inf values"),
    Fault("real k-space", _array(np.ones((2, 8, 8))), "raw data: kspace must be complex, got float64"),
    Fault("pickled k-space", _array(np.array([Bomb()], object), True), "raw data: kspace must be complex, got object"),
    Fault("no k-space", _archive, "raw data: the file holds no array 'kspace'"),
    Fault("no overlap", _array(_only(slice(0, 3))), "no overlap between acquired positions and the model's grid"),
)
