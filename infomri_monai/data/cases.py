"""Cases of an inference: which files are found, how one is read, and a data set that goes on where one cannot be read."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from monai.data import Dataset, MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import Transform

from infomri_monai.data.embedded import embedded_lesions as make_lesions
from infomri_monai.data.embedded import embedded_subjects
from infomri_monai.data.image_files import Unreadable, Volume, find_volumes, is_passed_over, read_volume
from infomri_monai.data.kspace_file import KSPACE_SUFFIXES, check_kspace_file, read_kspace
from infomri_monai.transforms.common import checked_tensor, plain

__all__ = ["CaseDataset", "ReadCaseD", "ReadCaseDict", "ReadCased", "inference_cases"]

_LOGGER = logging.getLogger(__name__)
_EMBEDDED_SUBJECTS, _EMBEDDED_LESION_SUBJECTS = 2, 4


def inference_cases(
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "embedded",
    pattern: str = "**/*",
    kind: str = "image",
    embedded_grid: Sequence[int] = (96, 96),
    embedded_lesions: bool = False,
    unreadable: str = "fail",
) -> list[dict[str, Any]]:
    """List the cases of a folder, of one file or of a list of files; all headers are checked, no pixel is read.

    Args:
        dataset_dir: a folder; a file; a list of files and folders; or "embedded" (also ""), two subjects of the test split of
            :func:`~infomri_monai.data.embedded_subjects`, complex, which need no download.
        pattern: glob pattern of the files below a folder. Of a DICOM folder always the whole series is taken.
        kind: ``"image"`` for images, whose acquisition is simulated: NIfTI (2D or 3D, real or complex), PNG, JPEG and DICOM series.
            ``"kspace"`` for raw undersampled k-space: ``.npz``, ``.npy`` and HDF5 (an array "kspace" as fastMRI's files have it, or
            ISMRMRD), see :func:`~infomri_monai.data.kspace_file.read_kspace`.
        embedded_grid: (height, width) of the embedded subjects.
        embedded_lesions: "embedded" is four subjects of :func:`~infomri_monai.data.embedded.embedded_lesions`, with a
            simulated lesion in some slices.
        unreadable: what becomes of a file that cannot be read or is not accepted: "fail" makes it a case that fails with its
            reason, beside the others; "skip" leaves it out, and the log counts them; "raise" stops and names the file.

    Returns:
        One dictionary a case, in the order of the names, for :class:`~infomri_monai.data.ReadCased`: "image" or "kspace", the
        path (embedded: the array); "reader", how an image is read; "name", the path below ``dataset_dir`` without
        suffix; "index", from 1.

    Raises:
        FileNotFoundError: if a path does not exist, or there is no file of the kind.
        OSError: with "raise", if a file is unreadable.
        ValueError: if ``kind`` or ``unreadable`` is unknown, or two cases have one name; with "raise", if k-space is real or no 2D
            Cartesian acquisition, or an image has colours or more than three axes.

    Example:
        >>> import tempfile, nibabel
        >>> folder = tempfile.mkdtemp()
        >>> nibabel.Nifti1Image(np.zeros((4, 5, 2), np.float32), np.eye(4)).to_filename(folder + "/head.nii.gz")
        >>> [(case["name"], case["index"]) for case in inference_cases(folder)]
        [('head', 1)]
    """
    if kind not in ("image", "kspace"):
        raise ValueError(f"kind must be 'image' (simulated acquisition) or 'kspace' (raw data), got {kind!r}.")
    if unreadable not in ("fail", "skip", "raise"):
        raise ValueError(f"unreadable must be 'fail', 'skip' or 'raise', got {unreadable!r}.")
    if isinstance(dataset_dir, str) and dataset_dir in ("", "embedded"):
        if kind != "image":
            raise ValueError(
                "dataset_dir: the embedded data are images; kind='kspace' needs a folder or a list of files."
            )
        return _embedded(embedded_grid, embedded_lesions)
    root, patterns = _search(dataset_dir, pattern)
    found = _settled(_images(root, patterns) if kind == "image" else _kspaces(root, patterns), unreadable)
    if not found:
        formats = "NIfTI, PNG, JPEG or DICOM" if kind == "image" else "/".join(KSPACE_SUFFIXES)
        raise FileNotFoundError(f"dataset_dir {root} holds no {formats} file that matches {pattern!r} (kind={kind!r}).")
    twice = [name for name, count in Counter(case["name"] for case in found).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} names belong to several files, the first is {twice[0]!r}: choose by pattern.")
    return [{**case, "index": index} for index, case in enumerate(sorted(found, key=lambda c: str(c["name"])), 1)]


def _search(dataset_dir: Any, pattern: str) -> tuple[Path, list[str]]:
    """The folder to search and the glob patterns of the files in it."""
    if isinstance(dataset_dir, (str, os.PathLike)) and Path(dataset_dir).is_dir():
        return Path(dataset_dir), [pattern]
    paths = [Path(p) for p in ([dataset_dir] if isinstance(dataset_dir, (str, os.PathLike)) else dataset_dir)]
    missing = [str(path) for path in paths if not path.exists()]
    if missing or not paths:
        raise FileNotFoundError(
            f"dataset_dir: there is no {missing[0]}." if missing else "dataset_dir is an empty list."
        )
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    escaped = [glob.escape(path.absolute().relative_to(root).as_posix()) for path in paths]
    return root, [f"{e}/{pattern}" if path.is_dir() else e for e, path in zip(escaped, paths, strict=True)]


def _images(root: Path, patterns: list[str]) -> list[dict[str, Any]]:
    volumes = list({(v.path, v.name): v for pattern in patterns for v in find_volumes(root, pattern)}.values())
    return [
        {"image": str(v.path), "reader": v, "name": str(PurePosixPath(v.name)), "unreadable": v.unreadable}
        for v in volumes
    ]


def _kspaces(root: Path, patterns: list[str]) -> list[dict[str, Any]]:
    paths = {path for pattern in patterns for path in root.glob(pattern) if not is_passed_over(path.relative_to(root))}
    paths = {path for path in paths if path.is_file() and path.suffix.lower() in KSPACE_SUFFIXES}
    return [_kspace(path, path.relative_to(root)) for path in sorted(paths)]


def _kspace(path: Path, name: Path) -> dict[str, Any]:
    problem = None
    try:
        check_kspace_file(path)
    except (OSError, ValueError) as error:
        # RawDataError and RawFileError promise not to name a file
        problem = Unreadable(OSError if isinstance(error, OSError) else ValueError, f"cannot be used: {error}")
    shown = name.with_suffix("") if problem is None else name
    return {"kspace": str(path), "name": shown.as_posix(), "unreadable": problem}


def _settled(cases: list[dict[str, Any]], unreadable: str) -> list[dict[str, Any]]:
    """The cases, those that cannot be read as the caller wants them."""
    kept = []
    for number, case in enumerate(sorted(cases, key=lambda c: str(c["name"])), 1):
        problem = case.pop("unreadable")
        if problem is not None and unreadable == "raise":
            raise problem.error(case["name"])
        if problem is not None and unreadable == "skip":
            _LOGGER.warning("file %d of %d (by name) is left out: it %s", number, len(cases), problem.reason)
            continue
        kept.append(case if problem is None else {**case, "reader": problem})
    if left_out := len(cases) - len(kept):
        _LOGGER.warning("%d of %d files cannot be read and are left out", left_out, len(cases))
    return kept


def _embedded(grid: Sequence[int], lesions: bool) -> list[dict[str, Any]]:
    if lesions:
        slices = make_lesions("test", subjects=_EMBEDDED_LESION_SUBJECTS, grid=grid)
    else:
        slices = embedded_subjects("test", subjects=_EMBEDDED_SUBJECTS, grid=grid)
    subjects = sorted({entry["subject"] for entry in slices})
    return [
        {
            "image": np.stack([entry["image"] for entry in slices if entry["subject"] == subject], axis=-1),
            "name": f"subject_{subject:03d}",
            "index": index,
        }
        for index, subject in enumerate(subjects, 1)
    ]


class ReadCased(Transform):
    """Read an entry of :func:`~infomri_monai.data.inference_cases`.

    An "image" becomes a MetaTensor, float32 or complex64, shape (1, height, width[, slice]), in the file's intensity units with
    its 4 x 4 affine (RAS, mm; the identity where the source has none) and nothing else of its header. A "kspace" becomes a
    complex64 tensor of that shape, with "mask" (float32, same shape) if the file holds one; a tensor or array instead of a path is
    k-space in memory, already in that shape, and so is a "mask" beside it. "has_geometry", a bool, says whether
    the affine is the source's: PNG, arrays and k-space have none, and so no size of a voxel. "centre_checked" says that k-space
    came from a file, whose reader warns if it is not centred. The path and the reader are dropped. Messages of
    errors name no file: the file's name may be a patient's.

    Args:
        magnitude: take the magnitude of complex images, for networks that were trained on magnitudes. k-space stays as it is.
        swap_axes: swap the first two axes of images that were read from a file or have an affine, and those of the affine: MONAI's
            readers give (column, row) of an axial slice, while a network may have been trained on (row, column), the way a slice
            is looked at. k-space and arrays without affine (the embedded data) stay as they are.

    Raises:
        OSError: when called, if the file is unreadable.
        ValueError: when called, if the data hold NaN or Inf, have other axes, or are real where complex is needed, or there are two
            masks.

    Example:
        >>> ReadCased()({"image": np.ones((1, 4, 5)), "name": "flat", "index": 1})["image"].shape
        torch.Size([1, 4, 5])
    """

    def __init__(self, magnitude: bool = False, swap_axes: bool = False) -> None:
        for name, value in (("magnitude", magnitude), ("swap_axes", swap_axes)):
            if not isinstance(value, bool):
                raise ValueError(
                    f"{name} must be True or False (on a command line with a capital letter), got {value!r}."
                )
        self.magnitude, self.swap_axes = magnitude, swap_axes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        reader = d.pop("reader", None)
        if isinstance(reader, Unreadable):
            raise reader.error("the image" if "image" in d else "the k-space")
        if "image" in d:
            image, d["has_geometry"] = _image(d["image"], reader)
            if self.swap_axes and (reader is not None or d["has_geometry"]):
                image = _swapped(image)
            d["image"] = image.abs() if self.magnitude and image.is_complex() else image
        elif isinstance(d["kspace"], (str, os.PathLike)):
            kspace, mask = read_kspace(d["kspace"])
            if mask is not None and "mask" in d:
                raise ValueError("mask is given beside a file of k-space that holds one: leave out one of them.")
            d["kspace"], d["has_geometry"], d["centre_checked"] = _slices_last(kspace), False, True
            if mask is not None:
                d["mask"] = _slices_last(mask)
        else:
            d["kspace"] = _single(plain(checked_tensor(d["kspace"], "kspace", 2, kspace=True)), "kspace")
            d.setdefault("has_geometry", False)
        return d


ReadCaseD = ReadCaseDict = ReadCased


def _image(source: Any, reader: Any) -> tuple[MetaTensor, bool]:
    """The image, and whether its affine is the source's."""
    array, affine = source, getattr(source, "affine", None)
    if isinstance(reader, Volume):
        array = read_volume(reader._replace(name="image"))
        affine = array.affine if array.meta["space"] else None
    pixels = plain(checked_tensor(array, "image", 2))
    if pixels.shape[0] != 1:
        raise ValueError(f"image must have one channel, got shape {tuple(pixels.shape)}.")
    pixels = _single(pixels, "image")
    matrix = np.asarray(np.eye(4) if affine is None else affine, dtype=np.float64)
    return MetaTensor(pixels, affine=torch.as_tensor(to_affine_nd(3, matrix))), affine is not None


