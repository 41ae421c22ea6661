"""A Pulseq sequence (``.seq``) that measures exactly the lines of a mask: a spoiled 2D gradient echo."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infomri_monai.atomic import atomic_path
from infomri_monai.sampling.gradient_echo import GradientEcho, load_pypulseq
from infomri_monai.sampling.gradient_echo_events import Geometry, Repetition, design_repetition
from infomri_monai.sampling.ordering import PhaseEncodes
from infomri_monai.sampling.pulseq_reader import read_pulseq_lines

__all__ = ["gradient_echo_sequence", "write_pulseq"]

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
        >>> from infomri_monai.sampling.ordering import phase_encodes
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
