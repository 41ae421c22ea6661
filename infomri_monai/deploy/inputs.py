"""What an input holds: DICOM series and raw k-space."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple, Protocol

from infomri_monai.data.kspace_file import KSPACE_SUFFIXES
from infomri_monai.deploy.case import DeployCase
from infomri_monai.deploy.dicom.scan import SeriesCandidate, find_series
from infomri_monai.deploy.dicom.series import read_series
from infomri_monai.deploy.files import find_files
from infomri_monai.deploy.raw import find_raw

__all__ = ["ACCEPTED", "KSPACE_SUFFIXES", "FoundSeries", "ReadableCase", "find_cases"]

#: what an input may hold, in words
ACCEPTED = (
    "DICOM MR images under any name, but not packed (.zip, .gz), and raw k-space: ISMRMRD (.h5, .mrd), fastMRI HDF5 (.h5, .hdf5), "
    ".npz and .npy; not NIfTI"
)


class ReadableCase(Protocol):
    """A case that was found in the input and can be read."""

    def read(self, number: int) -> DeployCase:
        """Read it and give it a number; DeployError if that cannot be done."""


class FoundSeries(NamedTuple):
    """A DICOM series, numbered among all cases.

    Attributes:
        candidate: what the scan said of it.
    """

    candidate: SeriesCandidate

    def read(self, number: int) -> DeployCase:
        """Read the series."""
        return dataclasses.replace(read_series(self.candidate), number=number)


def find_cases(path: Path) -> tuple[list[ReadableCase], list[str]]:
    """Find all cases of an input: first the DICOM series, then raw k-space, each in the order of their paths.

    Args:
        path: an existing folder, or one file of raw k-space.

    Returns:
        The cases, also those that can be told from the headers to fail; and notes on what was passed over, without identifiers.

    Raises:
        DeployError: if the path does not exist.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = write_example_series(folder / "head", slices=2)
        >>> cases, notes = find_cases(folder)
        >>> cases[0].read(7).number, notes
        (7, [])
    """
    cases: list[ReadableCase] = []
    notes: list[str] = []
    found = find_files(path) if path.is_dir() else None
    if found is not None:
        scan = find_series(path, KSPACE_SUFFIXES, found)
        cases += [FoundSeries(candidate) for candidate in scan.candidates]
        notes += scan.notes
    cases += find_raw(path, found)
    return cases, notes
