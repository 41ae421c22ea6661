"""A Pulseq gradient echo that measures the lines of a mask: computed, written, and read back as lines."""

from __future__ import annotations

import hashlib
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infomri_monai.files import atomic_path
from infomri_monai.scanner.gradient_echo import Geometry, GradientEcho, Repetition, design_repetition, load_pypulseq
from infomri_monai.scanner.ordering import ORDERINGS, PhaseEncodes

__all__ = ["gradient_echo_sequence", "read_pulseq_lines", "write_pulseq"]

_TOLERANCE = 0.01  # of a step in k-space; the file holds six digits of every amplitude


def read_pulseq_lines(
    path: str | os.PathLike[str],
    grid: Sequence[int] | None = None,
    fov_mm: Sequence[float] | None = None,
    readout_axis: int | None = None,
) -> PhaseEncodes:
    """Read a ``.seq`` file and derive what it measures from its gradients.

    The trajectory is integrated from the file's gradients (``pypulseq.Sequence.calculate_kspace``). Every read-out must
    run along one line, with sample i at ``(i - n // 2) / FOV``, and its line must be the label LIN.

    Args:
        path: the file; x reads and y encodes.
        grid: the 2D grid; by default the file's definitions Matrix and ReadoutAxis.
        fov_mm: field of view along both axes of the grid, mm; by default the file's definition FOV.
        readout_axis: the read-out axis of the grid; by default the file's definition ReadoutAxis.

    Returns:
        The lines in measuring order; ``mask`` is the mask.

    Raises:
        OptionalImportError: if pypulseq is not installed.
        FileNotFoundError: if there is no such file.
        ValueError: if the file has no signature or was changed after it was signed, it cannot be read, a size is neither
            given nor defined, a read-out is not a full line on the grid, its label is another line, a line comes twice
            or none at all, or the mask has not the checksum that the file defines.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"sequence {path} does not exist or is not a file.")
    _check_signature(path)
    sequence = _parsed(path)
    definitions = sequence.definitions
    axis = int(_defined(definitions, "ReadoutAxis", readout_axis))
    if axis not in (0, 1):
        raise ValueError(f"readout_axis must be 0 or 1, got {axis}.")
    order = (axis, 1 - axis)  # sizes of the file are (read, phase), ours those of the grid
    sizes = _pair("grid", definitions, "Matrix", grid, order)
    fov = _pair("fov_mm", definitions, "FOV", None if fov_mm is None else [size * 1e-3 for size in fov_mm], order)
    lines = _lines(sequence, round(sizes[0]), round(sizes[1]), fov)
    shots = _labels(sequence, "SEG", len(lines), 0)
    if not np.array_equal(_labels(sequence, "LIN", len(lines), -1), lines):
        raise ValueError(f"{path}: the labels LIN are not the lines of the trajectory.")
    ordering = str(definitions.get("Ordering", "sequential"))
    ordering = ordering if ordering in ORDERINGS else "sequential"
    shape = (round(sizes[order[0]]), round(sizes[order[1]]))
    encodes = PhaseEncodes(lines[:, None], shots, shape, axis, ordering)
    if definitions.get("MaskChecksum", encodes.checksum) != encodes.checksum:
        raise ValueError(f"{path}: the mask of the trajectory has not the checksum that the file defines.")
    return encodes


def _check_signature(path: Path) -> None:
    """The MD5 that closes a Pulseq file; a truncated file, on which the parser may hang, has none."""
    content = path.read_bytes().replace(b"\r\n", b"\n")
    signed, found, signature = content.rpartition(b"\n[SIGNATURE]")
    digest = re.search(rb"^Hash\s+([0-9a-f]{32})\s*$", signature, re.MULTILINE)
    if not found or not digest:
        raise ValueError(f"{path} has no signature: it is truncated, or not a signed Pulseq sequence.")
    if hashlib.md5(signed, usedforsecurity=False).hexdigest().encode() != digest[1]:
        raise ValueError(f"{path} was changed or damaged after it was signed.")


def _parsed(path: Path) -> Any:
    """The file as a ``pypulseq.Sequence``."""
    sequence, failure = load_pypulseq().Sequence(), ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # where its parser fails, pypulseq leaves the file open
        try:
            sequence.read(str(path))
        except Exception as error:
            failure = type(error).__name__
    if failure:
        raise ValueError(f"{path} cannot be read as a Pulseq sequence ({failure}).")
    return sequence


def _defined(definitions: dict[str, Any], key: str, given: Any) -> Any:
    """The given value, else the file's."""
    value = definitions.get(key) if given is None else given
    if value is None:
        raise ValueError(f"the sequence does not define {key}; give it.")
    return value


