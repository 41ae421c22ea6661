"""Images on disk, for every front door: NIfTI, PNG, JPEG and DICOM series, found by their headers and read with their pixels.

The one table of what is read how stands in ``docs/conventions.md``; the hospital's applications read DICOM by the same code.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.found_files import FoundFiles

__all__ = ["Unreadable", "Volume", "file_volume", "find_volumes", "is_passed_over", "read_volume", "readable"]

_LOGGER = logging.getLogger(__name__)
_WORDS = {2: "two", 3: "three", 4: "four"}
_NIFTI, _PICTURE = (".nii", ".nii.gz"), (".png", ".jpg", ".jpeg")
#: what computers leave in folders, beside files whose name begins with a dot
_LEFT_BEHIND = ("thumbs.db", "desktop.ini")
#: Pillow's modes of one greyscale channel
_GREY = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class Unreadable(NamedTuple):
    """Why a file cannot be read.

    Attributes:
        kind: OSError where it is damaged, ValueError where it holds what is not accepted.
        reason: the rest of a sentence that begins with the file's name, or with "the image" where names are not told.
    """

    kind: type[Exception]
    reason: str

    def error(self, name: str = "the image") -> Exception:
        """The exception, about a file of this name."""
        return self.kind(f"{name} {self.reason}")


class Volume(NamedTuple):
    """One image volume on disk.

    Attributes:
        name: path relative to the folder without suffix; the folder of a DICOM series and its number, never a tag of it.
        path: file, or folder of a DICOM series.
        shape: spatial shape in MONAI's axis order, two or three axes; a last one of channels where asked for.
        series: of DICOM, a :class:`~infomri_monai.data.dicom.series.SeriesCandidate`.
        unreadable: why it cannot be read; None if its header is fine.
        is_complex: whether its values are complex.
    """

    name: str
    path: Path
    shape: tuple[int, ...]
    series: Any = None
    unreadable: Unreadable | None = None
    is_complex: bool = False


def is_passed_over(path: PurePosixPath | Path) -> bool:
    """Whether a path below a folder is what computers leave behind (``._scan.nii``, ``.DS_Store``, ``Thumbs.db``).

    Example:
        >>> [is_passed_over(Path(name)) for name in ("a/._scan.nii", ".git/x.png", "a/Thumbs.db", "a/scan.nii")]
        [True, True, True, False]
    """
    return any(part.startswith(".") and part != ".." for part in path.parts) or path.name.casefold() in _LEFT_BEHIND


def find_volumes(folder: Path, pattern: str = "**/*") -> list[Volume]:
    """Read the headers of all images below a folder; other files are passed over.

    Args:
        folder: existing folder.
        pattern: glob pattern of the files, relative to ``folder``. Of a DICOM folder always all files are taken.

    Returns:
        Volumes in the order of their names: NIfTI (.nii, .nii.gz), PNG and JPEG one a file, DICOM one a series of MR images; also
        those that cannot be read, which say why. DICOMDIR, structured reports, presentation states, plans and the like are no
        volumes; the log counts them.

    Example:
        >>> import tempfile, numpy as np
        >>> folder = Path(tempfile.mkdtemp())
        >>> nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)).to_filename(folder / "head.nii")
        >>> [(volume.name, volume.shape) for volume in find_volumes(folder)]
        [('head', (4, 5, 6))]
    """
    volumes, others = [], []
    for path in sorted(p for p in folder.glob(pattern) if not is_passed_over(p.relative_to(folder)) and not p.is_dir()):
        name = path.relative_to(folder).as_posix()
        if path.name.lower().endswith((*_NIFTI, *_PICTURE)):
            volumes.append(_file(path, name, (2, 3)))
        else:
            others.append(path)
    return sorted(volumes + _dicom_series(folder, others), key=lambda volume: volume.name)


def file_volume(path: Path, name: str, axes: tuple[int, ...] = (2, 3)) -> Volume:
    """Read the header of one NIfTI, PNG or JPEG file.

    Args:
        path: the file.
        name: what messages call it; the volume's name is this without suffix.
        axes: accepted numbers of axes of a NIfTI file, without trailing ones of size 1.

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
    if not path.name.lower().endswith((*_NIFTI, *_PICTURE)):
        raise ValueError(f"{name} must be a NIfTI (.nii, .nii.gz), PNG or JPEG file.")
    volume = _file(path, name, axes)
    if volume.unreadable is not None:
        raise volume.unreadable.error(name)
    return volume


