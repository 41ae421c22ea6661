"""Raw undersampled k-space from ``.npz``, ``.npy`` and HDF5 files: a cheap look at the header, then the arrays."""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infomri_monai.data.fastmri import open_volume
from infomri_monai.data.ismrmrd_file import check_ismrmrd, is_ismrmrd, read_ismrmrd
from infomri_monai.data.raw_errors import RawDataError, RawFileError

__all__ = ["KSPACE_SUFFIXES", "check_kspace_file", "read_kspace"]

#: suffixes of the files that may hold raw k-space
KSPACE_SUFFIXES = (".npz", ".npy", ".h5", ".hdf5", ".mrd")
_HDF5 = (".h5", ".hdf5", ".mrd")
_LOGGER = logging.getLogger(__name__)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def check_kspace_file(path: str | os.PathLike[str]) -> None:
    """Check from a file's header alone that it holds single-coil k-space; no sample is read.

    Args:
        path: ``.npz`` or HDF5 with an array "kspace", or ``.npy``; complex, shape (height, width) or (slice, height, width). Or
            an ISMRMRD file, see :func:`~infomri_monai.data.ismrmrd_file.read_ismrmrd`, of which the coils are combined.

    Raises:
        RawFileError: if the file is unreadable.
        RawDataError: if it holds no "kspace", or one that is real, empty or of another number of axes; of an ISMRMRD file, if it
            is no 2D Cartesian acquisition of one contrast.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/scan.npy"
        >>> np.save(path, np.ones((2, 8, 8)))
        >>> check_kspace_file(path)
        Traceback (most recent call last):
        infomri_monai.data.raw_errors.RawDataError: kspace must be complex, got float64.
    """
    path = Path(path)
    if _is_ismrmrd(path):
        check_ismrmrd(path)
        return
    shape, dtype = _header(path)
    if dtype.kind != "c":
        raise RawDataError(f"kspace must be complex, got {dtype.name}.")
    if len(shape) not in (2, 3) or 0 in shape:
        raise RawDataError(
            f"kspace must have shape (height, width) or (slice, height, width), single coil, got {tuple(shape)}."
        )


def read_kspace(path: str | os.PathLike[str]) -> tuple[NDArray[np.complex64], NDArray[np.float32] | None]:
    """Read raw k-space and, where the file holds one, its mask.

    Args:
        path: as in :func:`check_kspace_file`. An array "mask", 0 where nothing was measured, may lie beside "kspace"; its
            shape broadcasts to it (fastMRI stores one value per column). Of an ISMRMRD file, what a user must know
            (several coils, phase oversampling) is logged as a warning.

    Returns:
        k-space in the file's shape (ISMRMRD: slice, readout, phase encoding), DC at ``n // 2``; and the mask, 0/1, of the same
        shape, or None.

    Raises:
        RawFileError: if the file is unreadable or truncated.
        RawDataError: as :func:`check_kspace_file`; if k-space holds NaN or Inf; if the mask does not fit or is not 0/1.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/scan.npz"
        >>> np.savez(path, kspace=np.ones((2, 4, 8), np.complex64), mask=np.arange(8) % 2)
        >>> kspace, mask = read_kspace(path)
        >>> kspace.shape, mask.shape, float(mask.mean())
        ((2, 4, 8), (2, 4, 8), 0.5)
    """
    path = Path(path)
    if _is_ismrmrd(path):
        scan = read_ismrmrd(path)
        for text in scan.warnings:
            _LOGGER.warning(text)
        return scan.kspace, scan.mask
    check_kspace_file(path)
    kspace, mask = _arrays(path)
    if not np.isfinite(kspace).all():
        raise RawDataError("kspace holds NaN or Inf values.")
    kspace = kspace.astype(np.complex64, copy=False)
    if mask is None:
        return kspace, None
    if mask.dtype.kind not in "buif" or not np.isin(mask, (0, 1)).all():
        raise RawDataError("mask must hold 0 (not measured) and 1 (measured) only.")
    try:
        return kspace, np.broadcast_to(mask.astype(np.float32), kspace.shape)
    except ValueError:
        raise RawDataError(
            f"mask of shape {mask.shape} does not broadcast to k-space of shape {kspace.shape}."
        ) from None


def _is_ismrmrd(path: Path) -> bool:
    return path.suffix.lower() in _HDF5 and is_ismrmrd(path)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the k-space array."""
    try:
        if path.suffix.lower() in _HDF5:
            with open_volume(path) as file:
                return tuple(file["kspace"].shape), file["kspace"].dtype
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive, archive.open("kspace.npy") as stream:
                return _npy_header(stream)
        with path.open("rb") as stream:
            return _npy_header(stream)
    except ImportError:  # h5py is an extra
        raise
    except KeyError:
        raise RawDataError("the file holds no array 'kspace'.") from None
    except Exception as error:  # the formats' readers differ in what they raise
        raise RawFileError(f"the file is truncated or no {path.suffix} file ({type(error).__name__}).") from None


def _npy_header(stream: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"unknown version {version} of the .npy format")
    shape, _, dtype = _HEADERS[version](stream)
    return shape, dtype


def _arrays(path: Path) -> tuple[NDArray, NDArray | None]:
    """k-space and the mask, if there is one."""
    try:
        if path.suffix.lower() in _HDF5:
            with open_volume(path) as file:
                return file["kspace"][()], (np.asarray(file["mask"][()]) if "mask" in file else None)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded as file:
            return file["kspace"], file.get("mask")
    except Exception as error:
        raise RawFileError(f"the file is truncated or damaged ({type(error).__name__}).") from None
