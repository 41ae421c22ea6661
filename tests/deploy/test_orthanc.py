"""The PACS of demonstrations and tests starts, answers this machine only, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from helper import refuses
from pacs_helper import require

from hospital import orthanc as module
from hospital.orthanc import LocalPacs, free_port, local_orthanc, orthanc_missing
from hospital.programs import program
from infomri_monai.deploy.case import DeployError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its temporary folders are made where the tests can see that they vanish."""
    require(orthanc_missing())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def runs(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "zombie" not in status.read_text()


def echo(pacs: LocalPacs, host: str = "127.0.0.1", calling: str = "", called: str = "") -> str:
    """What echoscu says; nothing where all is well."""
    titles = ["-aet", calling or pacs.client_aet, "-aec", called or pacs.ae_title]
    command = [*program("echoscu"), host, str(pacs.dicom_port), *titles]
    for _ in range(
        5
    ):  # on a busy machine pynetdicom may see the connection close before the reason, and says nothing then
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode == 0 or done.stderr:
            break
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def failure(options: dict[str, Any], timeout: float = 120.0) -> str:
    """The message when it does not start."""
    with pytest.raises(DeployError) as raised, local_orthanc(options=options, timeout=timeout):
        pass
    return str(raised.value)


def test_answers_and_leaves_nothing_even_after_an_exception(tmp_path: Path) -> None:
    seen: list[LocalPacs] = []

    def fail() -> None:
        with local_orthanc() as pacs:
            seen.append(pacs)
            assert runs(pacs.process)
            assert echo(pacs) == ""
            urllib.request.urlopen(pacs.http_url + "/system").close()
            urllib.request.urlopen(pacs.dicomweb_url + "/studies").close()
            assert list(tmp_path.glob("orthanc-*/*/storage"))
            raise RuntimeError("of the block")

    refuses(RuntimeError, "of the block", fail)
    assert not runs(seen[0].process)
    assert not list(tmp_path.iterdir())
    refuses(OSError, "refused", socket.create_connection, ("127.0.0.1", seen[0].dicom_port))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ends_with_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    """The command is stopped in every way; killed, it cannot remove the folder, but Orthanc ends all the same."""
    command = [sys.executable, module.__file__]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith(b"web page http://127.0.0.1:")
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 1
        parent.send_signal(how)
        parent.wait(300)
    end = time.monotonic() + 120
    while runs(int(children[0])) and time.monotonic() < end:
        time.sleep(0.05)
    assert not runs(int(children[0]))
    if how != signal.SIGKILL:
        assert not list(tmp_path.glob("orthanc-*"))


def test_serves_this_machine_only() -> None:
    """By another address of this machine, which stands for another host, all is refused."""
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    others = [address for address in addresses if "." in address and not address.startswith("127.")]
    if not others:
        pytest.skip("this machine has no address but the loopback's")
    with local_orthanc() as pacs:
        assert "Rejected" in echo(pacs, others[0])
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener.open(pacs.http_url.replace("127.0.0.1", others[0]) + "/system")
        refused.value.close()
        assert refused.value.code in (401, 403)


def test_another_ae_title_is_refused(orthanc: LocalPacs) -> None:
    assert "Rejected" in echo(orthanc, calling="STRANGER")
    assert "Rejected" in echo(orthanc, called="OTHERPACS")


def test_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PLUGIN", tmp_path / "none.so")
    with pytest.raises(DeployError, match="apt-get install orthanc-dicomweb"), local_orthanc():
        pass
    monkeypatch.setattr(module, "_program", lambda: None)
    with pytest.raises(DeployError, match="apt-get install orthanc orthanc-dicomweb"), local_orthanc():
        pass


def test_does_not_start(tmp_path: Path) -> None:
    """No time, a port that is taken, for good, and a configuration that is wrong."""
    assert "has not started within 0 s" in failure({}, timeout=0.0)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        assert re.search(r"its log ends with:\n(.*\n)*.*in use", failure({"HttpPort": taken.getsockname()[1]}))
    assert "while it started; its log" in failure({"HttpPort": "many"})
    assert not list(tmp_path.iterdir())


def test_tries_other_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process takes the first port between the choice and the start."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        ports = [taken.getsockname()[1]] + [free_port() for _ in range(6)]
        monkeypatch.setattr(module, "free_port", lambda: ports.pop(0))
        with local_orthanc() as pacs:
            assert pacs.dicom_port != taken.getsockname()[1]
            assert echo(pacs) == ""