def readable(volumes: Sequence[Volume], unreadable: str) -> list[Volume]:
    """The volumes that can be read, as their headers say.

    Args:
        volumes: as :func:`find_volumes` lists them.
        unreadable: "raise" stops at the first one that cannot be read and names it; "skip" leaves it out, and the log says how
            many there were and why, by their number in the order of their names.

    Raises:
        ValueError: if ``unreadable`` is unknown.
        OSError, ValueError: as the volume says.
    """
    if unreadable not in ("raise", "skip"):
        raise ValueError(f"unreadable must be 'raise' (stop) or 'skip' (leave out and log), got {unreadable!r}.")
    kept = []
    for number, volume in enumerate(volumes, 1):
        if volume.unreadable is None:
            kept.append(volume)
        elif unreadable == "raise":
            raise volume.unreadable.error(volume.name)
        else:
            _LOGGER.warning(
                "file %d of %d (by name) is left out: it %s", number, len(volumes), volume.unreadable.reason
            )
    if left_out := len(volumes) - len(kept):
        _LOGGER.warning("%d of %d images cannot be read and are left out", left_out, len(volumes))
    return kept


def _file(path: Path, name: str, axes: tuple[int, ...]) -> Volume:
    kind, look = ("NIfTI", _nifti) if path.name.lower().endswith(_NIFTI) else ("PNG or JPEG", _picture)
    stem = name[: name.lower().rindex(".nii")] if kind == "NIfTI" else name[: -len(path.suffix)]
    try:
        shape, complex_ = look(path, axes)
    except _Refused as error:
        return Volume(name, path, (), unreadable=Unreadable(ValueError, str(error)))
    except Exception as error:  # nibabel and Pillow pass on whatever the decompressor and the header parser raise
        reason = f"is not a readable {kind} file ({type(error).__name__})."
        return Volume(name, path, (), unreadable=Unreadable(OSError, reason))
    return Volume(stem, path, shape, is_complex=complex_)


class _Refused(ValueError):
    """What a file holds is not accepted; the message goes on after the file's name."""


