"""MR series to try the applications with: synthetic heads written as DICOM, classic or enhanced. No patients.

``python -m infomri_monai.deploy.dicom.example FOLDER --kind enhanced`` writes one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.embedded import FIELD_OF_VIEW, embedded_subjects
from infomri_monai.deploy.dicom.example_enhanced import enhanced_dataset
from infomri_monai.deploy.dicom.example_headers import ExampleGeometry, ExamplePatient, classic_dataset
from infomri_monai.files import atomic_path

ndimage, _ = optional_import("scipy.ndimage")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["KINDS", "ExampleGeometry", "ExamplePatient", "example_datasets", "write_example_series"]

#: MR Image Storage, one file a slice; Enhanced MR Image Storage, one file with a frame a slice
KINDS = ("classic", "enhanced")
#: angles about the x and the y axis that make a series oblique, degrees
OBLIQUE = (14.0, -9.0)
#: stored value of the brightest pixel
PEAK = 4095


def example_datasets(
    kind: str = "classic",
    slices: int = 8,
    grid: Sequence[int] = (64, 64),
    oblique: bool = True,
    seed: int = 0,
    *,
    aspect: float = 1.0,
    spacing: float = 8.0,
    patient: ExamplePatient | None = None,
    images: NDArray | None = None,
) -> list[Dataset]:
    """Make a valid MR series in memory; one seed gives one series, identical to the byte.

    Both kinds of one seed belong to one study and share the frame of reference and the pixels.

    Args:
        kind: one of ``KINDS``.
        slices: number of slices, 1 to 16; of one subject of :func:`~infomri_monai.data.embedded_subjects`.
        grid: (columns, rows) in pixels, each from 16 to 512.
        oblique: tilt the stack by ``OBLIQUE``; otherwise it is axial.
        seed: of anatomy and UIDs; any non-negative integer.
        aspect: distance of rows over distance of columns, in [0.5, 2]; other than 1 gives pixels that are not square.
        spacing: between slices, mm; their thickness is 90 % of it.
        patient: invented identifiers; a test searches outputs for them. None gives the default ones.
        images: own anatomy instead, shape (slices, rows, columns), not negative, drawn to the same scale; gives ``slices``.

    Returns:
        One dataset a slice, from the lowest to the highest (classic), or a single one (enhanced), each with file meta
        information; ``pydicom``'s ``save_as`` writes them.

    Raises:
        ValueError: if an argument is outside its range.
        monai.utils.OptionalImportError: if pydicom, or nilearn for the embedded anatomy, is not installed.

    Example:
        >>> first = example_datasets(slices=2, grid=(48, 32))[0]
        >>> first.Modality, first.Columns, first.Rows, str(first.PatientName)
        ('MR', 48, 32, 'DOE^JANE TEST')

    References:
        DICOM PS3.3 (2024), A.4 MR Image IOD, A.36 Enhanced MR Image IOD.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
    if not 0.5 <= aspect <= 2:
        raise ValueError(f"aspect must lie in [0.5, 2], got {aspect}.")
    if not spacing > 0:
        raise ValueError(f"spacing must be positive, got {spacing}.")
    if images is not None:
        _check_images(images)
    columns, rows = grid if images is None else images.shape[:0:-1]
    side = max(FIELD_OF_VIEW[0] / (rows * aspect), FIELD_OF_VIEW[1] / columns)
    stack = _anatomy(slices, columns, rows, aspect, seed) if images is None else np.asarray(images, dtype=np.float64)
    pixels = np.round(stack * (PEAK / max(stack.max(), 1e-12))).astype(np.uint16)
    geometry = ExampleGeometry(OBLIQUE if oblique else (0.0, 0.0), (side * aspect, side), spacing)
    who = ExamplePatient() if patient is None else patient
    if kind == "enhanced":
        return [enhanced_dataset(pixels, geometry, who, seed)]
    return [classic_dataset(pixels, k, geometry, who, seed) for k in range(len(pixels))]


def _check_images(images: NDArray) -> None:
    if images.ndim != 3 or 0 in images.shape:
        raise ValueError(f"images must have the shape (slices, rows, columns), got {images.shape}.")
    if not (np.isfinite(images).all() and images.min() >= 0):
        raise ValueError("images must be finite and not negative.")


def _anatomy(slices: int, columns: int, rows: int, aspect: float, seed: int) -> NDArray[np.float64]:
    """Magnitudes of a subject's slices, (slices, rows, columns); drawn with square pixels, then resampled along the columns."""
    square = round(rows * aspect)
    subject = embedded_subjects("test", 1, slices, (square, columns), seed, complex_valued=False)
    stack = np.concatenate([entry["image"] for entry in subject]).astype(np.float64)
    if square != rows:
        stack = ndimage.zoom(stack, (1, rows / square, 1), order=1, mode="nearest", grid_mode=True)
    return stack


def write_example_series(
    folder: str | Path,
    kind: str = "classic",
    slices: int = 8,
    grid: Sequence[int] = (64, 64),
    oblique: bool = True,
    seed: int = 0,
    *,
    aspect: float = 1.0,
    spacing: float = 8.0,
    patient: ExamplePatient | None = None,
    images: NDArray | None = None,
) -> list[Path]:
    """Write a valid MR series; the arguments are those of :func:`example_datasets`.

    Args:
        folder: where to; made if absent. The files are called image0001.dcm and so on.

    Returns:
        The files, in the order of the slices.

    Raises:
        ValueError: if an argument is outside its range; nothing is written.

    Example:
        >>> import tempfile
        >>> [path.name for path in write_example_series(tempfile.mkdtemp(), "enhanced", slices=2)]
        ['image0001.dcm']
    """
    datasets = example_datasets(
        kind, slices, grid, oblique, seed, aspect=aspect, spacing=spacing, patient=patient, images=images
    )
    paths = [Path(folder) / f"image{number:04d}.dcm" for number in range(1, len(datasets) + 1)]
    for path, dataset in zip(paths, datasets, strict=True):
        with atomic_path(path) as part:
            dataset.save_as(part, enforce_file_format=True)
    return paths


def main(arguments: Sequence[str] | None = None) -> None:
    """Write an example series into a folder; see ``--help``.

    Example:
        >>> import tempfile
        >>> main([tempfile.mkdtemp(), "--slices", "2", "--grid", "48", "32"])
        2 files of a classic MR series written
    """
    parser = argparse.ArgumentParser(prog="python -m infomri_monai.deploy.dicom.example", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="classic")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--grid", type=int, nargs=2, default=(64, 64), metavar=("COLUMNS", "ROWS"))
    parser.add_argument("--axial", action="store_true", help="not oblique")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        paths = write_example_series(given.folder, given.kind, given.slices, given.grid, not given.axial, given.seed)
    except ValueError as error:
        parser.error(str(error))
    print(
        f"{len(paths)} file{'s' * (len(paths) > 1)} of {'an' if given.kind == 'enhanced' else 'a'} {given.kind} MR series written"
    )


if __name__ == "__main__":
    main()
