"""Raw k-space of an input folder as cases: ISMRMRD and fastMRI HDF5 files, ``.npz`` and ``.npy``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.data.ismrmrd_file import is_ismrmrd, read_ismrmrd
from infomri_monai.data.ismrmrd_geometry import centred_affine
from infomri_monai.data.ismrmrd_header import Encoding, parse_encoding
from infomri_monai.data.kspace_file import KSPACE_SUFFIXES, read_kspace_file
from infomri_monai.data.raw_errors import RawDataError, RawFileError
from infomri_monai.deploy.case import EXIT_USAGE, CaseSource, DeployCase, DeployError, system_words
from infomri_monai.deploy.files import FoundFiles, find_files
from infomri_monai.deploy.quiet import quiet
from infomri_monai.deploy.raw_attributes import raw_attributes

h5py, _ = optional_import("h5py")

__all__ = ["RawCandidate", "find_raw", "read_raw"]


@dataclass(frozen=True)
class RawCandidate:
    """One file that may hold raw k-space. Its representation shows no path.

    Attributes:
        number: from 1, in the order of the files' paths.
        path: the file.
    """

    number: int
    path: Path = field(repr=False)

    def read(self, number: int) -> DeployCase:
        """Read it, see :func:`read_raw`."""
        return read_raw(self, number)


class _RawData(NamedTuple):
    """k-space and mask (slice, readout, phase encoding), the affine, whether it is the file's, the header and warnings."""

    kspace: NDArray[np.complex64]
    mask: NDArray[np.float32]
    affine: NDArray[np.float64]
    has_geometry: bool
    xml: str | bytes | None
    warnings: tuple[str, ...]
    thickness: float | None


def find_raw(folder: str | Path, found: FoundFiles | None = None) -> tuple[RawCandidate, ...]:
    """Find the files below a folder that may hold raw k-space, by their suffix; none is opened.

    Args:
        folder: existing folder, or one file.
        found: what :func:`~infomri_monai.deploy.files.find_files` found in the folder, where that is known.

    Returns:
        Candidates in the order of their paths, of what :func:`~infomri_monai.deploy.files.find_files` finds; folders that cannot be
        looked into are told by :func:`~infomri_monai.deploy.dicom.scan.find_series`.

    Raises:
        DeployError: if there is no such folder or file.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> np.save(root / "scan.npy", np.ones((4, 4), np.complex64))
        >>> find_raw(root)
        (RawCandidate(number=1),)
    """
    root = Path(folder)
    if not root.exists():
        raise DeployError("the input must be an existing folder or file.", EXIT_USAGE)
    paths = (root,) if root.is_file() else (found or find_files(root)).files
    kspace = [path for path in paths if path.suffix.lower() in KSPACE_SUFFIXES]
    return tuple(RawCandidate(number, path) for number, path in enumerate(kspace, 1))


def read_raw(candidate: RawCandidate, number: int) -> DeployCase:
    """Read one file; what the network sees is what ``python -m monai.bundle run ... --kind kspace`` has of it.

    Patient, study and equipment come from the ISMRMRD header, which fastMRI's files have, too; values that are not known or that
    DICOM cannot hold are empty, UIDs are made new. Where the file has no geometry, slices are axial, one slice thickness apart,
    with the pixel size of the header's field of view, else 1 mm.

    Args:
        candidate: from :func:`find_raw`.
        number: of the case.

    Returns:
        A case of domain "kspace": readout, phase encoding, slice.

    Raises:
        DeployError: if the file cannot be read, holds something else than 2D Cartesian k-space of one contrast, or nothing
            but zeros.

    Example:
        >>> import tempfile
        >>> from hospital.raw_scan import write_example_ismrmrd
        >>> root = Path(tempfile.mkdtemp())
        >>> write_example_ismrmrd(root / "scan.h5", np.ones((2, 8, 6), np.complex64), lines=[1, 3, 4])
        >>> case = read_raw(find_raw(root)[0], 1)
        >>> tuple(case.data.shape), case.has_geometry, str(case.source.attributes.PatientName)
        ((1, 8, 6, 2), True, 'EXAMPLE^RAW')
    """
    start = perf_counter()
    try:
        candidate.path.open("rb").close()
    except OSError as error:
        raise DeployError(f"raw data: the file cannot be read ({system_words(error)}).") from None
    try:
        with quiet():
            raw = _ismrmrd(candidate.path) if is_ismrmrd(candidate.path) else _array(candidate.path)
            source = CaseSource((), raw_attributes(raw.xml))
            warnings = (*raw.warnings, *_silent_slices(raw.kspace), *_nameless(source.attributes))
            if raw.thickness is not None:
                source.attributes.SliceThickness = round(raw.thickness, 6)
    except ImportError:
        raise DeployError("reading raw data needs the extra infomri-monai[deploy].") from None
    except (RawDataError, RawFileError) as error:  # their messages name neither file nor patient; all others may
        raise DeployError(f"raw data: {error}") from None
    except Exception as error:
        kind = type(error).__name__
        raise DeployError(f"raw data: the file is damaged or of an unknown kind ({kind}).") from None
    return DeployCase(
        number=number,
        domain="kspace",
        data=torch.from_numpy(np.moveaxis(raw.kspace, 0, -1)[None].copy()),
        affine=raw.affine,
        source=source,
        mask=torch.from_numpy(np.moveaxis(raw.mask, 0, -1)[None].astype(np.float32)),
        has_geometry=raw.has_geometry,
        warnings=warnings,
        seconds={"load": perf_counter() - start},
    )


