"""Find the image volumes of a folder and read their sizes from the headers alone (NIfTI, PNG, DICOM series)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import nibabel
from monai.data import ITKReader, NibabelReader, PILReader
from monai.data.image_reader import ImageReader
from monai.utils import optional_import

itk, _ = optional_import("itk")
pil_image, _ = optional_import("PIL.Image")

__all__ = ["Volume", "file_volume", "find_volumes"]


_WORDS = {2: "two", 3: "three", 4: "four"}


class Volume(NamedTuple):
    """One image volume on disk.

    Attributes:
        name: path relative to the folder without suffix; the folder of a DICOM series and its number, never a tag of
            it.
        path: file, or folder of a DICOM series; what MONAI's ``LoadImage`` takes.
        shape: spatial shape in MONAI's axis order, two or three axes; a last one of channels where asked for.
        reader: the MONAI reader that opens it.
    """

    name: str
    path: Path
    shape: tuple[int, ...]
    reader: ImageReader


def find_volumes(folder: Path, pattern: str = "**/*") -> list[Volume]:
    """Read the headers of all images below a folder; other files are passed over.

    Args:
        folder: existing folder.
        pattern: glob pattern of the files, relative to ``folder``.

    Returns:
        Volumes in the order of their names: NIfTI (.nii, .nii.gz) and PNG one a file, DICOM one a series.

    Raises:
        OSError: if a file with an image's suffix is unreadable; names the file.
        ValueError: if a file holds colours or more than three axes.

    Example:
        >>> import tempfile, numpy as np
        >>> folder = Path(tempfile.mkdtemp())
        >>> nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)).to_filename(folder / "head.nii")
        >>> [(volume.name, volume.shape) for volume in find_volumes(folder)]
        [('head', (4, 5, 6))]
    """
    volumes, dicom = [], defaultdict(set)
    for path in sorted(p for p in folder.glob(pattern) if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name.lower().endswith((".nii", ".nii.gz")):
            volumes.append(_nifti(path, name))
        elif path.suffix.lower() == ".png":
            volumes.append(_png(path, name))
        elif _is_dicom(path):
            dicom[path.parent].add(path)
    for directory, files in dicom.items():
        volumes += _dicom_series(directory, directory.relative_to(folder).as_posix(), files)
    return sorted(volumes, key=lambda volume: volume.name)


def file_volume(path: Path, name: str, axes: tuple[int, ...] = (2, 3)) -> Volume:
    """Read the header of one NIfTI or PNG file.

    Args:
        path: the file.
        name: what messages call it; the volume's name is this without suffix.
        axes: accepted numbers of axes of a NIfTI file.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is unreadable.
        ValueError: if it is of another format, holds colours or has another number of axes.

    Example:
        >>> file_volume(Path("brain.mha"), "brain.mha")
        Traceback (most recent call last):
        FileNotFoundError: there is no file brain.mha.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name}.")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _nifti(path, name, axes)
    if path.suffix.lower() == ".png":
        return _png(path, name)
    raise ValueError(f"{name} must be a NIfTI (.nii, .nii.gz) or PNG file.")


def _nifti(path: Path, name: str, axes: tuple[int, ...] = (2, 3)) -> Volume:
    try:
        shape = tuple(int(n) for n in nibabel.load(path).shape)  # type: ignore[attr-defined]
    except Exception as error:  # nibabel passes on whatever the decompressor and the header parser raise
        raise OSError(f"{name} is not a readable NIfTI file ({type(error).__name__}).") from error
    if len(shape) not in axes:
        raise ValueError(f"{name} must have {' or '.join(_WORDS[n] for n in axes)} axes, got shape {shape}.")
    return Volume(name[: name.lower().rindex(".nii")], path, shape, NibabelReader())


def _png(path: Path, name: str) -> Volume:
    try:
        with pil_image.open(path) as image:
            shape, bands = image.size, image.getbands()  # MONAI's reader has (width, height), too
            image.load()
    except OSError as error:
        raise OSError(f"{name} is not a readable PNG file ({type(error).__name__}).") from error
    if len(bands) != 1 or bands == ("P",):
        raise ValueError(f"{name} must be greyscale, got the bands {bands}; convert it first.")
    return Volume(name[: -len(path.suffix)], path, shape, PILReader())


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:  # DICOM files often have no suffix; the magic word follows 128 bytes
        return file.read(132)[128:] == b"DICM"


def _dicom_series(directory: Path, name: str, files: Iterable[Path]) -> list[Volume]:
    """Group a folder's DICOM files into series as MONAI's ITK reader does, so that both use the same series names."""
    generator = itk.GDCMSeriesFileNames.New()
    generator.SetUseSeriesDetails(True)
    generator.AddSeriesRestriction("0008|0021")
    generator.SetDirectory(str(directory))
    series = [(identifier, generator.GetFileNames(identifier)) for identifier in generator.GetSeriesUIDs()]
    unread = {path.name for path in files} - {Path(path).name for _, paths in series for path in paths}
    if unread:
        raise OSError(f"{name}: {', '.join(sorted(unread)[:5])} of {len(unread)} is not a readable DICOM file.")
    volumes = []
    for number, (identifier, paths) in enumerate(sorted(series, key=lambda item: Path(item[1][0]).name)):
        header = itk.GDCMImageIO.New(FileName=paths[0])
        try:
            header.ReadImageInformation()
        except RuntimeError:
            raise OSError(f"{name}/{Path(paths[0]).name} is not a readable DICOM image.") from None
        if header.GetNumberOfComponents() != 1:
            raise ValueError(
                f"{name}/{Path(paths[0]).name} must be greyscale, got {header.GetNumberOfComponents()} bands."
            )
        size = [header.GetDimensions(axis) for axis in range(header.GetNumberOfDimensions())]
        depth = len(paths) if len(paths) > 1 else (size[2] if len(size) > 2 else 1)
        reader = ITKReader(series_name=identifier)
        volumes.append(Volume(f"{name}/series{number}", directory, (size[0], size[1], depth), reader))
    return volumes
