"""The formats in which :mod:`infomri_monai.sampling.export` writes a mask."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.sampling.gradient_echo import GradientEcho, load_pypulseq
from infomri_monai.sampling.ordering import PhaseEncodes, phase_encodes
from infomri_monai.sampling.phase_encode_file import phase_encode_table

__all__ = ["FORMATS", "DrawnMask", "check_formats"]


class DrawnMask(NamedTuple):
    """A mask and all that its files hold.

    Attributes:
        mask: 0/1 on the whole grid.
        readout_axis: the policy's.
        record: what is known about the mask; JSON types.
        ordering: ordering of its phase encodes.
        shots: number of shots of an interleaved ordering.
        protocol: the protocol of its sequence, if one is wanted.
    """

    mask: NDArray[np.uint8]
    readout_axis: int | None
    record: dict[str, Any]
    ordering: str
    shots: int
    protocol: GradientEcho | None

    @property
    def lines(self) -> dict[str, NDArray[np.int64]]:
        """``{"lines": indices of the measured lines}`` of a 2D grid of lines, else nothing."""
        if self.readout_axis is None or self.mask.ndim != 2:
            return {}
        return {"lines": np.flatnonzero(self.mask.take(0, self.readout_axis))}

    @property
    def encodes(self) -> PhaseEncodes:
        """Its phase encodes in measuring order; a random order has the mask's seed."""
        return phase_encodes(self.mask, self.readout_axis, self.ordering, self.shots, self.record["seed"])


def check_formats(
    formats: Sequence[str], shape: tuple[int, ...], readout_axis: int | None, protocol: GradientEcho | None
) -> None:
    """Refuse formats that do not exist or that masks of this kind do not have.

    Args:
        formats: names in ``FORMATS``.
        shape: the grid.
        readout_axis: the policy's.
        protocol: the protocol of a sequence; there must be one for ``"seq"``, and only for it.

    Raises:
        ValueError: naming the argument that is wrong.
        OptionalImportError: if ``"seq"`` is wanted and pypulseq is not installed.
    """
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f"formats must be some of {', '.join(FORMATS)}, got {list(formats)}.")
    if "png" in formats and len(shape) != 2:
        raise ValueError(f"formats must be without 'png' for a grid of {len(shape)} axes; an image needs 2.")
    encoded = len(shape) - (readout_axis is not None)
    if "csv" in formats and encoded not in (1, 2):
        raise ValueError(f"formats must be without 'csv' for {encoded} phase-encode axes; the table has 1 or 2.")
    if ("seq" in formats) != (protocol is not None):
        raise ValueError("protocol must be given for the format 'seq', and only for it.")
    if "seq" in formats and (readout_axis is None or len(shape) != 2):
        raise ValueError(
            f"formats must be without 'seq' for this policy (grid of {len(shape)} axes, readout_axis={readout_axis}): "
            "the sequence is a 2D gradient echo, which measures whole lines of a 2D grid; single positions of a plane "
            "are the phase encodes of a 3D sequence, which 'csv' lists."
        )
    if "seq" in formats:
        load_pypulseq()


def _npz(stem: str, drawn: DrawnMask) -> dict[str, bytes]:
    buffer = io.BytesIO()
    content: dict[str, Any] = {**drawn.lines, **drawn.record}
    np.savez_compressed(buffer, mask=drawn.mask, **content)
    return {f"{stem}.npz": buffer.getvalue()}


def _npy(stem: str, drawn: DrawnMask) -> dict[str, bytes]:
    buffer = io.BytesIO()
    np.save(buffer, drawn.mask)
    text = json.dumps({**drawn.record, **{key: value.tolist() for key, value in drawn.lines.items()}}, indent=2)
    return {f"{stem}.npy": buffer.getvalue(), f"{stem}.json": text.encode()}


def _png(stem: str, drawn: DrawnMask) -> dict[str, bytes]:
    image, _ = optional_import("PIL.Image")
    png, _ = optional_import("PIL.PngImagePlugin")
    info = png.PngInfo()
    for key, value in drawn.record.items():
        info.add_text(key, str(value))
    buffer = io.BytesIO()
    image.fromarray(drawn.mask * np.uint8(255)).save(buffer, format="png", pnginfo=info)
    return {f"{stem}.png": buffer.getvalue()}


def _csv(stem: str, drawn: DrawnMask) -> dict[str, bytes]:
    return {f"{stem}.csv": phase_encode_table(drawn.encodes, drawn.record).encode()}


def _seq(stem: str, drawn: DrawnMask) -> dict[str, bytes]:
    from infomri_monai.sampling.pulseq import write_pulseq  # costs a second, for pypulseq

    if drawn.protocol is None:
        raise ValueError("protocol must be given for the format 'seq'.")
    keys = {"Policy": "policy", "RatioRequested": "ratio_requested", "Ratio": "ratio_realised", "Seed": "seed"}
    record = {name: drawn.record[key] for name, key in keys.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = write_pulseq(drawn.encodes, drawn.protocol, Path(folder) / f"{stem}.seq", record)
        return {path.name: path.read_bytes()}


#: name -> (stem of the file names, mask) -> contents of its files by name
FORMATS: dict[str, Callable[[str, DrawnMask], dict[str, bytes]]] = {
    "npz": _npz,
    "npy": _npy,
    "png": _png,
    "csv": _csv,
    "seq": _seq,
}
