"""Volumes in NIfTI, DICOM or PNG files: found in a folder by their headers, read, and cut into 2D slices without their headers."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ITKReader, MetaTensor, NibabelReader, PILReader
from monai.data.image_reader import ImageReader
from monai.transforms import MapTransform
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.prepare import check_axis, existing_folder

__all__ = [
    "ExtractSliceD",
    "ExtractSliceDict",
    "ExtractSliced",
    "Volume",
    "extract_slice",
    "file_volume",
    "find_volumes",
    "image_slices",
    "read_pixels",
    "read_volume",
]


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
    pil_image, _ = optional_import("PIL.Image")
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
    itk, _ = optional_import("itk")  # here, because its import takes seconds
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


_KEPT_META = ("filename_or_obj", "space")


def extract_slice(volume: torch.Tensor, index: int, axis: int = 2) -> MetaTensor:
    """Take one slice of a volume.

    Args:
        volume: shape (channel, *spatial) with two or three spatial axes, usually a MetaTensor; a 2D image has slice 0
            only.
        index: slice along ``axis``.
        axis: spatial axis to cut across, 0 to 2.

    Returns:
        Shape (channel, height, width): the two other axes in their order. Its 4 x 4 affine maps (row, column, 0) to
        where the slice lies in the source's space; the third column is the direction of the slices. ``meta["spacing"]``
        holds the pixel size and the slices' distance in the source's unit (mm); MetaTensor's own ``pixdim`` reads the
        upper left 2 x 2 of the affine only, which is wrong for sagittal, coronal and oblique slices. Of the source's
        metadata only the file's name and the space are kept, because readers leave the whole DICOM header there.

    Raises:
        ValueError: if the shape, ``axis`` or ``index`` does not fit.

    Example:
        >>> volume = MetaTensor(torch.zeros(1, 4, 5, 6), affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))
        >>> cut = extract_slice(volume, 4)
        >>> cut.shape, cut.affine[:3, 3].tolist()
        (torch.Size([1, 4, 5]), [0.0, 0.0, 12.0])
    """
    if volume.ndim not in (3, 4):
        raise ValueError(
            f"volume must have shape (channel, *spatial) with 2 or 3 spatial axes, got {tuple(volume.shape)}."
        )
    check_axis(axis)
    slices = volume.shape[axis + 1] if volume.ndim == 4 else 1
    if not 0 <= index < slices:
        raise ValueError(f"slice {index} does not exist: the volume has {slices} along axis {axis}.")
    volume = volume if isinstance(volume, MetaTensor) else MetaTensor(volume)
    plane, affine, source = volume.as_tensor(), torch.eye(4, dtype=torch.float64), volume.affine
    if volume.ndim == 4:
        affine[:3] = source[:3, [*(a for a in range(3) if a != axis), axis, 3]]
        affine[:3, 3] += index * affine[:3, 2]
        plane = plane.select(axis + 1, index)
    else:
        rank = len(source) - 1
        affine[:rank, :rank], affine[:rank, 3] = source[:rank, :rank], source[:rank, rank]
    meta = {key: volume.meta[key] for key in _KEPT_META if key in volume.meta}
    meta["spacing"] = tuple(torch.linalg.vector_norm(affine[:3, :3], dim=0).tolist())
    meta.update(spatial_shape=tuple(plane.shape[1:]), original_affine=affine.clone(), original_channel_dim=0)
    return MetaTensor(plane.clone(), affine=affine, meta=meta)


class ExtractSliced(MapTransform):
    """Dictionary version of :func:`extract_slice` for the entries of :func:`infomri_monai.data.image_slices`.

    Use it after ``LoadImaged`` and ``EnsureChannelFirstd``.

    Args:
        keys: keys of the volumes, shape (channel, *spatial).
        axis: spatial axis to cut across.
        slice_key: key of the slice index.
        allow_missing_keys: pass entries without the key.

    Raises:
        ValueError: if ``axis`` is not 0, 1 or 2; when called, as :func:`extract_slice`.

    Example:
        >>> entry = {"image": MetaTensor(torch.arange(8.0).reshape(1, 2, 2, 2)), "slice": 1}
        >>> ExtractSliced("image")(entry)["image"].tolist()
        [[[1.0, 3.0], [5.0, 7.0]]]
    """

    def __init__(
        self, keys: KeysCollection, axis: int = 2, slice_key: str = "slice", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.axis, self.slice_key = check_axis(axis), slice_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = extract_slice(d[key], int(d[self.slice_key]), self.axis)
        return d


ExtractSliceD = ExtractSliceDict = ExtractSliced


def image_slices(folder: str | Path, pattern: str = "**/*", axis: int = 2, eager: bool = True) -> list[dict[str, Any]]:
    """List the slices of all images below a folder; all headers are checked before the first image is read.

    Axis order, units and orientation are MONAI's: NIfTI and DICOM arrays are (x, y, z) in RAS space, PNG (width,
    height). Nothing of a DICOM header other than the geometry reaches the list. Folder and file names do, as
    "volume": name them without identifiers. One way to split is by the first part of "volume", so that no patient is
    on both sides.

    Args:
        folder: folder to search.
        pattern: glob pattern of the files, e.g. ``"*/t1.nii.gz"``. Of a DICOM folder always the whole series is taken.
        axis: spatial axis to cut across; the PNG's single slice has none.
        eager: read now. False gives paths, for ``LoadImaged``, ``EnsureChannelFirstd`` and
            :class:`~infomri_monai.data.ExtractSliced` (``LoadImaged(reader="ITKReader")`` for DICOM), which read a
            volume once a
            slice: cache the data set.

    Returns:
        One dictionary a slice: "image", a float32 MetaTensor (1, height, width) with the slice's own 4 x 4 affine in
        mm, or the volume's path; "volume", its name; "slice", the index along ``axis``.

    Raises:
        FileNotFoundError: if the folder does not exist or holds no image.
        OSError: if a file is unreadable.
        ValueError: if slices differ in size (the sizes are listed), hold NaN or Inf, colours or more than three axes,
            or if paths are asked for and a DICOM folder holds several series.

    Example:
        >>> import tempfile, nibabel, numpy as np
        >>> folder = Path(tempfile.mkdtemp())
        >>> nibabel.Nifti1Image(np.zeros((4, 5, 2), np.float32), np.eye(4)).to_filename(folder / "head.nii")
        >>> [(entry["volume"], entry["slice"], entry["image"].shape) for entry in image_slices(folder)]
        [('head', 0, torch.Size([1, 4, 5])), ('head', 1, torch.Size([1, 4, 5]))]
    """
    check_axis(axis)
    folder = existing_folder(folder)
    volumes = find_volumes(folder, pattern)
    if not volumes:
        raise FileNotFoundError(f"folder {folder} holds no NIfTI, DICOM or PNG file that matches {pattern!r}.")
    _check_same_size(volumes, axis)
    if not eager:
        _check_one_series_a_folder(volumes)
    entries: list[dict[str, Any]] = []
    for volume in volumes:
        slices = range(volume.shape[axis] if len(volume.shape) == 3 else 1)
        loaded = read_volume(volume) if eager else None
        for index in slices:
            image = str(volume.path) if loaded is None else extract_slice(loaded, index, axis)
            entries.append({"image": image, "volume": volume.name, "slice": index})
    return entries


def _check_same_size(volumes: list[Volume], axis: int) -> None:
    sizes = Counter(
        tuple(n for a, n in enumerate(volume.shape) if len(volume.shape) == 2 or a != axis) for volume in volumes
    )
    if len(sizes) > 1:
        listed = ", ".join(f"{size} in {count} volumes" for size, count in sizes.most_common())
        raise ValueError(f"slices across axis {axis} differ in size: {listed}. Choose one size by the pattern.")


def _check_one_series_a_folder(volumes: list[Volume]) -> None:
    shared = [str(path) for path, count in Counter(volume.path for volume in volumes).items() if count > 1]
    if shared:
        raise ValueError(f"{shared[0]} holds several DICOM series: use eager=True, or put each into its own folder.")


def read_pixels(reader: ImageReader, path: Path | str, name: str) -> tuple[NDArray, dict[str, Any]]:
    """What a MONAI reader gives of a file, array and metadata; OSError, which names ``name``, where it cannot be read."""
    try:
        with warnings.catch_warnings():
            # MONAI warns even where the series is named
            warnings.filterwarnings("ignore", message="the directory: .* contains more than one DICOM series")
            return reader.get_data(reader.read(path))
    except Exception as error:  # readers differ in what they raise; their messages may quote the header
        raise OSError(f"{name} cannot be read ({type(error).__name__}).") from None


def read_volume(volume: Volume, channel: int = 0) -> MetaTensor:
    """Read a volume's pixels and affine, and nothing else of its header.

    Args:
        volume: as :func:`~infomri_monai.data.volumes.find_volumes` lists it.
        channel: which one of a volume with a fourth axis.

    Returns:
        float32, shape (1, *spatial), finite.

    Raises:
        OSError: if the file is unreadable.
        ValueError: if it holds NaN or Inf.

    Example:
        >>> import tempfile, nibabel
        >>> path = Path(tempfile.mkdtemp()) / "head.nii"
        >>> nibabel.Nifti1Image(np.zeros((4, 5, 2), np.float32), np.eye(4)).to_filename(path)
        >>> read_volume(find_volumes(path.parent, "*")[0]).shape
        torch.Size([1, 4, 5, 2])
    """
    array, meta = read_pixels(volume.reader, volume.path, volume.name)
    array = array[..., channel] if len(volume.shape) == 4 else array
    pixels = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).unsqueeze(0)
    affine = torch.as_tensor(meta.get("affine", np.eye(4)))  # a PNG has none
    loaded = MetaTensor(pixels, affine=affine, meta={"space": meta.get("space", "")})
    bad = (~torch.isfinite(loaded)).nonzero()
    if len(bad):
        raise ValueError(f"{volume.name} holds NaN or Inf, first at index {tuple(bad[0, 1:].tolist())}.")
    loaded.meta["filename_or_obj"] = volume.name
    return loaded
