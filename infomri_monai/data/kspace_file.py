"""Raw undersampled k-space from ``.npz``, ``.npy`` and HDF5 files: a cheap look at the header, then the arrays."""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.acquisition.centring import CentreCheck, off_centre
from infomri_monai.acquisition.coils import coil_warning, combine_coils
from infomri_monai.arrays import as_mask
from infomri_monai.data.fastmri import open_volume
from infomri_monai.data.ismrmrd import check_ismrmrd, is_ismrmrd, read_ismrmrd
from infomri_monai.data.ismrmrd_header import RawDataError, check_stored, raw_errors
from infomri_monai.data.prepare import in_float32

h5py, _ = optional_import("h5py")

__all__ = ["KSPACE_SUFFIXES", "KspaceFile", "check_kspace_file", "read_kspace", "read_kspace_file"]

#: suffixes of the files that may hold raw k-space
KSPACE_SUFFIXES = (".npz", ".npy", ".h5", ".hdf5", ".mrd")
_HDF5 = (".h5", ".hdf5", ".mrd")
_LOGGER = logging.getLogger(__name__)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class KspaceFile(NamedTuple):
    """What a file of raw k-space holds.

    Attributes:
        kspace: complex64, in the file's shape without coils (ISMRMRD: slice, readout, phase encoding), DC at ``n // 2``.
        mask: 0/1, float32, same shape; None where a file of one coil has none.
        warnings: what a user must know (several coils, phase oversampling, a centre that is not at ``n // 2``), in words.
    """

    kspace: NDArray[np.complex64]
    mask: NDArray[np.float32] | None
    warnings: tuple[str, ...] = ()


def check_kspace_file(path: str | os.PathLike[str]) -> None:
    """Check from a file's header alone that it holds k-space; no sample is read.

    Args:
        path: ``.npz`` or HDF5 with an array "kspace", or ``.npy``; complex, shape (height, width) or (slice, height, width), of
            HDF5 also (slice, coil, height, width) as fastMRI's multi-coil files have it. Or an ISMRMRD file, see
            :func:`~infomri_monai.data.ismrmrd.read_ismrmrd`.

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
        infomri_monai.data.ismrmrd_header.RawDataError: kspace must be complex, got float64.
    """
    path = Path(path)
    if _is_ismrmrd(path):
        check_ismrmrd(path)
    else:
        _checked_shape(path)


def _checked_shape(path: Path) -> tuple[int, ...]:
    """Shape of the array "kspace", if it is one that is accepted."""
    shape, dtype = _header(path)
    if dtype.kind != "c":
        raise RawDataError(f"kspace must be complex, got {dtype.name}.")
    hdf5 = path.suffix.lower() in _HDF5
    if len(shape) not in ((2, 3, 4) if hdf5 else (2, 3)) or 0 in shape:
        coils = "or of HDF5 files (slice, coil, height, width)" if hdf5 else "single coil"
        raise RawDataError(
            f"kspace must have shape (height, width) or (slice, height, width), {coils}, got {tuple(shape)}."
        )
    return shape


def read_kspace_file(path: str | os.PathLike[str]) -> KspaceFile:
    """Read raw k-space and, where the file holds one, its mask.

    Several coils of ISMRMRD and fastMRI files are combined by :func:`~infomri_monai.acquisition.coils.combine_coils`, slice
    by slice. Where a fastMRI file of several coils has no mask, what is zero in all coils counts as not measured.

    Args:
        path: as in :func:`check_kspace_file`. An array "mask", 0 where nothing was measured, may lie beside "kspace"; its
            shape broadcasts to k-space without its coils (fastMRI stores one value per column). What it hides is read as +0.

    Raises:
        RawFileError: if the file is unreadable or truncated.
        RawDataError: as :func:`check_kspace_file`; if k-space holds NaN or Inf; if the mask does not fit or is not 0/1.

    Example:
        >>> import h5py, tempfile
        >>> path = tempfile.mkdtemp() + "/scan.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file["kspace"], file["mask"] = np.ones((2, 5, 4, 8), np.complex64), np.arange(8) % 2
        >>> kspace, mask, warnings = read_kspace_file(path)
        >>> kspace.shape, float(mask.mean()), warnings[0][:23]
        ((2, 4, 8), 0.5, '5 coils were combined b')
    """
    path = Path(path)
    if _is_ismrmrd(path):
        scan = read_ismrmrd(path)
        return KspaceFile(scan.kspace, scan.mask, scan.warnings)
    if len(_checked_shape(path)) == 4:
        return _several_coils(path)
    kspace, mask = _arrays(path)
    kspace, mask = _finite(kspace), None if mask is None else _fitting(mask, kspace.shape)
    if mask is not None:
        kspace *= mask
    kspace += 0  # what is not measured is +0
    found = off_centre(torch.from_numpy(kspace), None if mask is None else torch.from_numpy(mask.copy()))
    return KspaceFile(kspace, mask, (found,) if found else ())


