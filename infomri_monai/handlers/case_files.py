"""The files of one case: NIfTI images and their JSON sidecar, all of them or none."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.data.utils import to_affine_nd
from numpy.typing import NDArray
from torch import Tensor

import infomri_monai
from infomri_monai.atomic import atomic_path
from infomri_monai.engines.slice_acquisition import AcquisitionRecord

__all__ = ["case_sidecar", "describe", "grid_affine", "source_affine", "voxel_volume", "write_files"]


def describe(record: AcquisitionRecord, ratio: Tensor, task: str) -> str:
    """The text of the NIfTI headers' ``descrip`` (at most 79 characters).

    Simulated k-space is always called so, whatever happens to the sidecar.

    Args:
        record: how k-space came about.
        ratio: realised sampling ratio of every slice.
        task: what was done with measured k-space, one word.
    """
    if record.simulated:
        return f"InfoMRI simulated acquisition ratio={record.ratio_requested:.6g} seed={record.seed}"
    return f"InfoMRI {task} of measured k-space ratio={float(ratio.mean()):.6g}"


def case_sidecar(record: AcquisitionRecord, ratio: Tensor, network: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """How the case was acquired, by which network it was treated and what came of it, as plain types for JSON.

    Args:
        record: how k-space came about.
        ratio: realised sampling ratio of every slice.
        network: name of the network.
        details: what else there is to say.
    """
    mean = float(ratio.double().mean())
    return {
        **record._asdict(),
        "ratio_realised": mean,
        "ratio_realised_per_slice": ratio.tolist(),
        "acceleration": 1 / mean if mean > 0 else None,
        "network": network,
        **details,
        "version": infomri_monai.__version__,
    }


def source_affine(batch: Mapping[str, Any]) -> NDArray[np.float64]:
    """The source's 4 x 4 affine; the identity where there is none (raw k-space)."""
    source = getattr(batch.get("image"), "affine", None)
    if source is None:
        return np.eye(4)
    matrix = np.asarray(source, dtype=np.float64)
    return np.asarray(to_affine_nd(3, matrix.reshape(-1, *matrix.shape[-2:])[0]), dtype=np.float64)


def voxel_volume(batch: Mapping[str, Any]) -> float | None:
    """Volume of the source's voxels.

    Args:
        batch: one case; its "has_geometry" is that of :class:`~infomri_monai.data.ReadCased`.

    Returns:
        In mm3; NaN if the affine is singular; None where the source says nothing about its voxels (PNG, arrays, raw k-space).
    """
    if "has_geometry" not in batch or not bool(batch["has_geometry"][0]):
        return None
    volume = abs(float(np.linalg.det(source_affine(batch)[:3, :3])))
    return volume if volume > 0 else math.nan


def grid_affine(record: AcquisitionRecord, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine of the grid of k-space: the source's, moved where the source was cropped or padded."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, : len(record.offset)] @ np.array(record.offset, dtype=float)
    return moved


def write_files(
    prefix: Path,
    images: Mapping[str, tuple[Tensor, NDArray[np.float64]]],
    sidecar: Mapping[str, Any],
    text: str,
    figure: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Write ``<prefix>_<name>.nii.gz`` for every image, ``<prefix>.json`` and on request ``<prefix>.png``.

    The files take their names when all are complete.

    Args:
        prefix: path of the files without suffix; folders are made.
        images: tensors of two to four axes with their 4 x 4 affines, by name.
        sidecar: content of the JSON file, without NaN.
        text: the images' ``descrip``.
        figure: called with a path to draw the picture there; None draws nothing.

    Returns:
        The files.

    Raises:
        OSError: if a file cannot be written.
    """
    paths = [prefix.with_name(f"{prefix.name}_{name}.nii.gz") for name in images]
    paths.append(prefix.with_name(f"{prefix.name}.json"))
    if figure is not None:
        paths.append(prefix.with_name(f"{prefix.name}.png"))
    with ExitStack() as stack:
        parts = [stack.enter_context(atomic_path(path)) for path in paths]
        for part, (tensor, affine) in zip(parts, images.values(), strict=False):
            part.write_bytes(_nifti(tensor, affine, text))
        parts[len(images)].write_text(json.dumps(sidecar, indent=2, allow_nan=False) + "\n")
        if figure is not None:
            figure(parts[-1])
    return paths


def _nifti(tensor: Tensor, affine: NDArray[np.float64], text: str) -> bytes:
    """A compressed NIfTI file; the same image gives the same bytes."""
    image = nibabel.Nifti1Image(np.asfortranarray(tensor.numpy()), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = text.encode("ascii")[:79]
    return gzip.compress(image.to_bytes(), compresslevel=3, mtime=0)
