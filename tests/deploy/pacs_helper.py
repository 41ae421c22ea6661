"""Of the tests that talk to a PACS."""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset

from hospital.mr_series import example_datasets


def require(missing: str) -> None:
    """Skip, or fail where everything must be installed, if ``missing`` says that something is."""
    if missing and os.environ.get("INFOMRI_REQUIRE_DEPLOY") == "1":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def secrets(datasets: list[Dataset]) -> set[str]:
    """Identifiers of patient, study, series and instances."""
    keywords = ["PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyID"]
    keywords += ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"]
    found = {str(dataset[keyword].value) for dataset in datasets for keyword in keywords if keyword in dataset}
    return {secret for secret in found if len(secret) > 3}


def as_file(dataset: Dataset) -> Dataset:
    """The data set as read from a file: numbers of one written in memory may have more digits than their text."""
    with BytesIO() as stream:
        dataset.save_as(stream, enforce_file_format=True)
        return pydicom.dcmread(BytesIO(stream.getvalue()))


def assert_same(paths: Iterable[Path], sent: Iterable[Dataset]) -> None:
    """The files hold the data sets, in any order: every attribute, and the pixels to the byte."""
    came = {dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, paths)}
    expected = {dataset.SOPInstanceUID: as_file(dataset) for dataset in sent}
    assert came.keys() == expected.keys()
    for uid, dataset in expected.items():
        assert came[uid].to_json_dict() == dataset.to_json_dict()


def new_study(slices: int = 3, kind: str = "classic") -> list[Dataset]:
    """An MR series that no other test has stored."""
    return example_datasets(kind, slices, grid=(32, 24), seed=int.from_bytes(os.urandom(4), "big"))


def written(datasets: Iterable[Dataset], folder: Path) -> list[Path]:
    """Files of data sets in a new folder."""
    folder.mkdir(parents=True)
    paths = [folder / f"slice_{number:03d}.dcm" for number, _ in enumerate(datasets, 1)]
    for path, dataset in zip(paths, datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths
