"""A PACS to try the applications with: Debian's Orthanc, on this machine only, emptied when it ends.

It is a server for demonstrations and tests, never one for patients' data: no passwords, nothing is kept.
``python examples/hospital/orthanc.py`` runs one until it is interrupted.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from infomri_monai.deploy.case import EXIT_USAGE, DeployError

__all__ = ["LocalPacs", "free_port", "local_orthanc", "orthanc_missing"]

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
#: how often it is tried with other ports, should another process take one first
ATTEMPTS = 3
LOG_LINES = 8
STARTED = "Orthanc has started"


class LocalPacs(NamedTuple):
    """How to reach it.

    Attributes:
        ae_title: of the PACS.
        dicom_port: for DIMSE, on 127.0.0.1.
        http_url: of Orthanc's own interface and web page.
        dicomweb_url: of DICOMweb.
        client_aet: the only calling AE title it accepts; it may store, find, get and move.
        move_port: where it sends to when it is asked to move to ``client_aet``; nothing listens there yet.
        process: number of the process.
    """

    ae_title: str
    dicom_port: int
    http_url: str
    dicomweb_url: str
    client_aet: str
    move_port: int
    process: int


def orthanc_missing() -> str:
    """Why Orthanc cannot be started here; empty if it can."""
    program = _program()
    if program is None:
        return (
            "Orthanc is not installed: `make system-packages`, or `apt-get install orthanc orthanc-dicomweb` on Debian."
        )
    if not PLUGIN.exists():
        return "Orthanc's DICOMweb plugin is not installed: `apt-get install orthanc-dicomweb` on Debian."
    return ""


def free_port() -> int:
    """A TCP port that was free a moment ago, and is none of those that systems give to outgoing connections."""
    for port in random.SystemRandom().sample(range(20000, 32000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise DeployError("there is no free port.", EXIT_USAGE)


@contextmanager
def local_orthanc(
    client_aet: str = "INFOMRI", options: Mapping[str, Any] | None = None, timeout: float = 120.0
) -> Iterator[LocalPacs]:
    """Run Orthanc while the block runs; then it is stopped and all that it stored is removed, whatever happened.

    Orthanc opens its ports on all interfaces, as it knows no other way, but serves this machine alone: requests by HTTP from
    another host are refused, so are associations from an address other than 127.0.0.1 or an AE title other than ``client_aet``.
    Should the Python process be killed, Orthanc ends with it where ``setpriv`` (util-linux) is installed; its folder stays.

    Args:
        client_aet: AE title of the client, at most 16 characters.
        options: of Orthanc's configuration, beside or instead of those set here.
        timeout: seconds within which it must start, much more than a loaded machine needs.

    Yields:
        How to reach it.

    Raises:
        DeployError: if it is not installed, or does not start; the message holds the end of its log.

    References:
        S. Jodogne, The Orthanc Ecosystem for Medical Imaging, Journal of Digital Imaging 31 (2018).
    """
    missing = orthanc_missing()
    if missing:
        raise DeployError(missing, EXIT_USAGE)
    with tempfile.TemporaryDirectory(prefix="orthanc-", ignore_cleanup_errors=True) as name:
        process = None
        try:
            for attempt in range(1, ATTEMPTS + 1):
                folder = Path(name) / str(attempt)
                process, pacs = _start(folder, client_aet, options or {})
                reason = _wait(process, folder, timeout)
                if not reason:
                    break
                _stop(process)
                if attempt == ATTEMPTS or "already in use" not in _log(folder):
                    raise DeployError(f"Orthanc {reason}; its log ends with:\n{_log(folder)}", EXIT_USAGE)
            yield pacs
        finally:
            if process is not None:
                _stop(process)


def _program() -> str | None:
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/opt/orthanc/bin")


def _start(folder: Path, client_aet: str, options: Mapping[str, Any]) -> tuple[subprocess.Popen[bytes], LocalPacs]:
    """Start it with free ports; it does not answer yet."""
    folder.mkdir()
    dicom_port, http_port, move_port = free_port(), free_port(), free_port()
    configuration = _configuration(folder, client_aet, dicom_port, http_port, move_port) | dict(options)
    (folder / "orthanc.json").write_text(json.dumps(configuration, indent=2))
    command = [str(_program()), str(folder / "orthanc.json")]
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    url = f"http{'s' * bool(configuration.get('SslEnabled'))}://127.0.0.1:{http_port}"
    aet = configuration["DicomAet"]
    return process, LocalPacs(aet, dicom_port, url, f"{url}/dicom-web", client_aet, move_port, process.pid)


def _configuration(folder: Path, client_aet: str, dicom_port: int, http_port: int, move_port: int) -> dict[str, Any]:
    storage = folder / "storage"
    storage.mkdir()
    return {
        "Name": "InfoMRI demonstration",
        "StorageDirectory": str(storage),
        "IndexDirectory": str(storage),
        "TemporaryDirectory": str(folder),
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "WebDavEnabled": False,
        "ExecuteLuaEnabled": False,
        "HttpDescribeErrors": False,
        "DicomAet": "ORTHANC",
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": True,
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"client": [client_aet, "127.0.0.1", move_port]},
        "StrictAetComparison": True,
        "OverwriteInstances": False,
        "EnableTranscoding": False,
        "SaveJobs": False,
        "DicomAssociationCloseDelay": 0,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }


def _wait(process: subprocess.Popen[bytes], folder: Path, timeout: float) -> str:
    """Wait until its log says that it has started, all ports being open then; why it has not, empty if all is well."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if STARTED in (folder / "orthanc.log").read_text(errors="replace"):
            return ""
        if process.poll() is not None:
            return f"ended with exit code {process.returncode} while it started"
        time.sleep(0.05)
    return f"has not started within {timeout:g} s"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it at once, as nothing of it is kept; returns when it is gone."""
    process.kill()
    process.wait()


def _log(folder: Path) -> str:
    lines = (folder / "orthanc.log").read_text(errors="replace").splitlines()
    return "\n".join(lines[-LOG_LINES:])


def main() -> None:
    """Run one until interrupted or terminated."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with local_orthanc() as pacs, suppress(KeyboardInterrupt):
        print(f"web page {pacs.http_url}, DICOMweb {pacs.dicomweb_url}")
        print(
            f"DICOM 127.0.0.1:{pacs.dicom_port}, AE title {pacs.ae_title}, calling AE title {pacs.client_aet}",
            flush=True,
        )
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
