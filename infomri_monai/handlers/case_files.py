"""The files of one reconstructed case: NIfTI images and their JSON sidecar, all of them or none."""

from __future__ import annotations

import gzip
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import infomri_monai
from infomri_monai.atomic import atomic_path
from infomri_monai.engines.volume_inferer import VolumeReconstruction

__all__ = ["describe", "sidecar", "write_case"]


def describe(result: VolumeReconstruction) -> str:
    """The text of the NIfTI headers' ``descrip`` (at most 79 characters).

    Simulated k-space is always called so, whatever happens to the sidecar.
    """
    record = result.record
    if record.simulated:
        return f"InfoMRI simulated acquisition ratio={record.ratio_requested:.6g} seed={record.seed}"
    return f"InfoMRI reconstruction of measured k-space ratio={float(result.ratio.mean()):.6g}"


def sidecar(result: VolumeReconstruction, network: str) -> dict[str, Any]:
    """How the case was acquired and reconstructed, as plain types for JSON.

    Args:
        result: the inferer's result.
        network: name of the network.
    """
    ratio = float(result.ratio.double().mean())
    return {
        **result.record._asdict(),
        "ratio_realised": ratio,
        "ratio_realised_per_slice": result.ratio.tolist(),
        "acceleration": 1 / ratio if ratio > 0 else None,
        "network": network,
        "shape": list(result.mean.shape),
        "units": "mean, sigma: intensity of the source; mask: 1 where k-space was measured, DC at n // 2",
        "version": infomri_monai.__version__,
    }


def write_case(
    result: VolumeReconstruction, prefix: Path, affine: NDArray[np.float64], network: str, figure: Any = None
) -> list[Path]:
    """Write ``<prefix>_mean.nii.gz``, ``_sigma.nii.gz``, ``_mask.nii.gz`` and ``<prefix>.json``.

    The files take their names when all are complete. The mask lies in k-space; its affine is that of the image whose k-space it
    is (the source's, moved where the source was cropped or padded).

    Args:
        result: the inferer's result.
        prefix: path of the files without suffix; folders are made.
        affine: the source's 4 x 4 affine.
        network: name of the network.
        figure: called with a path to draw ``<prefix>.png`` there; None draws nothing.

    Returns:
        The files.

    Raises:
        OSError: if a file cannot be written.
    """
    text, moved = describe(result), affine.copy()
    moved[:3, 3] += affine[:3, : len(result.record.offset)] @ np.array(result.record.offset, dtype=float)
    images = {"mean": (result.mean, affine), "sigma": (result.sigma, affine), "mask": (result.mask, moved)}
    paths = [prefix.with_name(f"{prefix.name}_{name}.nii.gz") for name in images]
    paths.append(prefix.with_name(f"{prefix.name}.json"))
    if figure is not None:
        paths.append(prefix.with_name(f"{prefix.name}.png"))
    with ExitStack() as stack:
        parts = [stack.enter_context(atomic_path(path)) for path in paths]
        for part, (tensor, own_affine) in zip(parts, images.values(), strict=False):
            part.write_bytes(_nifti(tensor, own_affine, text))
        parts[len(images)].write_text(json.dumps(sidecar(result, network), indent=2, allow_nan=False) + "\n")
        if figure is not None:
            figure(parts[-1])
    return paths


def _nifti(tensor: Tensor, affine: NDArray[np.float64], text: str) -> bytes:
    """A compressed NIfTI file; the same image gives the same bytes."""
    image = nibabel.Nifti1Image(np.asfortranarray(tensor.numpy()), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = text.encode("ascii")[:79]
    return gzip.compress(image.to_bytes(), compresslevel=3, mtime=0)