def read_kspace(path: str | os.PathLike[str]) -> tuple[NDArray[np.complex64], NDArray[np.float32] | None]:
    """As :func:`read_kspace_file`, but what a user must know is logged as a warning.

    Args:
        path: as in :func:`read_kspace_file`.

    Returns:
        k-space and the mask, or None.

    Raises:
        RawFileError, RawDataError: as :func:`read_kspace_file`.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/scan.npz"
        >>> np.savez(path, kspace=np.ones((2, 4, 8), np.complex64), mask=np.arange(8) % 2)
        >>> kspace, mask = read_kspace(path)
        >>> kspace.shape, mask.shape, float(mask.mean())
        ((2, 4, 8), (2, 4, 8), 0.5)
    """
    found = read_kspace_file(path)
    for text in found.warnings:
        _LOGGER.warning(text)
    return found.kspace, found.mask


def _several_coils(path: Path) -> KspaceFile:
    """fastMRI's multi-coil layout (slice, coil, height, width), one slice in memory at a time."""
    slices, masks, check = [], [], CentreCheck()
    with raw_errors("the file is truncated or damaged"), h5py.File(path, "r") as file:
        table = file["kspace"]
        count, coils, *size = table.shape
        given = _fitting(file["mask"][()], (count, *size)) if "mask" in file else None
        for index in range(count):
            kspace = _finite(table[index])
            mask = (kspace != 0).any(0).astype(np.float32) if given is None else given[index].copy()
            check.add(torch.from_numpy(kspace), torch.from_numpy(mask))
            slices.append(_finite(combine_coils(torch.from_numpy(kspace), torch.from_numpy(mask)).numpy()))
            masks.append(mask)
    warnings = (coil_warning(coils) if coils > 1 else "", check.warning())
    return KspaceFile(np.stack(slices), np.stack(masks), tuple(text for text in warnings if text))


def _finite(kspace: NDArray[Any]) -> NDArray[np.complex64]:
    kspace = np.ascontiguousarray(in_float32(kspace))
    if not np.isfinite(kspace).all():
        raise RawDataError("kspace holds NaN or Inf values, or values beyond the range of float32.")
    return kspace


def _fitting(mask: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The mask in the shape of k-space."""
    try:
        mask = as_mask(np.asarray(mask)).float().numpy()
    except ValueError as error:
        raise RawDataError(str(error)) from None
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise RawDataError(f"mask of shape {mask.shape} does not broadcast to k-space of shape {shape}.") from None


def _is_ismrmrd(path: Path) -> bool:
    return path.suffix.lower() in _HDF5 and is_ismrmrd(path)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the k-space array."""
    with raw_errors(f"the file is truncated or no {path.suffix} file"):
        try:
            if path.suffix.lower() in _HDF5:
                with open_volume(path) as file:
                    check_stored(file["kspace"])
                    return tuple(file["kspace"].shape), file["kspace"].dtype
            if path.suffix.lower() == ".npz":
                with zipfile.ZipFile(path) as archive, archive.open("kspace.npy") as stream:
                    return _npy_header(stream)
            with path.open("rb") as stream:
                return _npy_header(stream)
        except KeyError:
            raise RawDataError("the file holds no array 'kspace'.") from None


def _npy_header(stream: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"unknown version {version} of the .npy format")
    shape, _, dtype = _HEADERS[version](stream)
    return shape, dtype


def _arrays(path: Path) -> tuple[NDArray, NDArray | None]:
    """k-space and the mask, if there is one."""
    with raw_errors("the file is truncated or damaged"):
        if path.suffix.lower() in _HDF5:
            with open_volume(path) as file:
                return file["kspace"][()], (np.asarray(file["mask"][()]) if "mask" in file else None)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded as file:
            return file["kspace"], file.get("mask")
