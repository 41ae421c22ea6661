"""Shared by the tests of deployment: a real PACS, runs of the applications, and a check that nothing of a patient is said.

Where Orthanc is not installed its tests are skipped, but fail if INFOMRI_REQUIRE_DEPLOY=1 (as CI has it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pacs_helper import require, secrets

if TYPE_CHECKING:
    from application_runs import Runs
    from pydicom import Dataset

    from infomri_monai.deploy.pacs.orthanc import LocalPacs

Silent = Callable[["list[Dataset]"], None]
Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def orthanc() -> Iterator[LocalPacs]:
    """One Orthanc for all tests of a worker: every test stores a study of its own."""
    from infomri_monai.deploy.pacs.orthanc import local_orthanc, orthanc_missing

    require(orthanc_missing())
    with local_orthanc() as pacs:
        yield pacs


@pytest.fixture(scope="session")
def runs(once: Once) -> Runs:
    """The applications on one input, and the bundles' own commands; each is started when a test first asks for it."""
    for name in ("holoscan", "highdicom", "ismrmrd", "itk"):
        pytest.importorskip(name)
    from application_runs import Runs

    return Runs(once)


@pytest.fixture
def silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Silent:
    """Check that no identifier of the data sets was logged, at any level, or printed since the test began."""
    caplog.set_level(logging.DEBUG)

    def check(datasets: list[Dataset]) -> None:
        said = caplog.text + "".join(capfd.readouterr())
        for secret in secrets(datasets):
            assert secret not in said

    return check