def _silent_slices(kspace: NDArray[np.complex64]) -> tuple[str, ...]:
    """A warning if slices are all zero.

    Raises:
        RawDataError: if all of them are: a scan without even noise is a damaged one.
    """
    silent = int((~kspace.any(axis=(1, 2))).sum())
    if silent == len(kspace):
        raise RawDataError("all samples are zero: nothing was received.")
    return (f"{silent} of {len(kspace)} slices of k-space are all zero.",) if silent else ()


def _nameless(attributes: Any) -> tuple[str, ...]:
    """A warning if nothing says whose scan it is."""
    if attributes.PatientID or attributes.PatientName:
        return ()
    return (
        "the raw data name no patient: the objects have no PatientName and no PatientID, and a study of their own.",
    )


def _ismrmrd(path: Path) -> _RawData:
    scan = read_ismrmrd(path)
    affine, warnings = scan.affine, scan.warnings
    if affine is None:
        affine, warning = _made_up((scan.kspace.shape[1], scan.kspace.shape[2]), scan.encoding)
        warnings = (*warnings, warning)
    return _RawData(
        scan.kspace, scan.mask, affine, scan.affine is not None, scan.xml, warnings, scan.encoding.thickness
    )


def _array(path: Path) -> _RawData:
    """fastMRI's HDF5 and NumPy files."""
    kspace, mask, warnings = read_kspace_file(path)
    if mask is None:
        mask = (kspace != 0).astype(np.float32)
    if kspace.ndim == 2:
        kspace, mask = kspace[None], mask[None]
    xml = _embedded_header(path)
    encoding = None
    if xml is not None:
        try:
            encoding = parse_encoding(xml)
        except ValueError:  # the arrays are what counts; without a field of view there is a warning below
            encoding = None
    affine, warning = _made_up((kspace.shape[1], kspace.shape[2]), encoding)
    return _RawData(kspace, mask, affine, False, xml, (*warnings, warning), encoding.thickness if encoding else None)


def _embedded_header(path: Path) -> str | bytes | None:
    """The ISMRMRD header in a fastMRI file; None if there is none, or one that cannot be read."""
    if path.suffix.lower() in (".npz", ".npy"):
        return None
    try:
        with h5py.File(path, "r") as file:
            value = np.ravel(file["ismrmrd_header"][()])[0] if "ismrmrd_header" in file else None
    except Exception:  # h5py differs in what it raises; k-space is what counts
        return None
    return value if isinstance(value, (str, bytes)) else None


def _made_up(size: tuple[int, int], encoding: Encoding | None) -> tuple[NDArray[np.float64], str]:
    """Affine of axial slices about the origin, phase encoding along the rows, and what there is to say about it."""
    pixel, thickness, words = (1.0, 1.0), 1.0, "a pixel of 1 mm"
    if encoding is not None and encoding.pixel is not None:
        fields = (encoding.pixel[0] * encoding.columns, encoding.pixel[1] * encoding.lines)
        if size[0] == encoding.samples:  # readout oversampling is kept, as in fastMRI's files
            fields = (encoding.pixel[0] * encoding.samples, fields[1])
        pixel, thickness = (fields[0] / size[0], fields[1] / size[1]), encoding.thickness or 1.0
        words = "the pixel size of the header's field of view"
    # the readout runs down, which is how such arrays are displayed
    size, pixel = (size[1], size[0]), (pixel[1], pixel[0])
    affine = centred_affine(np.zeros(3), np.eye(3), size, pixel, np.array([0.0, 0.0, thickness]))
    return affine, f"the raw data hold no geometry: position and orientation are made up (axial), with {words}."
