"""Signals: before, while a case is processed and while it is written; what is in the output folder is always complete."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pydicom
import pytest
from application_runs import environment
from damaged_series import good
from fault_runs import Outcome
from faults import PATIENT
from helper import refuses

from hospital.mr_series import write_example_series
from infomri_monai.deploy.launch import SIGNALS, Interrupted, Interruption, end_quietly

#: the application as it is started, but for a disk that takes nothing before a signal has come
SLOW_DISK = """
import threading
from infomri_monai.deploy.dicom import save
from infomri_monai.deploy.launch import Interruption
came, interrupt, write = threading.Event(), Interruption._interrupt, save._write
def interrupted(*arguments):
    came.set()
    interrupt(*arguments)
def slow(*arguments):
    print("WRITING", flush=True)
    came.wait(600)
    write(*arguments)
Interruption._interrupt, save._write = interrupted, slow
from runpy import run_module
run_module("infomri_monai.deploy.segmentation", run_name="__main__", alter_sys=True)
"""

#: the application as it is started, but Ctrl+C comes when it begins to import something
EARLY = """
import signal, sys
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, CtrlC())
from runpy import run_module
run_module("infomri_monai.deploy.segmentation", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_raised_once_and_handlers_are_as_before(number):
    before = {n: signal.getsignal(n) for n in SIGNALS}
    with Interruption(), pytest.raises(Interrupted) as caught:
        signal.raise_signal(number)
    assert caught.value.code == 128 + number
    assert {n: signal.getsignal(n) for n in SIGNALS} == before
    with Interruption():
        with pytest.raises(Interrupted):
            signal.raise_signal(number)
        signal.raise_signal(number)


def test_signals_that_were_ignored_stay_ignored():
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        end_quietly()
        with Interruption():
            for number in SIGNALS:
                signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Library:
    """An application that puts a handler of its own in place, as Holoscan does, and goes on until it is told to stop."""

    def __init__(self, seconds, fail=False):
        self.seconds, self.fail, self.stop, self.begun = seconds, fail, threading.Event(), threading.Event()

    def run_async(self):
        from concurrent.futures import ThreadPoolExecutor

        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.begun.set()
        return ThreadPoolExecutor(1).submit(self.run)

    def run(self):
        self.stop.wait(self.seconds)
        if self.fail:
            raise RuntimeError("defect")


def test_a_run_ends_by_itself_or_with_its_error():
    with Interruption() as interruption:
        interruption.run(Library(0.2), threading.Lock())
        refuses(RuntimeError, "defect", interruption.run, Library(0.0, fail=True), threading.Lock())


def test_a_signal_waits_for_what_is_being_written_and_lets_nothing_more_begin():
    application, writing, written = Library(600), threading.Lock(), threading.Event()

    def write():
        application.begun.wait(600)
        while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            time.sleep(0.01)  # until our handler is in place again
        with writing:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
            written.set()

    with Interruption() as interruption:
        writer = threading.Thread(target=write)
        writer.start()
        with pytest.raises(Interrupted) as caught:
            interruption.run(application, writing)
        assert caught.value.code == 143
        assert written.is_set()
        assert writing.locked()
    application.stop.set()
    writer.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_the_input_is_searched(place, number):
    """Some libraries raise errors of their own while they are imported, whatever came."""
    good(place.input)

    def leave(code):
        raise SystemExit(code)

    def search(*_):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ImportError from None

    place.monkeypatch.setattr(os, "_exit", leave)
    place.monkeypatch.setattr("infomri_monai.deploy.cases.find_series", search)
    outcome = place.run()
    assert outcome.code == 128 + number
    assert "interrupted; what is in the output folder is complete." in outcome.said
    assert not place.output.exists()


@pytest.mark.parametrize("module", ["infomri_monai.deploy.command", "torch", "yaml", "monai.deploy.core"])
def test_ctrl_c_while_the_program_starts(place, module):
    """In one line, whatever is imported, and nothing was made."""
    good(place.input)
    arguments = map(str, ["-i", place.input, "-o", place.output, "-m", place.models()])
    command = [sys.executable, "-c", EARLY.replace("MODULE", repr(module)), *arguments]
    done = subprocess.run(command, cwd=place.root, env=environment(), capture_output=True, text=True, timeout=300)
    outcome = Outcome(done.returncode, done.stdout + done.stderr, place.output)
    outcome.assert_says(130, "interrupted; what is in the output folder is complete.\n", hidden=place.input)
    assert outcome.said.count("\n") == 1
    assert not place.output.exists()


def interrupted(place, program, number, word, *more):
    """Start the application on two series, send a signal when it says a word, and wait for its end."""
    arguments = ["-i", place.input, "-o", place.output, "-m", place.models(), *more]
    command = [sys.executable, "-u", *program, *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=place.root, env=environment(), **options) as process:
        said = ""
        for line in process.stdout:
            said += line
            if word in line:
                process.send_signal(number)
                break
        said += process.stdout.read()
    outcome = Outcome(process.returncode, said, place.output)
    assert outcome.code == 128 + number, said
    assert "interrupted; what is in the output folder is complete." in said
    assert "gxf" not in said  # Holoscan's handlers are out of the game
    complete, other = outcome.summary["cases"]
    assert (complete["status"], other["status"]) == ("written", "interrupted")
    assert (other["reason"], other["objects"]) == ("the application was interrupted.", [])
    assert outcome.files == {"summary.json", "case_0001", *complete["objects"]}
    assert len(complete["objects"]) == 4
    for path in complete["objects"]:
        assert pydicom.dcmread(outcome.output / path).PatientID == PATIENT.identifier
    assert not any(place.temporary.iterdir())
    outcome.assert_silent(place.input)


@pytest.mark.slow
def test_ctrl_c_while_a_case_is_inferred(place):
    """The first case is complete, the second one, which would take long, is not begun."""
    good(place.input / "a")
    write_example_series(place.input / "b/DOE_JANE_4711", slices=16, grid=(192, 192), patient=PATIENT)
    settings = place.root / "app.yaml"
    settings.write_text("bundle: {samples: 128, batch_size: 1, swap_axes: true}")
    program = ["-m", "infomri_monai.deploy.segmentation"]
    interrupted(place, program, signal.SIGINT, "case 1 of 2 written", "-c", settings)


@pytest.mark.slow
def test_terminated_while_a_case_is_written(place):
    """It is completed, and the second one is not begun."""
    good(place.input / "a")
    good(place.input / "b")
    interrupted(place, ["-c", SLOW_DISK], signal.SIGTERM, "WRITING")
