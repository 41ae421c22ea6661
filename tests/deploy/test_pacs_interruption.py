"""Signals end the client of a PACS at once, with one line, its exit code, and no part of a study left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pacs_helper import new_study, study_of
from pydicom import Dataset
from pynetdicom import build_context, evt
from stub_pacs import stub, web_stub
from test_pacs_retrieval import found_series

from infomri_monai.deploy.pacs.association import listening
from infomri_monai.deploy.pacs.orthanc import free_port

PULLED = "interrupted; the folder holds all of the study, or nothing.\n"
PUSHED = "interrupted; instances that were stored before stay in the PACS.\n"


def interrupted(arguments: list[str], ready: Callable[[int], bool], number: int, said: str) -> None:
    """Start the client, send a signal when it is as far as ``ready`` says of its process, and wait for its end."""
    command = [sys.executable, "-m", "infomri_monai.deploy.pacs", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        start = time.monotonic()
        while not ready(process.pid) and process.poll() is None:
            assert time.monotonic() - start < 90
            time.sleep(0.01)
        process.send_signal(number)
        start = time.monotonic()
        out, err = process.communicate(timeout=60)
        seconds = time.monotonic() - start
    assert (process.returncode, out, err) == (128 + number, "", said)
    assert seconds < 10  # far less than the timeout of a connection


def imports(word: str) -> Callable[[int], bool]:
    """Whether a process has a library of this name in its memory."""
    return lambda process: word in Path(f"/proc/{process}/maps").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_it_starts(number: int) -> None:
    """PyTorch is being imported; nothing has been read of the arguments."""
    interrupted(["echo", "--dicom", "127.0.0.1:1"], imports("libtorch_cpu"), number, "interrupted.\n")


class Stalling:
    """A PACS that sends the first of a study's instances, and no more for as long as it is asked."""

    def __init__(self, datasets: list[Dataset], port: int) -> None:
        self.datasets, self.port = datasets, port
        self.stop, self.began = Event(), Event()
        self.handlers: dict[Any, Any] = {
            evt.EVT_C_FIND: found_series(datasets, 2),
            evt.EVT_C_GET: self.get,
            evt.EVT_C_MOVE: self.move,
            evt.EVT_C_STORE: self.store,
        }

    def get(self, event: evt.Event) -> Iterator[Any]:
        yield 2
        yield 0xFF00, self.datasets[0]
        self.stop.wait(40)
        yield 0xFF00, self.datasets[1]

    def move(self, event: evt.Event) -> Iterator[Any]:
        yield "127.0.0.1", self.port, {"contexts": [build_context(self.datasets[0].SOPClassUID)]}
        yield from self.get(event)

    def store(self, event: evt.Event) -> int:
        self.began.set()
        self.stop.wait(40)
        return 0


@pytest.fixture
def pacs() -> Iterator[tuple[Stalling, list[str]]]:
    """It, and options that say where it is."""
    one = Stalling(new_study(2), free_port())
    with stub(one.handlers) as archive, ExitStack() as stack:
        stack.callback(one.stop.set)
        yield one, ["--dicom", f"127.0.0.1:{archive.peer.port}", "--aet", "STUB"]


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_while_a_study_is_pulled(retrieve: str, pacs: tuple[Stalling, list[str]], tmp_path: Path) -> None:
    one, where = pacs
    options = ["--retrieve", retrieve, "--move-port", str(one.port)]
    pull = ["pull", *where, *options, "--study", study_of(one.datasets), str(tmp_path / "study")]
    interrupted(pull, lambda _: any(tmp_path.glob(".pull-*/*.dcm")), signal.SIGINT, PULLED)
    assert not list(tmp_path.iterdir())


def test_while_instances_are_pushed(pacs: tuple[Stalling, list[str]], tmp_path: Path) -> None:
    one, where = pacs
    one.datasets[0].save_as(tmp_path / "one.dcm", enforce_file_format=True)
    interrupted(["push", *where, str(tmp_path)], lambda _: one.began.is_set(), signal.SIGTERM, PUSHED)


def test_while_a_study_is_pulled_by_dicomweb(tmp_path: Path) -> None:
    """The query is answered, the series is not."""
    stop, began = Event(), Event()

    def answer(method: str, path: str, body: bytes, headers: Any) -> tuple[int, str, bytes]:
        if path.partition("?")[0].endswith("/series"):
            return 200, "application/dicom+json", b'[{"0020000E": {"vr": "UI", "Value": ["1.2.4"]}}]'
        began.set()
        stop.wait(40)
        return 204, "multipart/related", b""

    with web_stub(answer) as url, ExitStack() as stack:
        stack.callback(stop.set)
        pull = ["pull", "--dicomweb", url, "--study", "1.2.3", str(tmp_path / "study")]
        interrupted(pull, lambda _: began.is_set(), signal.SIGINT, PULLED)
    assert not list(tmp_path.iterdir())


def test_in_this_process_too_the_association_is_gone(pacs: tuple[Stalling, list[str]]) -> None:
    """Of whoever uses the classes: no release that the PACS must answer, and nobody listens any more."""
    from infomri_monai.deploy.pacs.dimse import DimsePacs

    one, (_, address, _, title) = pacs
    archive = DimsePacs("127.0.0.1", int(address.rpartition(":")[2]), title)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), listening(archive.peer, "127.0.0.1", one.port, []):
        raise KeyboardInterrupt
    with listening(archive.peer, "127.0.0.1", one.port, []):  # the port is free again
        pass
    assert time.monotonic() - start < 10
