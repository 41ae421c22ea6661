"""Raw k-space of an ISMRMRD file: its imaging lines, placed on a grid, slice by slice, several coils as one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.acquisition import crop_kspace, image_to_kspace, kspace_to_image
from infomri_monai.acquisition.centring import CentreCheck
from infomri_monai.acquisition.coils import coil_warning, combine_coils
from infomri_monai.data.hdf5_records import StoredRecords
from infomri_monai.data.ismrmrd_header import (
    Encoding,
    RawDataError,
    centred_affine,
    order_slices,
    parse_encoding,
    raw_errors,
    slice_place,
)

__all__ = [
    "IsmrmrdScan",
    "Line",
    "check_ismrmrd",
    "imaging_lines",
    "is_ismrmrd",
    "place_lines",
    "read_ismrmrd",
    "settle_columns",
]


_LOGGER = logging.getLogger(__name__)

h5py, _ = optional_import("h5py")

#: flags of lines that are not part of the image
_SKIPPED = {
    "noise": "ACQ_IS_NOISE_MEASUREMENT",
    "navigation": "ACQ_IS_NAVIGATION_DATA",
    "phase correction": "ACQ_IS_PHASECORR_DATA",
    "HP feedback": "ACQ_IS_HPFEEDBACK_DATA",
    "dummy scan": "ACQ_IS_DUMMYSCAN_DATA",
    "RT feedback": "ACQ_IS_RTFEEDBACK_DATA",
    "surface coil correction": "ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA",
    "phase stabilisation": "ACQ_IS_PHASE_STABILIZATION",
    "phase stabilisation reference": "ACQ_IS_PHASE_STABILIZATION_REFERENCE",
}
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
    they are imaging lines too or the header says that they are embedded: measured between those of the image, as they are.

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
        infomri_monai.data.ismrmrd_header.RawDataError: the file holds no imaging line among its 0 acquisitions.
    """
    chosen = np.flatnonzero(_roles(heads, encoding) == "")
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


def _roles(heads: NDArray[Any], encoding: Encoding) -> NDArray[np.str_]:
    """Why each line is left out, "" where it is one of the image."""
    flags, roles = heads["flags"], np.full(len(heads), "", "U32")
    for name, flag in _SKIPPED.items():
        roles[(roles == "") & (flags & np.uint64(_bit(flag)) != 0)] = name
    if encoding.calibration != "embedded":
        alone = flags & np.uint64(_bit("ACQ_IS_PARALLEL_CALIBRATION")) != 0
        alone &= flags & np.uint64(_bit("ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING")) == 0
        roles[(roles == "") & alone] = "calibration"
    return roles


def _told(heads: NDArray[Any], chosen: NDArray[np.intp], encoding: Encoding) -> list[str]:
    """Log what is left out, and return what a user must know of the choice of lines."""
    names, counts = np.unique(_roles(heads, encoding), return_counts=True)
    left_out = {str(name): int(count) for name, count in zip(names, counts, strict=True) if name}
    if left_out:
        _LOGGER.info("acquisitions left out: %s", ", ".join(f"{count} {name}" for name, count in left_out.items()))
    warnings, lines = [], heads[chosen]
    if "calibration" in left_out and encoding.calibration not in ("separate", "external"):
        warnings.append(
            f"{left_out['calibration']} calibration lines were left out: the header does not say that they are embedded."
        )
    if "phase correction" in left_out and np.unique(lines["flags"] & np.uint64(_bit("ACQ_IS_REVERSE"))).size > 1:
        warnings.append("lines were read in both directions, and no phase correction is made: ghosts are possible.")
    counters = np.stack([lines["idx"][name] for name in ("slice", "kspace_encode_step_1", "average")])
    if twice := len(lines) - np.unique(counters, axis=1).shape[1]:
        warnings.append(f"{twice} lines repeat others without being counted as averages; they were averaged.")
    return warnings


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


@lru_cache
def _bit(name: str) -> int:
    ismrmrd, _ = optional_import("ismrmrd", descriptor="ISMRMRD needs the extra infomri-monai[deploy]")
    return 1 << (int(getattr(ismrmrd, name)) - 1)


