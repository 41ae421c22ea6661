"""Others' programs that talk to a PACS, run as a hospital runs them: pynetdicom's by DIMSE, dicomweb-client's by DICOMweb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset

from hospital.orthanc import LocalPacs
from infomri_monai.deploy.case import EXIT_USAGE, DeployError

__all__ = ["WAYS", "fetch", "find", "program", "search", "store"]

#: C-STORE and C-GET; C-STORE and C-MOVE; STOW-RS and WADO-RS
WAYS = ("get", "move", "web")


def program(name: str) -> list[str]:
    """How a program of pynetdicom, or ``dicomweb_client``, is started.

    Raises:
        DeployError: if it is not installed.
    """
    package = "dicomweb-client" if name == "dicomweb_client" else "pynetdicom"
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise DeployError(f"{package} is not installed: `pip install {package}`.", EXIT_USAGE) from None
    if package == "pynetdicom":
        return [sys.executable, "-m", "pynetdicom", name]
    return [str(Path(str(next(file.locate() for file in files if file.name == name))).resolve())]


def find(pacs: LocalPacs, level: str, **keys: str) -> list[Dataset]:
    """Find studies or series by C-FIND (``findscu``).

    Args:
        pacs: to ask.
        level: "STUDY" or "SERIES".
        keys: what they must have, by keyword; what is empty is asked for.

    Returns:
        The PACS's answers.

    Raises:
        DeployError: if the program fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        _run([*program("findscu"), *_dimse(pacs, level, keys), "-w"], folder)
        return [pydicom.dcmread(path, force=True) for path in sorted(Path(folder).glob("rsp*.dcm"))]


def search(pacs: LocalPacs, *arguments: str) -> list[Any]:
    """Find studies or series by QIDO-RS (``dicomweb_client search``).

    Args:
        pacs: to ask.
        arguments: e.g. "studies", "--filter", "PatientID=1".

    Returns:
        DICOM JSON, of every match.

    Raises:
        DeployError: if the program fails.
    """
    found: list[Any] = json.loads(_web(pacs, "search", *arguments))
    return found


def fetch(pacs: LocalPacs, way: str, folder: Path, study: str, series: str = "") -> list[Path]:
    """Fetch a study, or one series of it.

    Args:
        pacs: that has it.
        way: one of ``WAYS``.
        folder: where to; made if absent.
        study: its UID.
        series: its UID; "" takes all.

    Returns:
        The files that came, in the order of their names: not all of them, perhaps, as the programs of pynetdicom
        end without an error where the PACS could not send one.

    Raises:
        DeployError: if the program fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    level, keys = "SERIES" if series else "STUDY", {"StudyInstanceUID": study}
    if series:
        keys["SeriesInstanceUID"] = series
    if way == "web":
        what = ["series", "--study", study, "--series", series] if series else ["studies", "--study", study]
        _web(pacs, "retrieve", *what, "full", "--save", "--output-dir", str(folder))
    else:
        listen = ["-aem", pacs.client_aet, "--store", "--store-aet", pacs.client_aet, "--store-port"]
        more = [*listen, str(pacs.move_port)] if way == "move" else []
        _run([*program(f"{way}scu"), *_dimse(pacs, level, keys), *more, "-od", str(folder)])
    return sorted(folder.iterdir())


def store(pacs: LocalPacs, way: str, files: Sequence[Path]) -> None:
    """Store DICOM files.

    Args:
        pacs: that gets them.
        way: one of ``WAYS``.
        files: DICOM files, or folders by C-STORE.

    Raises:
        DeployError: if the program fails; by C-STORE it does not where the PACS refuses a file.
    """
    if way == "web":
        _web(pacs, "store", "instances", *map(str, files))
        return
    for path in files:
        _run([*program("storescu"), *_dimse(pacs), str(path), "-r", "-cx"])


def _dimse(pacs: LocalPacs, level: str = "", keys: dict[str, str] | None = None) -> list[str]:
    """Where the PACS is and what is asked of it, as pynetdicom's programs want it."""
    where = ["127.0.0.1", str(pacs.dicom_port), "-aet", pacs.client_aet, "-aec", pacs.ae_title]
    if not level:
        return where
    asked = {"QueryRetrieveLevel": level, **(keys or {})}
    return [*where, "-S", *(word for key, value in asked.items() for word in ("-k", f"{key}={value}"))]


def _web(pacs: LocalPacs, *arguments: str) -> str:
    return _run([*program("dicomweb_client"), "--url", pacs.dicomweb_url, *arguments])


def _run(command: list[str], folder: str | None = None) -> str:
    """Run a program in a folder; what it printed."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}  # a proxy cannot reach this machine's loopback
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        name = command[3] if "-m" in command else "dicomweb_client"
        raise DeployError(
            f"{name} ended with exit code {done.returncode}; its messages may hold identifiers and are not shown."
        )
    return done.stdout