def _nifti(path: Path, axes: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """Shape and whether values are complex, from the header."""
    image = nibabel.load(path)
    shape, dtype = _spatial(image.shape), image.get_data_dtype()  # type: ignore[attr-defined]
    if dtype.names is not None:
        raise _Refused(f"must be greyscale, got the colours {', '.join(dtype.names)}; convert it first.")
    if dtype.kind not in "buifc":
        raise _Refused(f"must hold numbers, got {dtype}.")
    if len(shape) not in axes or 0 in shape:
        wanted = " or ".join(_WORDS[n] for n in axes)
        raise _Refused(f"must have {wanted} axes, none of them empty, got shape {tuple(image.shape)}.")  # type: ignore[attr-defined]
    affine = np.asarray(image.affine)  # type: ignore[attr-defined]
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise _Refused("has an affine that is singular or holds NaN or Inf.")
    return shape, dtype.kind == "c"


def _spatial(shape: Iterable[int]) -> tuple[int, ...]:
    """A shape without trailing axes of size 1, but for the third."""
    sizes = [int(n) for n in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def _picture(path: Path, axes: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    pil_image, _ = optional_import("PIL.Image")
    with pil_image.open(path, formats=("PNG", "JPEG")) as image:
        shape, mode, bands = image.size, image.mode, image.getbands()  # MONAI's reader has (width, height), too
        if mode not in _GREY:
            raise _Refused(f"must be greyscale, got the bands {bands}; convert it first.")
        if getattr(image, "n_frames", 1) > 1:
            raise _Refused(f"must hold one image, got {image.n_frames} frames.")
        image.load()
    return shape, False


def _dicom_series(folder: Path, paths: Sequence[Path]) -> list[Volume]:
    """The MR series of some files' folders, named by the folder of their first file."""
    dicom, _ = optional_import(
        "infomri_monai.data.dicom.series", descriptor="DICOM needs the extra infomri-monai[data]"
    )
    near = sorted({path.parent for path in paths if _is_dicom(dicom, path)})
    if not near:
        return []
    files = [p for parent in near for p in parent.iterdir() if not p.is_dir() and not is_passed_over(Path(p.name))]
    files = [p for p in files if not p.name.lower().endswith((*_NIFTI, *_PICTURE)) and _is_dicom(dicom, p)]
    scan, volumes = dicom.find_series(folder, found=FoundFiles(tuple(sorted(files)), ())), []
    for note in scan.notes:
        _LOGGER.info("%s", note)
    numbers: Counter[Path] = Counter()
    for candidate in scan.candidates:
        place = candidate.files[0].parent
        name = place.relative_to(folder).as_posix()
        unreadable, shape = None, (0, 0, 0)
        if candidate.problem:
            about = (
                f"{name}/{candidate.files[0].name}" if len(candidate.files) == 1 else f"{name}/series{numbers[place]}"
            )
            unreadable = Unreadable(ValueError, f"cannot be read: {candidate.problem}")
            volumes.append(Volume(about, place, shape, candidate, unreadable))
        else:
            slices = [header for headers in candidate.slices for header in headers]
            sizes = [int((slices[0].traits[axis] or (0,))[0]) for axis in ("columns", "rows")]
            volumes.append(Volume(f"{name}/series{numbers[place]}", place, (*sizes, len(slices)), candidate))
        numbers[place] += 1
    return volumes


def _is_dicom(dicom: Any, path: Path) -> bool:
    try:
        return bool(dicom.is_dicom(path))
    except OSError:  # whether it is none cannot be told, but where a suffix says so
        return path.suffix.lower() in (".dcm", ".ima")


def read_volume(volume: Volume, channel: int = 0) -> MetaTensor:
    """Read a volume's pixels and affine, and nothing else of its header.

    Args:
        volume: as :func:`find_volumes` lists it.
        channel: which one of a volume with a fourth axis.

    Returns:
        float32, or complex64 of a complex NIfTI, shape (1, *spatial), finite, in the source's units; the affine is 4 x 4, the
        identity where there is none (PNG, JPEG), whose ``meta["space"]`` is "".

    Raises:
        OSError: if the file is unreadable.
        ValueError: if it holds NaN or Inf, or what is not accepted.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "head.nii"
        >>> nibabel.Nifti1Image(np.zeros((4, 5, 2), np.float32), np.eye(4)).to_filename(path)
        >>> read_volume(find_volumes(path.parent, "*")[0]).shape
        torch.Size([1, 4, 5, 2])
    """
    if volume.unreadable is not None:
        raise volume.unreadable.error(volume.name)
    try:
        array, affine = _dicom_pixels(volume) if volume.series is not None else _file_pixels(volume, channel)
        with np.errstate(over="ignore"):  # what float32 cannot hold is Inf, which is refused below
            pixels = torch.from_numpy(
                np.array(array, np.complex64 if np.iscomplexobj(array) else np.float32, order="C")
            )
    except _Refused as error:
        raise ValueError(f"{volume.name} {error}") from None
    except Exception as error:  # readers differ in what they raise; their messages may quote the header
        raise OSError(f"{volume.name} cannot be read ({type(error).__name__}).") from None
    bad = (~torch.isfinite(pixels)).nonzero()
    if len(bad):
        raise ValueError(f"{volume.name} holds NaN or Inf, first at index {tuple(bad[0].tolist())}.")
    matrix = torch.as_tensor(to_affine_nd(3, np.eye(4) if affine is None else np.asarray(affine, np.float64)))
    meta = {"space": "" if affine is None else "RAS", "filename_or_obj": volume.name}
    return MetaTensor(pixels[None], affine=matrix, meta=meta)


def _file_pixels(volume: Volume, channel: int) -> tuple[NDArray[Any], Any]:
    """The array in MONAI's axis order, and the affine, None where there is none."""
    if volume.path.name.lower().endswith(_PICTURE):
        pil_image, _ = optional_import("PIL.Image")
        with pil_image.open(volume.path, formats=("PNG", "JPEG")) as image:
            return np.asarray(image).T, None
    image = nibabel.load(volume.path)
    array = np.asanyarray(image.dataobj).reshape(volume.shape)  # type: ignore[attr-defined]
    return (array[..., channel] if len(volume.shape) == 4 else array), image.affine  # type: ignore[attr-defined]


def _dicom_pixels(volume: Volume) -> tuple[NDArray[Any], Any]:
    dicom, _ = optional_import("infomri_monai.data.dicom.volume")
    quiet, _ = optional_import("infomri_monai.data.dicom.quiet")
    try:
        found = dicom.read_series(volume.series)
    except quiet.DicomError as error:
        raise _Refused(f"cannot be read: {error}") from None
    for text in found.warnings:
        _LOGGER.warning("%s", text)
    return found.pixels, found.affine
