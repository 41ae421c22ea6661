"""A policy's masks, one a sampling ratio, in files: arrays, images, phase-encode tables, Pulseq sequences."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.files import atomic_folder
from infomri_monai.sampling.policy import SamplingPolicy, check_ratio
from infomri_monai.scanner.gradient_echo import GradientEcho, load_pypulseq
from infomri_monai.scanner.ordering import PhaseEncodes, phase_encode_table, phase_encodes
from infomri_monai.scanner.pulseq import write_pulseq

__all__ = ["FORMATS", "DrawnMask", "check_formats", "write_masks"]


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


def _npz(stem: str, drawn: DrawnMask) -> None:
    content: dict[str, Any] = {**drawn.lines, **drawn.record}
    np.savez_compressed(f"{stem}.npz", mask=drawn.mask, **content)


def _npy(stem: str, drawn: DrawnMask) -> None:
    np.save(f"{stem}.npy", drawn.mask)
    lines = {key: value.tolist() for key, value in drawn.lines.items()}
    Path(f"{stem}.json").write_text(json.dumps({**drawn.record, **lines}, indent=2))


def _png(stem: str, drawn: DrawnMask) -> None:
    image, _ = optional_import("PIL.Image")
    png, _ = optional_import("PIL.PngImagePlugin")
    info = png.PngInfo()
    for key, value in drawn.record.items():
        info.add_text(key, str(value))
    info.add_text("axes", "axis 0 of the mask is horizontal, axis 1 vertical, as MONAI reads images")
    # one bit a pixel: 0 and 1 for who reads numbers, black and white for who looks
    image.fromarray(drawn.mask.T.astype(bool)).save(f"{stem}.png", format="png", pnginfo=info)


def _csv(stem: str, drawn: DrawnMask) -> None:
    Path(f"{stem}.csv").write_text(phase_encode_table(drawn.encodes, drawn.record), encoding="utf-8")


def _seq(stem: str, drawn: DrawnMask) -> None:
    assert drawn.protocol is not None  # check_formats has seen to it
    keys = {"Policy": "policy", "RatioRequested": "ratio_requested", "Ratio": "ratio_realised", "Seed": "seed"}
    record = {name: drawn.record[key] for name, key in keys.items()}
    write_pulseq(drawn.encodes, drawn.protocol, f"{stem}.seq", record)


#: name -> what writes its files, given the beginning of their paths and the mask
FORMATS: dict[str, Callable[[str, DrawnMask], None]] = {"npz": _npz, "npy": _npy, "png": _png, "csv": _csv, "seq": _seq}
_SUFFIXES = {"npy": ("npy", "json")}  # of formats with more files than one


def write_masks(
    policy: SamplingPolicy,
    ratios: Sequence[float],
    shape: Sequence[int],
    folder: str | os.PathLike[str],
    seed: int,
    formats: Sequence[str] = ("npz", "png"),
    ordering: str = "sequential",
    shots: int = 1,
    protocol: GradientEcho | None = None,
) -> list[Path]:
    """Write one mask per ratio.

    Every mask is drawn with a generator of its own seeded with ``seed``, so that it does not depend on the other
    ratios. All masks are drawn, then all files written under temporary names, then all renamed: an error leaves no file
    behind.

    Args:
        policy: any policy that needs nothing acquired before.
        ratios: sampling ratios in (0, 1], all different.
        shape: spatial grid; the policy's own if it has one.
        folder: where to write; made if missing. An earlier export of the same ratios, seed and formats is replaced.
        seed: seed of the masks, >= 0.
        formats: ``"npz"``: uint8 ``mask`` on the full grid, ``lines`` (indices of the acquired lines of a 1D mask),
            ``ratio_requested``, ``ratio_realised``, ``seed``, ``policy``, ``grid``, ``readout_axis`` (of lines).
            ``"npy"``: the mask alone, with the
            rest in a ``.json`` beside it. ``"png"``: a black and white image, one pixel of one bit per position of a 2D
            grid, axis 0 horizontal, with the rest as its text. MONAI's ``LoadImage`` reads the mask of ``.npy`` and ``.png``
            as it is, that of ``.npz`` with ``NumpyReader(npz_keys="mask")``. ``"csv"``: the phase encodes in measuring order
            (:func:`phase_encode_table`). ``"seq"``: a Pulseq sequence that measures the lines of a 2D grid
            (:func:`write_pulseq`).
        ordering: of the phase encodes in ``"csv"`` and ``"seq"``, see :func:`phase_encodes`.
        shots: number of shots of the interleaved ordering.
        protocol: of ``"seq"``, and only for it.

    Returns:
        The files, in the order of ratios and formats (the ``.json`` after its ``.npy``).

    Raises:
        ValueError: if an argument is out of range, the masks have not a format that is wanted (an image of a grid that is
            not 2D, a sequence of single positions), the folder holds an earlier export of the same ratio and seed in
            another format, which would no longer belong to it, or as the policy says.
        NotADirectoryError: if ``folder`` is a file.

    Example:
        >>> import tempfile
        >>> from infomri_monai.sampling import VariableDensity
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in write_masks(VariableDensity(), [0.1, 0.25], (32, 32), folder, seed=0)]
        ['mask_ratio0.1_seed0.npz', 'mask_ratio0.1_seed0.png', 'mask_ratio0.25_seed0.npz', 'mask_ratio0.25_seed0.png']
    """
    shape, folder = tuple(int(n) for n in shape), Path(folder)
    check_ratio(list(ratios), "ratios")
    if len(set(ratios)) != len(ratios):
        raise ValueError(f"ratios must all be different, got {list(ratios)}.")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}.")
    check_formats(formats, shape, policy.readout_axis, protocol)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"folder {folder} is a file.")
    _refuse_stale(folder, [_stem(ratio, seed) for ratio in ratios], formats)
    drawn = {}
    for ratio in ratios:
        policy.warn_where_extrapolating(ratio)
        mask, record = _draw(policy, ratio, shape, seed)
        drawn[_stem(ratio, seed)] = DrawnMask(mask, policy.readout_axis, record, ordering, shots, protocol)
    with atomic_folder(folder) as part:
        for stem, one in drawn.items():
            for kind in formats:
                FORMATS[kind](str(part / stem), one)
    return [
        folder / f"{stem}.{suffix}" for stem in drawn for kind in formats for suffix in _SUFFIXES.get(kind, (kind,))
    ]


def _stem(ratio: float, seed: int) -> str:
    return f"mask_ratio{ratio:.6g}_seed{seed}"


def _refuse_stale(folder: Path, stems: Sequence[str], formats: Sequence[str]) -> None:
    """Refuse to leave files of an earlier export beside new ones: a table in another order than the sequence, say."""
    others = [kind for kind in FORMATS if kind not in formats]
    stale = {kind: f"{stem}.{kind}" for stem in stems for kind in others if (folder / f"{stem}.{kind}").exists()}
    if stale:
        raise ValueError(
            f"folder holds {next(iter(stale.values()))} of an earlier export, which need not belong to what is written now; give "
            f"another folder, or write these formats too: {' '.join(stale)}."
        )


def _draw(
    policy: SamplingPolicy, ratio: float, shape: tuple[int, ...], seed: int
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """One mask on the full grid and what is recorded about it."""
    device = next((tensor.device for tensor in chain(policy.parameters(), policy.buffers())), torch.device("cpu"))
    with torch.no_grad():
        sample = policy(torch.tensor([ratio], device=device), shape, torch.Generator(device).manual_seed(seed))
    positions = sample.mask[0, 0].cpu().numpy().astype(np.uint8)
    record = {
        "ratio_requested": float(ratio),
        "ratio_realised": float(sample.ratio[0]),
        "seed": int(seed),
        "policy": type(policy).__name__,
        "grid": list(shape),
    }
    if policy.readout_axis is not None:
        record["readout_axis"] = policy.readout_axis
    return np.ascontiguousarray(np.broadcast_to(positions, shape)), record