@dataclass(frozen=True)
class IsmrmrdScan:
    """What an ISMRMRD file holds.

    Attributes:
        kspace: complex64, shape (slice, readout, phase encoding), DC at ``n // 2``, zero where nothing was measured.
        mask: 0/1, float32, same shape.
        encoding: what the header says about the grid.
        affine: (readout, phase encoding, slice) index to RAS in mm, 4 x 4; None where the file has no usable geometry.
        coils: number of coils that were combined.
        warnings: what a user must know, in words.
        xml: the header, which may hold a patient's data: never logged.
    """

    kspace: NDArray[np.complex64]
    mask: NDArray[np.float32]
    encoding: Encoding
    affine: NDArray[np.float64] | None
    coils: int
    warnings: tuple[str, ...]
    xml: bytes = field(repr=False)


def is_ismrmrd(path: str | Path) -> bool:
    """Whether an HDF5 file has a group with an ISMRMRD header, usually "dataset"; False for files that cannot be opened.

    Example:
        >>> is_ismrmrd("nowhere/scan.h5")
        False
    """
    try:
        with h5py.File(path, "r") as file:
            return bool(_groups(file))
    except Exception:  # h5py differs in what it raises of damaged files
        return False


def _groups(file: Any) -> list[str]:
    """The groups at the top that hold an ISMRMRD header, or, under the usual name, acquisitions."""
    groups = {name: file.get(name) for name in file}
    groups = {name: group for name, group in groups.items() if isinstance(group, h5py.Group)}
    return [name for name, group in groups.items() if "xml" in group or (name == "dataset" and "data" in group)]


def _only_group(file: Any) -> Any:
    """The group of the acquisition; names in the message are ours or ISMRMRD's, any other may be a patient's."""
    names = _groups(file)
    if len(names) != 1:
        words = [name if re.fullmatch(r"dataset[_\d]*", name) else f"number {i}" for i, name in enumerate(names, 1)]
        raise RawDataError(
            f"the file must hold one group with an ISMRMRD header, it holds {', '.join(words) or 'none'}."
        )
    return file[names[0]]


def check_ismrmrd(path: str | Path) -> None:
    """Check headers alone; no sample is read.

    Args:
        path: an ISMRMRD file; of its groups, usually "dataset", one only holds a header.

    Raises:
        RawFileError: if the file is unreadable.
        RawDataError: as :func:`read_ismrmrd`, but for what the samples say.
    """
    _read(Path(path), samples=False)


def read_ismrmrd(path: str | Path) -> IsmrmrdScan:
    """Read a single-slice or multi-slice 2D Cartesian acquisition.

    Noise scans, navigators and other lines that are not part of the image are left out, and calibration lines unless the header
    says that they are embedded; their numbers are logged. Averages are averaged. Readout oversampling is removed by cropping the
    image along the readout, where two facts of the header say so, or one of them and the samples, which then show nothing but
    noise in the outer part. Several coils are combined by
    :func:`~infomri_monai.acquisition.coils.root_sum_of_squares`. The transform from k-space to the image is the inverse one;
    Siemens' data follow the opposite sign and are conjugated first (as mrpro does). Of an asymmetric echo, the mask marks the part
    that was sampled.

    Args:
        path: an ISMRMRD file; of its groups, usually "dataset", one only holds a header.

    Returns:
        k-space, mask, geometry and header. Slices are ordered along their normal where the file has a geometry, else by number.

    Raises:
        RawFileError: if the file is unreadable or truncated.
        RawDataError: if it holds no acquisition, or another than 2D Cartesian, of one contrast, phase, repetition and set; if lines
            lie outside the encoded matrix, slices are missing or not equally spaced, or samples are NaN or Inf.
        monai.utils.OptionalImportError: if h5py or ismrmrd is not installed (extras ``data`` and ``deploy``).

    Example:
        >>> import tempfile
        >>> from hospital.raw_scan import write_example_ismrmrd
        >>> path = tempfile.mkdtemp() + "/scan.h5"
        >>> write_example_ismrmrd(path, np.ones((2, 8, 6), np.complex64), lines=[1, 3, 4])
        >>> scan = read_ismrmrd(path)
        >>> scan.kspace.shape, float(scan.mask.mean())
        ((2, 8, 6), 0.5)

    References:
        Inati S. et al., "ISMRM Raw data format: a proposed standard for MRI raw datasets", Magn Reson Med 2017.
    """
    scan = _read(Path(path), samples=True)
    assert scan is not None
    return scan


