"""Shared by the tests of deployment: a real PACS, and a check that nothing of a patient is said.

Where Orthanc is not installed its tests are skipped, but fail if INFOMRI_REQUIRE_DEPLOY=1 (as CI has it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from pacs_helper import require, secrets

if TYPE_CHECKING:
    from pydicom import Dataset

    from infomri_monai.deploy.orthanc import LocalPacs

Silent = Callable[["list[Dataset]"], None]


@pytest.fixture(scope="session")
def orthanc() -> Iterator[LocalPacs]:
    """One Orthanc for all tests of a worker: every test stores a study of its own."""
    from infomri_monai.deploy.orthanc import local_orthanc, orthanc_missing

    require(orthanc_missing())
    with local_orthanc() as pacs:
        yield pacs


@pytest.fixture
def silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Silent:
    """Check that no identifier of the data sets was logged, at any level, or printed since the test began."""
    caplog.set_level(logging.DEBUG)

    def check(datasets: list[Dataset]) -> None:
        said = caplog.text + "".join(capfd.readouterr())
        for secret in secrets(datasets):
            assert secret not in said

    return check
