"""Read one DICOM MR series as a case: an image in MONAI's layout with its geometry and its source."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.deploy.case import DeployCase, DeployError
from infomri_monai.deploy.dicom.pixels import stored_frames
from infomri_monai.deploy.dicom.scan import SeriesCandidate
from infomri_monai.deploy.dicom.slices import SliceHeader
from infomri_monai.deploy.dicom.source import case_source
from infomri_monai.deploy.dicom.stack import stack_slices
from infomri_monai.deploy.quiet import quiet

pydicom, _ = optional_import("pydicom")

__all__ = ["read_series"]


def read_series(candidate: SeriesCandidate) -> DeployCase:
    """Read a series that :func:`~infomri_monai.deploy.dicom.scan.find_series` found.

    Array and affine are those of MONAI's ITKReader. Exceptions: pixels that are padding become 0 instead of the padding value, and
    a single slice without SpacingBetweenSlices is as thick as SliceThickness instead of 1 mm.

    Args:
        candidate: of a scan.

    Returns:
        A case of the domain "image": float32, shape (1, columns, rows, slices), in the series' units after rescaling.

    Raises:
        DeployError: if the candidate has a problem, a transfer syntax cannot be decoded, pixel data are truncated, or values are
            NaN or Inf after rescaling. The message holds no identifier.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> from infomri_monai.deploy.dicom.scan import find_series
        >>> folder = tempfile.mkdtemp()
        >>> _ = write_example_series(folder, slices=3, grid=(48, 32))
        >>> case = read_series(find_series(folder).candidates[0])
        >>> case.domain, tuple(case.data.shape), len(case.source.instances)
        ('image', (1, 48, 32, 3), 3)
    """
    if candidate.problem:
        raise DeployError(candidate.problem)
    start = perf_counter()
    with quiet():
        try:
            return _read(candidate, start)
        except DeployError:
            raise
        except Exception as error:  # pydicom and the decoders quote the header
            raise DeployError(f"the series cannot be read ({type(error).__name__}).") from None


def _read(candidate: SeriesCandidate, start: float) -> DeployCase:
    datasets: list[Any] = []
    slices: list[SliceHeader] = []
    frames: list[NDArray[np.float32]] = []
    for path, headers in zip(candidate.files, candidate.slices, strict=True):
        dataset = pydicom.dcmread(path)
        frames += _rescaled(stored_frames(dataset), headers)
        slices += headers
        del dataset.PixelData
        datasets.append(dataset)
    stack = stack_slices(slices)
    volume = np.stack([frames[n].T for n in stack.order], axis=-1)[None]
    warnings = [*candidate.warnings, *_check(volume)]
    several = len(datasets) < len(slices) or "PerFrameFunctionalGroupsSequence" in datasets[0]
    numbers = tuple(n + 1 for n in stack.order) if several else ()
    ordered = datasets if several else [datasets[n] for n in stack.order]
    source, made_up = case_source(ordered, numbers)
    return DeployCase(
        number=candidate.number,
        domain="image",
        data=torch.from_numpy(np.nan_to_num(volume)),
        affine=stack.affine,
        source=source,
        warnings=(*warnings, *made_up),
        seconds={"load": perf_counter() - start},
    )


def _rescaled(stored: NDArray[np.float64], headers: Sequence[SliceHeader]) -> list[NDArray[np.float32]]:
    """Frames in the image's units; padding (NaN) becomes 0, which is where a magnitude has no signal."""
    if len(stored) != len(headers):
        raise DeployError(f"the pixel data must hold {len(headers)} frames, found {len(stored)}.")
    frames = []
    for values, header in zip(stored, headers, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.where(np.isnan(values), 0, values * header.slope + header.intercept)
            frames.append(scaled.astype(np.float32))
    return frames


def _check(volume: NDArray[np.float32]) -> list[str]:
    """Warnings about the values.

    Raises:
        DeployError: if one is NaN or Inf.
    """
    if not np.isfinite(volume).all():
        raise DeployError(
            "the image holds NaN or Inf values after rescaling; its rescale slope or intercept is damaged."
        )
    if not volume.any():
        return ["all pixels are zero."]
    empty = int((~volume.any(axis=(0, 1, 2))).sum())
    found = [f"{empty} of {volume.shape[-1]} slices are all zero."] if empty else []
    return [*found, "the image holds negative values; magnitudes have none."] if volume.min() < 0 else found