def _read(path: Path, samples: bool) -> IsmrmrdScan | None:
    with raw_errors("the ISMRMRD file is truncated or damaged"), h5py.File(path, "r") as file:
        group = _only_group(file)
        if "xml" not in group or "data" not in group or not group["data"].size:
            raise RawDataError("the file lacks the ISMRMRD header or holds no acquisition.")
        xml, table = StoredRecords(group["xml"]).part(0).tobytes(), StoredRecords(group["data"])
        encoding, heads = parse_encoding(xml), table.records["head"]
        chosen = imaging_lines(heads, encoding)
        numbers = np.unique(heads["idx"]["slice"][chosen])
        members = [chosen[heads["idx"]["slice"][chosen] == number] for number in numbers]
        order, affine, warnings = _geometry([heads[rows] for rows in members], encoding)
        if not samples:
            return None
        warnings += _told(heads, chosen, encoding)
        if encoding.narrower is not None:
            encoding, text = settle_columns(encoding, (_placed(table, heads, rows, encoding) for rows in members))
            warnings += [text] if text else []
            order, affine, _ = _geometry([heads[rows] for rows in members], encoding)
        check, slices = CentreCheck(), []
        for i in order:
            placed, covered = _placed(table, heads, members[i], encoding)
            check.add(torch.from_numpy(placed), torch.from_numpy(covered))
            slices.append(_combined(placed, covered, encoding))
    kspace, mask = (np.stack(part) for part in zip(*slices, strict=True))
    coils = int(heads["active_channels"][chosen[0]])
    warnings += [coil_warning(coils)] if coils > 1 else []
    warnings += [text] if (text := check.warning()) else []
    return IsmrmrdScan(kspace, mask, encoding, affine, coils, tuple(warnings), xml)


def _geometry(heads: list[NDArray[Any]], encoding: Encoding) -> tuple[list[int], NDArray[np.float64] | None, list[str]]:
    """Order of the slices, the affine where there is one, and warnings."""
    warnings = []
    if encoding.pixel is not None and encoding.recon_height is not None:
        height = encoding.pixel[1] * encoding.lines
        if height > 1.01 * encoding.recon_height:
            warnings.append(
                f"phase oversampling was not removed: the image spans {height:.0f} mm instead of {encoding.recon_height:.0f} mm."
            )
    places = [place for place in map(slice_place, heads) if place is not None]
    if len(places) < len(heads) or encoding.pixel is None or encoding.thickness is None:
        return list(range(len(heads))), None, warnings
    order, first, step = order_slices(places, encoding.thickness)
    pixel = (encoding.pixel[0], encoding.pixel[1])
    return order, centred_affine(first, places[0][1], (encoding.columns, encoding.lines), pixel, step), warnings


