"""The lines of an ISMRMRD file: which ones belong to the image, and where each lies in k-space."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.ismrmrd_header import Encoding
from infomri_monai.data.raw_errors import RawDataError

ismrmrd, _ = optional_import("ismrmrd", descriptor="ISMRMRD needs the extra infomri-monai[deploy]")

__all__ = ["Line", "imaging_lines", "place_lines"]

#: flags of lines that are not part of the image
_SKIPPED = (
    "ACQ_IS_NOISE_MEASUREMENT",
    "ACQ_IS_NAVIGATION_DATA",
    "ACQ_IS_PHASECORR_DATA",
    "ACQ_IS_HPFEEDBACK_DATA",
    "ACQ_IS_DUMMYSCAN_DATA",
    "ACQ_IS_RTFEEDBACK_DATA",
    "ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA",
    "ACQ_IS_PHASE_STABILIZATION_REFERENCE",
    "ACQ_IS_PHASE_STABILIZATION",
)
#: counters of which an image has one value; an average has several
_SINGLE = ("contrast", "phase", "repetition", "set")


class Line(NamedTuple):
    """One acquired line.

    Attributes:
        head: its acquisition header, a record of :data:`ismrmrd.hdf5.acquisition_header_dtype`.
        samples: complex, shape (coil, sample), as acquired.
    """

    head: Any
    samples: NDArray[np.complex64]


def imaging_lines(heads: NDArray[Any], encoding: Encoding) -> NDArray[np.intp]:
    """Choose the lines that make up the image and check their counters.

    Noise scans, navigators, phase correction, feedback, dummy and surface-coil scans are left out, and calibration lines unless
    they are imaging lines too.

    Args:
        heads: acquisition headers of all lines, a structured array.
        encoding: what the file's header says.

    Returns:
        Numbers of the lines, ascending.

    Raises:
        RawDataError: if there is none, there are several contrasts, phases, repetitions or sets, a second phase encoding, lines of
            another encoding or coil number, positions outside the encoded grid, or lines that lack slices that the header
            announces.

    Example:
        >>> from ismrmrd.hdf5 import acquisition_header_dtype
        >>> imaging_lines(np.zeros(0, acquisition_header_dtype), Encoding(4, 4, 4, 2, None, None, None, None, ""))
        Traceback (most recent call last):
        infomri_monai.data.raw_errors.RawDataError: the file holds no imaging line among its 0 acquisitions.
    """
    flags = heads["flags"]
    skipped = np.bitwise_and(flags, np.uint64(sum(_bit(name) for name in _SKIPPED))) != 0
    calibration = np.bitwise_and(flags, np.uint64(_bit("ACQ_IS_PARALLEL_CALIBRATION"))) != 0
    imaging_too = np.bitwise_and(flags, np.uint64(_bit("ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING"))) != 0
    chosen = np.flatnonzero(~skipped & (~calibration | imaging_too))
    if not len(chosen):
        raise RawDataError(f"the file holds no imaging line among its {len(heads)} acquisitions.")
    lines = heads[chosen]
    for counter in _SINGLE:
        found = len(np.unique(lines["idx"][counter]))
        if found > 1:
            raise RawDataError(f"the file must hold one {counter}, it holds {found}: split it first.")
    if np.any(lines["idx"]["kspace_encode_step_2"]):
        raise RawDataError("the encoding must be 2D, lines have a second phase encoding (kspace_encode_step_2).")
    if np.any(lines["encoding_space_ref"]):
        raise RawDataError("lines refer to an encoding that the header does not describe.")
    coils = np.unique(lines["active_channels"])
    if len(coils) > 1 or coils[0] < 1:
        raise RawDataError(f"all lines must have one number of coils, found {coils.tolist()}.")
    position = phase_positions(lines, encoding)
    if position.min() < 0 or position.max() >= encoding.lines:
        raise RawDataError(f"phase-encoding steps lie outside the encoded grid of {encoding.lines} lines.")
    slices = len(np.unique(lines["idx"]["slice"]))
    if encoding.slices is not None and slices < encoding.slices:
        raise RawDataError(f"slices are missing: the header announces {encoding.slices}, the lines are of {slices}.")
    return chosen


def phase_positions(lines: NDArray[Any], encoding: Encoding) -> NDArray[np.int64]:
    """Index of every line along the phase-encoding axis, DC at ``n // 2``."""
    return lines["idx"]["kspace_encode_step_1"].astype(np.int64) - encoding.centre + encoding.lines // 2


def place_lines(lines: list[Line], encoding: Encoding) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """Put the lines of one slice on the encoded grid; what was measured several times is averaged.

    A reversed line is flipped; its ``center_sample`` counts in the flipped line. Samples to discard are left out.

    Args:
        lines: the slice's lines, all with one number of coils.
        encoding: what the file's header says.

    Returns:
        k-space, shape (coil, samples, lines), zero where nothing was measured, DC at ``n // 2``; and where it was measured,
        (samples, lines).

    Raises:
        RawDataError: if a line has no sample left, or one outside the encoded matrix.

    References:
        ISMRMRD, AcquisitionHeader (discard_pre, discard_post, center_sample, ACQ_IS_REVERSE); that center_sample counts after
        the flip is the convention of mrpro's ``KTrajectoryCalculator``.
    """
    coils = len(lines[0].samples)
    total = np.zeros((coils, encoding.samples, encoding.lines), np.complex64)
    count = np.zeros((encoding.samples, encoding.lines), np.float32)
    for head, samples in lines:
        first, last = int(head["discard_pre"]), samples.shape[1] - int(head["discard_post"])
        if first >= last:
            raise RawDataError("a line has no sample beside those to discard.")
        if int(head["flags"]) & _bit("ACQ_IS_REVERSE"):
            first, last, samples = samples.shape[1] - last, samples.shape[1] - first, samples[:, ::-1]
        start = first - int(head["center_sample"]) + encoding.samples // 2
        stop = start + last - first
        if start < 0 or stop > encoding.samples:
            raise RawDataError(
                f"a line's samples lie at {start} to {stop - 1} of the readout, outside the encoded matrix of {encoding.samples}."
            )
        column = int(phase_positions(head, encoding))
        total[:, start:stop, column] += samples[:, first:last]
        count[start:stop, column] += 1
    total /= np.maximum(count, 1)
    return total, count > 0


def _bit(name: str) -> int:
    return 1 << (int(getattr(ismrmrd, name)) - 1)
