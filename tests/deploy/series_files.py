"""Writing changed example series, and the check that no identifier got out, for the tests of DICOM input."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hospital.mr_series import ExamplePatient

if TYPE_CHECKING:
    from pydicom import Dataset


def save_series(datasets: Iterable[Dataset], folder: Path) -> Path:
    """Save datasets as they are, without checking them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets, 1):
        dataset.save_as(folder / f"slice{number:02d}.dcm", enforce_file_format=True)
    return folder


def assert_no_identifier(text: str, datasets: Iterable[Dataset] = (), folder: Path | None = None) -> None:
    """No identifier of the example patient, no UID of the datasets and no path stands in a text."""
    uids = [getattr(d, f"{kind}InstanceUID") for d in datasets for kind in ("SOP", "Series", "Study")]
    uids += [d.FrameOfReferenceUID for d in datasets]
    for secret in [*ExamplePatient(), "DOE", "4711", *uids, *([] if folder is None else [str(folder), "slice0"])]:
        assert secret not in text
