"""Writing a policy's masks to files: ``python -m infomri_monai.sampling.export --help``."""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.sampling.checkpoint import load_policy
from infomri_monai.sampling.policy import SamplingPolicy, check_ratio

__all__ = ["write_masks"]

_FORMATS = ("npz", "npy", "png")


def write_masks(
    policy: SamplingPolicy,
    ratios: Sequence[float],
    shape: Sequence[int],
    folder: str | os.PathLike[str],
    seed: int,
    formats: Sequence[str] = ("npz", "png"),
) -> list[Path]:
    """Write one mask per ratio.

    Every mask is drawn with a generator of its own seeded with ``seed``, so that it does not depend on the other
    ratios. All masks are drawn, then all files written under temporary names, then all renamed: an error leaves no file
    behind.

    Args:
        policy: any policy that needs nothing acquired before.
        ratios: sampling ratios in (0, 1], all different.
        shape: spatial grid; the policy's own if it has one.
        folder: where to write; made if missing. Files of the same name are replaced.
        seed: seed of the masks, >= 0.
        formats: ``"npz"``: uint8 ``mask`` on the full grid, ``lines`` (indices of the acquired lines of a 1D mask),
            ``ratio_requested``, ``ratio_realised``, ``seed``, ``policy``, ``grid``. ``"npy"``: the mask alone, with the
            rest in a ``.json`` beside it. ``"png"``: an image, one pixel per position of a 2D grid, with the rest as
            its text.

    Returns:
        The files, in the order of ratios and formats (the ``.json`` after its ``.npy``).

    Raises:
        ValueError: if ``ratios``, ``seed`` or ``formats`` is out of range, an image is wanted of a grid that is not 2D,
            or as the policy says.
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
    if not formats or not set(formats) <= set(_FORMATS):
        raise ValueError(f"formats must be some of {', '.join(_FORMATS)}, got {list(formats)}.")
    if "png" in formats and len(shape) != 2:
        raise ValueError(f"formats must be without 'png' for a grid of {len(shape)} axes; an image needs 2.")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"folder {folder} is a file.")
    contents: dict[str, bytes] = {}
    for ratio in ratios:
        policy.warn_where_extrapolating(ratio)
        mask, lines, record = _draw(policy, ratio, shape, seed)
        stem = f"mask_ratio{ratio:.6g}_seed{seed}"
        for kind in formats:
            contents.update(_encode(kind, stem, mask, lines, record))
    return _write_all(folder, contents)


def _draw(
    policy: SamplingPolicy, ratio: float, shape: tuple[int, ...], seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None, dict[str, Any]]:
    """One mask on the full grid, the acquired lines of a 1D policy, and what is recorded about them."""
    device = next((tensor.device for tensor in chain(policy.parameters(), policy.buffers())), torch.device("cpu"))
    with torch.no_grad():
        sample = policy(torch.tensor([ratio], device=device), shape, torch.Generator(device).manual_seed(seed))
    positions = sample.mask[0, 0].cpu().numpy().astype(np.uint8)
    one_axis = policy.readout_axis is not None and len(shape) == 2
    lines = np.flatnonzero(positions) if one_axis else None
    record = {
        "ratio_requested": float(ratio),
        "ratio_realised": float(sample.ratio[0]),
        "seed": int(seed),
        "policy": type(policy).__name__,
        "grid": list(shape),
    }
    return np.ascontiguousarray(np.broadcast_to(positions, shape)), lines, record


def _encode(
    kind: str, stem: str, mask: NDArray[np.uint8], lines: NDArray[np.int64] | None, record: dict[str, Any]
) -> dict[str, bytes]:
    """The files of one mask in one format: name -> content."""
    buffer = io.BytesIO()
    extra: dict[str, Any] = {} if lines is None else {"lines": lines}
    if kind == "npz":
        np.savez_compressed(buffer, mask=mask, **extra, **record)
        return {f"{stem}.npz": buffer.getvalue()}
    if kind == "npy":
        np.save(buffer, mask)
        text = json.dumps({**record, **{key: value.tolist() for key, value in extra.items()}}, indent=2)
        return {f"{stem}.npy": buffer.getvalue(), f"{stem}.json": text.encode()}
    image, _ = optional_import("PIL.Image")
    png, _ = optional_import("PIL.PngImagePlugin")
    info = png.PngInfo()
    for key, value in record.items():
        info.add_text(key, str(value))
    image.fromarray(mask * np.uint8(255)).save(buffer, format="png", pnginfo=info)
    return {f"{stem}.png": buffer.getvalue()}


def _write_all(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    """Write every file under a temporary name, then rename them all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".masks-") as temporary:
        for name, content in contents.items():
            (Path(temporary) / name).write_bytes(content)
        for name in contents:
            os.replace(Path(temporary) / name, folder / name)
    return [folder / name for name in contents]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of :func:`write_masks`."""
    prog = "python -m infomri_monai.sampling.export"
    parser = argparse.ArgumentParser(prog=prog, description="Write a policy's masks.")
    parser.add_argument("--checkpoint", required=True, help="policy saved by save_policy")
    parser.add_argument("--ratios", required=True, nargs="+", type=float, help="sampling ratios in (0, 1]")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", nargs="+", type=int, help="grid of the images; trained patterns are interpolated")
    parser.add_argument("--formats", nargs="+", default=["npz", "png"], choices=_FORMATS)
    given = parser.parse_args(arguments)
    try:
        policy = load_policy(given.checkpoint)
        grid = given.grid or policy.grid
        if grid is None:
            raise ValueError(f"--grid is needed: {type(policy).__name__} fits any grid.")
        paths = write_masks(policy.for_grid(grid), given.ratios, grid, given.out, given.seed, given.formats)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(*paths, sep="\n")


if __name__ == "__main__":
    main()