def _pair(
    name: str, definitions: dict[str, Any], key: str, given: Sequence[float] | None, order: tuple[int, int]
) -> tuple[float, float]:
    """Two positive numbers, (read, phase): the given ones along the grid's axes, else the file's."""
    values = np.atleast_1d(_defined(definitions, key, given))
    if len(values) < 2 or not np.issubdtype(values.dtype, np.number) or not (values[:2] > 0).all():
        raise ValueError(f"{name} (or the file's definition {key}) must be two positive numbers, got {values}.")
    first, second = (0, 1) if given is None else order
    return float(values[first]), float(values[second])


def _lines(sequence: Any, read: int, phase: int, fov: tuple[float, float]) -> NDArray[np.int64]:
    """Index of the line of every read-out, in measuring order."""
    trajectory = sequence.calculate_kspace()[0]
    blocks = [sequence.get_block(number) for number in sequence.block_events]
    samples = [int(block.adc.num_samples) for block in blocks if block.adc is not None]
    if not samples or any(count != read for count in samples):
        raise ValueError(f"every read-out must have {read} samples, got {sorted(set(samples))}.")
    kx, ky = (trajectory[:2] * np.array(fov)[:, None]).reshape(2, -1, read)
    along = np.arange(read) - read // 2
    if np.abs(kx - along).max() > _TOLERANCE or np.abs(ky - ky[:, :1]).max() > _TOLERANCE:
        raise ValueError("a read-out does not run along one line, from one edge of k-space to the other.")
    lines = np.rint(ky[:, 0])
    if np.abs(ky[:, 0] - lines).max() > _TOLERANCE:
        raise ValueError("a read-out lies between two lines of the grid.")
    index = (lines + phase // 2).astype(np.int64)
    if index.min() < 0 or index.max() >= phase:
        raise ValueError(f"a line lies outside the grid of {phase}.")
    if len(np.unique(index)) != len(index):
        raise ValueError("a line is measured twice.")
    return index


def _labels(sequence: Any, name: str, count: int, missing: int) -> NDArray[np.int64]:
    """Values of a label at every read-out."""
    return np.asarray(sequence.evaluate_labels(evolution="adc").get(name, np.full(count, missing)), dtype=np.int64)


_SPOILING_DEG = 117


def gradient_echo_sequence(
    encodes: PhaseEncodes, protocol: GradientEcho, record: Mapping[str, str | float] | None = None
) -> Any:
    """Build the sequence: for each line slice-selective excitation, phase encode, read-out, rewinder and spoilers.

    Gradients: x reads, y encodes, z selects the slice. Sample i of a read-out lies at ``(i - n // 2) / FOV``, line l at
    ``(l - n // 2) / FOV``. The label LIN holds l and SEG the shot. The phase of pulse and receiver grows quadratically
    by 117 degrees, the phase encode is rewound, and the other axes end every repetition with the same moment. The timing
    of a repetition is the one that the outermost line of the grid needs, whatever the mask.

    Args:
        encodes: lines of a 2D grid with a read-out axis, in measuring order.
        protocol: the protocol.
        record: further entries of the section [DEFINITIONS], e.g. ``{"Policy": "LOUPE", "Ratio": 0.25}``.

    Returns:
        A ``pypulseq.Sequence`` that passes its timing check.

    Raises:
        OptionalImportError: if pypulseq is not installed.
        ValueError: if the encodes are not lines of a 2D grid, TE, TR or the dwell time is too short (the message holds
            the shortest), or a name in ``record`` has spaces or a value more than one line.

    References:
        Layton et al., "Pulseq: a rapid and hardware-independent pulse sequence prototyping framework", MRM 2017.
        Zur, Wood and Neuringer, "Spoiling of transverse magnetization in steady-state sequences", MRM 1991 (117 degrees).

    Example:
        >>> from infomri_monai.scanner.ordering import phase_encodes
        >>> encodes = phase_encodes([[0, 1, 1, 0, 1, 0, 0, 1]] * 8, readout_axis=0)
        >>> sequence = gradient_echo_sequence(encodes, GradientEcho(fov_mm=(200, 200)))
        >>> sequence.evaluate_labels(evolution="adc")["LIN"].tolist(), float(round(sequence.duration()[0], 6))
        ([1, 2, 4, 7], 0.048)
    """
    pp = load_pypulseq()
    geometry = _geometry(encodes, protocol)
    definitions = {**(record or {}), **_definitions(encodes, protocol, geometry)}
    for name, value in definitions.items():
        if not name or any(map(str.isspace, name)) or len(str(value).splitlines()) > 1:
            raise ValueError(f"record must have names without spaces and values of one line, got {name!r}.")
    repetition = design_repetition(pp, geometry, protocol)
    sequence = pp.Sequence(system=protocol.system())
    lines: list[int | None] = [None] * protocol.dummies + encodes.positions[:, 0].tolist()
    shots = [0] * protocol.dummies + encodes.shot.tolist()
    for count, (line, shot) in enumerate(zip(lines, shots, strict=True)):
        phase = math.radians(_SPOILING_DEG * count * (count + 1) / 2 % 360)
        _add_repetition(pp, sequence, repetition, geometry.phase // 2, phase, line, shot)
    for name, value in {**definitions, "TE": repetition.te}.items():
        sequence.set_definition(name, value)
    passed, report = sequence.check_timing()
    if not passed:
        raise ValueError(f"protocol fails pypulseq's timing check: {sorted({entry.error_type for entry in report})}.")
    return sequence


def write_pulseq(
    encodes: PhaseEncodes,
    protocol: GradientEcho,
    path: str | os.PathLike[str],
    record: Mapping[str, str | float] | None = None,
) -> Path:
    """Write :func:`gradient_echo_sequence` to a file, if it can be read back as the lines that were asked for.

    Args:
        encodes: lines of a 2D grid with a read-out axis, in measuring order.
        protocol: the protocol.
        path: the file; its suffix must be ``.seq``.
        record: further entries of the section [DEFINITIONS].

    Raises:
        ValueError: as :func:`gradient_echo_sequence` and :func:`read_pulseq_lines`; no file is written then.
    """
    path = Path(path)
    if path.suffix != ".seq":
        raise ValueError(f"path must end in .seq, got {path.name!r}.")
    sequence = gradient_echo_sequence(encodes, protocol, record)
    with atomic_path(path) as part:
        sequence.write(str(part), check_timing=False)  # checked already
        found = read_pulseq_lines(part)
        if not np.array_equal(found.positions, encodes.positions) or not np.array_equal(found.mask, encodes.mask):
            raise ValueError("the trajectory of the written sequence does not measure the lines that were asked for.")
    return path


def _geometry(encodes: PhaseEncodes, protocol: GradientEcho) -> Geometry:
    """Sizes of a 2D grid of lines."""
    axis, sizes, fov = encodes.readout_axis, encodes.grid, protocol.fov_mm
    if axis is None or len(sizes) != 2:
        raise ValueError(
            f"encodes must be lines of a 2D grid with a read-out axis, got grid {sizes} with readout_axis={axis}: a 2D "
            "gradient echo measures whole lines."
        )
    if not len(encodes.positions):
        raise ValueError("encodes must hold at least one line.")
    thickness = protocol.slice_thickness_mm * 1e-3
    return Geometry(sizes[axis], sizes[1 - axis], fov[axis] * 1e-3, fov[1 - axis] * 1e-3, thickness)


def _definitions(encodes: PhaseEncodes, protocol: GradientEcho, geometry: Geometry) -> dict[str, Any]:
    """Entries of [DEFINITIONS]; lengths in m, times in s, angles in degrees."""
    return {
        "Name": "infomri_gre",
        "FOV": [geometry.read_fov, geometry.phase_fov, geometry.thickness],
        "Matrix": [geometry.read, geometry.phase],
        "ReadoutAxis": int(encodes.readout_axis or 0),
        "Ordering": encodes.ordering,
        "MaskChecksum": encodes.checksum,
        "TR": protocol.tr_ms * 1e-3,
        "FlipAngle": float(protocol.flip_angle_deg),
        "SliceThickness": geometry.thickness,
        "Dummies": protocol.dummies,
        "BaseResolution": geometry.read,
        "PhaseResolution": (geometry.read_fov / geometry.read) / (geometry.phase_fov / geometry.phase),
        "kSpaceCenterLine": geometry.phase // 2,
        "kSpaceCenterSample": geometry.read // 2,
    }


def _add_repetition(
    pp: Any, sequence: Any, events: Repetition, centre: int, phase: float, line: int | None, shot: int
) -> None:
    """Add one repetition; ``line`` None is a dummy at DC, without read-out."""
    pulse = events.excitation[0]
    pulse.phase_offset = events.adc.phase_offset = phase
    scale = 0.0 if line is None else (line - centre) / max(centre, 1)
    sequence.add_block(*events.excitation)
    sequence.add_block(*events.prephase, pp.scale_grad(events.phase, scale), events.encoding)
    if line is None:
        sequence.add_block(events.read)
    else:
        labels = (pp.make_label("LIN", "SET", line), pp.make_label("SEG", "SET", shot))
        sequence.add_block(events.read, events.adc, *labels)
    sequence.add_block(*events.spoilers, pp.scale_grad(events.phase, -scale), events.spoiling)
