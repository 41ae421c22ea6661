"""Shared by the tests of deployment: a real PACS, runs of the applications, and a check that nothing of a patient is said.

Where Orthanc is not installed its tests are skipped, and where the extra ``deploy`` is not installed all of them are passed over;
with INFOMRI_REQUIRE_DEPLOY=1 (as CI has it) they fail instead.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from application_runs import Runs
    from fault_runs import Place
    from pydicom import Dataset

    from hospital.orthanc import LocalPacs

# a shell's background jobs and nohup have signals ignored, and so would the programs whose interruption is tested
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

_NEEDED = ("pydicom", "highdicom", "pynetdicom", "dicomweb_client", "ismrmrd", "holoscan")
_LACKING = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
if _LACKING and os.environ.get("INFOMRI_REQUIRE_DEPLOY") == "1":
    raise ImportError(
        f"INFOMRI_REQUIRE_DEPLOY=1, but there is no {', '.join(_LACKING)}: install infomri-monai[deploy,test]."
    )
collect_ignore_glob = ["*.py"] if _LACKING else []

Silent = Callable[["list[Dataset]"], None]
Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def orthanc() -> Iterator[LocalPacs]:
    """One Orthanc for all tests of a worker: every test stores a study of its own."""
    from pacs_helper import require

    from hospital.orthanc import local_orthanc, orthanc_missing

    require(orthanc_missing())
    with local_orthanc() as pacs:
        yield pacs


@pytest.fixture(scope="session")
def runs(once: Once) -> Runs:
    """The applications on one input, and the bundles' own commands; each is started when a test first asks for it."""
    from application_runs import Runs

    return Runs(once)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Place:
    """Folders of a test that runs applications in its own process."""
    from fault_runs import Place

    return Place(tmp_path, monkeypatch, capfd)


@pytest.fixture
def silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Silent:
    """Check that no identifier of the data sets was logged, at any level, or printed since the test began."""
    from pacs_helper import secrets

    caplog.set_level(logging.DEBUG)

    def check(datasets: list[Dataset]) -> None:
        said = caplog.text + "".join(capfd.readouterr())
        for secret in secrets(datasets):
            assert secret not in said

    return check
