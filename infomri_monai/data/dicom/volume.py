"""Read one DICOM MR series as a volume: pixels in the order of MONAI's readers, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from infomri_monai.data.dicom.mosaic import unpacked
from infomri_monai.data.dicom.pixels import stored_frames
from infomri_monai.data.dicom.quiet import DicomError, quiet
from infomri_monai.data.dicom.series import SeriesCandidate, read_file
from infomri_monai.data.dicom.slices import SliceHeader, stack_slices

__all__ = ["DicomVolume", "read_series"]


@dataclass(frozen=True)
class DicomVolume:
    """A series that was read. Its representation shows neither pixels nor headers.

    Attributes:
        pixels: float32, shape (columns, rows, slices), in the series' units after rescaling.
        affine: (column, row, slice) index to RAS in mm, 4 x 4, float64.
        instances: DICOM instances without pixel data, in the order of the slices: one a slice (classic), or a single one.
        frames: number (from 1) of the frame of every slice of a multi-frame instance; empty for classic ones and mosaics.
        warnings: what a reader must know, in words without identifiers.
    """

    pixels: NDArray[np.float32] = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)
    instances: tuple[Dataset, ...] = field(repr=False)
    frames: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


def read_series(candidate: SeriesCandidate) -> DicomVolume:
    """Read a series that :func:`~infomri_monai.data.dicom.series.find_series` found.

    Array and affine are those of MONAI's ITKReader. Exceptions: pixels that are padding become 0 instead of the padding value, a
    single slice without SpacingBetweenSlices is as thick as SliceThickness instead of 1 mm, and a Siemens mosaic is unpacked.

    Args:
        candidate: of a scan.

    Returns:
        The volume.

    Raises:
        DicomError: if the candidate has a problem, a transfer syntax cannot be decoded, pixel data are truncated, or values are
            NaN or Inf after rescaling. The message holds no identifier; it names a file by its place in the order of the names.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> from infomri_monai.data.dicom.series import find_series
        >>> folder = tempfile.mkdtemp()
        >>> _ = write_example_series(folder, slices=3, grid=(48, 32))
        >>> volume = read_series(find_series(folder).candidates[0])
        >>> volume.pixels.shape, len(volume.instances)
        ((48, 32, 3), 3)
    """
    if candidate.problem:
        raise DicomError(candidate.problem)
    with quiet():
        try:
            return _read(candidate)
        except DicomError:
            raise
        except Exception as error:  # pydicom and the decoders quote the header
            raise DicomError(f"the series cannot be read ({type(error).__name__}).") from None


def _read(candidate: SeriesCandidate) -> DicomVolume:
    datasets: list[Any] = []
    frames: list[NDArray[np.float32]] = []
    for number, (path, headers) in enumerate(zip(candidate.files, candidate.slices, strict=True), 1):
        try:
            dataset, values = _instance(path, headers)
        except DicomError as error:
            if len(candidate.files) == 1:
                raise
            raise DicomError(
                f"file {number} of {len(candidate.files)} (in the order of their names): {error}"
            ) from None
        datasets.append(dataset)
        frames += values
    slices = [header for headers in candidate.slices for header in headers]
    stack = stack_slices(slices)
    volume = np.stack([frames[n].T for n in stack.order], axis=-1)
    framed = "PerFrameFunctionalGroupsSequence" in datasets[0]
    ordered = datasets if len(datasets) < len(slices) or framed else [datasets[n] for n in stack.order]
    numbers = tuple(n + 1 for n in stack.order) if framed else ()
    warnings = (*candidate.warnings, *_check(volume))
    return DicomVolume(volume, stack.affine, tuple(ordered), numbers, warnings)


def _instance(path: Path, headers: Sequence[SliceHeader]) -> tuple[Dataset, list[NDArray[np.float32]]]:
    """An instance without pixel data, and its slices."""
    dataset, _ = read_file(path)
    stored = stored_frames(dataset)
    if len(headers) > len(stored) == 1:
        stored = unpacked(stored[0], len(headers))
    frames = _rescaled(stored, headers)
    del dataset.PixelData
    if not dataset.get("SOPClassUID"):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    return dataset, frames


def _rescaled(stored: NDArray[np.float64], headers: Sequence[SliceHeader]) -> list[NDArray[np.float32]]:
    """Frames in the image's units; padding (NaN) becomes 0, which is where a magnitude has no signal."""
    if len(stored) != len(headers):
        raise DicomError(f"the pixel data must hold {len(headers)} frames, found {len(stored)}.")
    frames = []
    for values, header in zip(stored, headers, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.where(np.isnan(values), 0, values * header.slope + header.intercept)
            frames.append(scaled.astype(np.float32))
    return frames


def _check(volume: NDArray[np.float32]) -> list[str]:
    """Warnings about the values.

    Raises:
        DicomError: if one is NaN or Inf.
    """
    if not np.isfinite(volume).all():
        raise DicomError(
            "the image holds NaN or Inf values after rescaling; its rescale slope or intercept is damaged."
        )
    if not volume.any():
        return ["all pixels are zero."]
    empty = int((~volume.any(axis=(0, 1))).sum())
    found = [f"{empty} of {volume.shape[-1]} slices are all zero."] if empty else []
    return [*found, "the image holds negative values; magnitudes have none."] if volume.min() < 0 else found