def _single(values: torch.Tensor, name: str) -> torch.Tensor:
    """Finite values in single precision, which may not hold them."""
    single = values.to(torch.complex64 if values.is_complex() else torch.float32)
    if not bool(torch.isfinite(single).all()):
        raise ValueError(f"{name} holds values beyond the range of float32.")
    return single


def _swapped(image: MetaTensor) -> MetaTensor:
    """The image with its first two spatial axes, and those of its affine, exchanged."""
    affine = torch.as_tensor(image.affine)[:, [1, 0, 2, 3]]
    return MetaTensor(image.as_tensor().transpose(1, 2).contiguous(), affine=affine)


def _slices_last(stack: np.ndarray) -> torch.Tensor:
    """(height, width) or (slice, height, width) as (1, height, width[, slice])."""
    tensor = torch.from_numpy(np.array(stack))[None]
    return tensor.movedim(1, -1) if tensor.ndim == 4 else tensor


class CaseDataset(Dataset):
    """A MONAI data set whose unreadable entries become items that say why, instead of an exception.

    Args:
        data: entries of :func:`~infomri_monai.data.inference_cases`.
        transform: preprocessing that begins with :class:`ReadCased`.

    Every item has "failure": "" if all went well, else the reason, beside "name", "index" and an image of one zero.

    Example:
        >>> dataset = CaseDataset([{"image": np.full((1, 4, 5), np.nan), "name": "broken", "index": 1}], ReadCased())
        >>> dataset[0]["failure"]
        'ValueError: image holds NaN or Inf values.'
    """

    def _transform(self, index: int) -> dict[Hashable, Any]:
        try:
            return {**super()._transform(index), "failure": ""}
        except (OSError, ValueError, RuntimeError) as error:
            cause: BaseException = error
            while isinstance(cause, RuntimeError) and cause.__cause__ is not None:  # Compose's wrapping
                cause = cause.__cause__
            reason = f"{type(cause).__name__}: {cause}"
        entry = self.data[index]
        return {
            "image": MetaTensor(torch.zeros(1, 1, 1)),
            "failure": reason,
            "name": entry.get("name", ""),
            "index": entry.get("index", index + 1),
        }