def _placed(
    table: StoredRecords, heads: NDArray[Any], rows: NDArray[np.intp], encoding: Encoding
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """k-space of one slice, (coil, samples, lines), and where it was measured, (samples, lines)."""
    lines = []
    for row in rows:
        flat = table.part(row, "data")
        coils, length = int(heads["active_channels"][row]), int(heads["number_of_samples"][row])
        if len(flat) != 2 * coils * length:
            raise RawDataError(f"a line holds {len(flat) // 2} samples, its header announces {coils} x {length}.")
        lines.append(Line(heads[row], np.ascontiguousarray(flat, np.float32).view(np.complex64).reshape(coils, length)))
    placed, covered = place_lines(lines, encoding)
    if not np.isfinite(placed).all():
        raise RawDataError("kspace holds NaN or Inf values.")
    return (placed.conj() if "siemens" in encoding.vendor else placed), covered


def _combined(
    placed: NDArray[np.complex64], covered: NDArray[np.bool_], encoding: Encoding
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """k-space and mask of one slice, (readout, phase encoding)."""
    mask = torch.from_numpy(_covered(covered, encoding.columns))
    kspace = combine_coils(_without_oversampling(torch.from_numpy(placed), encoding.columns), mask)
    if not bool(torch.isfinite(kspace).all()):
        raise RawDataError("the image of kspace has values beyond the range of float32.")
    return kspace.numpy(), mask.numpy()


def settle_columns(
    encoding: Encoding, slices: Iterable[tuple[NDArray[np.complex64], NDArray[Any]]]
) -> tuple[Encoding, str]:
    """Decide by the samples what a header leaves open: how much of the image along the readout is oversampling.

    Cropping loses nothing where the outer part of the image holds noise only: its mean energy is at most half that of the inner
    part, and exceeds the level of the outermost samples, where a real object leaves little but noise, by at most 1 % of it.

    Args:
        encoding: what the header says, ``narrower`` set.
        slices: k-space of every slice, (coil, samples, lines), and where it was measured, (samples, lines).

    Returns:
        The encoding with the columns that are kept, and a pixel whose columns span the field of view of the scanner's own images;
        and a warning, "" where one fact of the header and the samples agree and nothing contradicts them.
    """
    assert encoding.narrower is not None
    energy, noise = np.zeros(encoding.samples), 0.0
    for kspace, covered in slices:
        rows = np.flatnonzero(np.asarray(covered).any(1))
        level = (np.abs(kspace) ** 2).sum((0, 2)) / np.maximum(np.asarray(covered).sum(1), 1)
        edge = max(1, len(rows) // 16)
        noise += min(level[rows[:edge]].mean(), level[rows[-edge:]].mean()) * np.asarray(covered).mean(0).sum()
        image = kspace_to_image(torch.from_numpy(kspace).movedim(1, -1), spatial_dims=1)
        energy += image.abs().square().sum((0, 1)).double().numpy()
    first = encoding.samples // 2 - encoding.narrower // 2
    outer = np.delete(energy, np.s_[first : first + encoding.narrower])
    inner, outside = energy[first : first + encoding.narrower].mean(), outer.mean()
    empty = outside <= 0.5 * inner and outside - noise <= 0.01 * inner
    columns = encoding.narrower if empty else encoding.columns
    pixel, (view, matrix) = encoding.pixel, encoding.facts
    if pixel is not None and encoding.recon_width is not None and columns != view:
        pixel = (encoding.recon_width / columns, pixel[1])
    settled = encoding._replace(columns=columns, narrower=None, pixel=pixel)
    if empty and (view is None or matrix is None):
        return settled, ""
    facts = [
        f"{what} {kept}" for what, kept in zip(("fields of view", "matrices"), (view, matrix), strict=True) if kept
    ]
    found = "nothing but noise there, which was cropped" if empty else "signal there, so that nothing more was cropped"
    return settled, (
        f"the header contradicts the samples or itself: of {encoding.samples} along the readout its {', its '.join(facts)} are the "
        f"image; the image outside the central {encoding.narrower} shows {found}. Check the size of a pixel."
    )


def _without_oversampling(kspace: torch.Tensor, columns: int) -> torch.Tensor:
    """Crop the image along the readout: (coil, samples, lines) to (coil, columns, lines); intensities stay."""
    if kspace.shape[1] == columns:
        return kspace
    image = kspace_to_image(kspace.movedim(1, -1), spatial_dims=1)
    return image_to_kspace(crop_kspace(image, [columns], spatial_dims=1), spatial_dims=1).movedim(-1, 1)


def _covered(covered: NDArray[np.bool_], columns: int) -> NDArray[np.float32]:
    """Which of ``columns`` readout positions lie between samples that were taken, (columns, lines)."""
    samples = len(covered)
    position = (np.arange(columns) - columns // 2) * (samples / columns) + samples // 2
    lower = np.clip(np.floor(position + 1e-9).astype(int), 0, samples - 1)
    upper = np.clip(np.ceil(position - 1e-9).astype(int), 0, samples - 1)
    return (covered[lower] & covered[upper]).astype(np.float32)
