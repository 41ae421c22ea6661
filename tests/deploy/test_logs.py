"""Silence covers what others log and warn, overlapping in threads too, and ends.

What DICOM libraries say inside the guard stays there, and outside it everything is as before.
"""

from __future__ import annotations

import logging
import traceback
import warnings
from threading import Event, Thread

import pytest

from infomri_monai.data.dicom.quiet import LOGGERS, quiet
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.logs import guarded


@pytest.mark.parametrize("name", LOGGERS)
def test_nothing_gets_through(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with quiet():
        logging.getLogger(f"{name}.part").critical("DOE^JANE")
        logging.getLogger(name).critical("DOE^JANE")
        warnings.warn("DOE^JANE", stacklevel=1)
    assert "DOE" not in caplog.text
    logging.getLogger(f"{name}.part").error("heard again")
    assert "heard again" in caplog.text


def test_ends_with_the_last_of_overlapping_blocks(caplog: pytest.LogCaptureFixture) -> None:
    entered, leave = Event(), Event()

    def other() -> None:
        with quiet():
            entered.set()
            leave.wait(600)

    thread = Thread(target=other)
    level = logging.getLogger("pydicom").level
    with quiet():
        thread.start()
        assert entered.wait(600)
    logging.getLogger("pydicom").critical("DOE^JANE")
    leave.set()
    thread.join()
    assert "DOE" not in caplog.text
    assert logging.getLogger("pydicom").level == level
    with pytest.warns(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    assert logging.getLogger("pydicom").level == level


SECRET = "DOE^JANE"


def talkative():
    with guarded("writing"):
        warnings.warn(SECRET, stacklevel=1)
        logging.getLogger("highdicom.base").warning(SECRET)
        logging.getLogger("pydicom").error(SECRET)
        raise KeyError(SECRET)


def test_warnings_records_and_messages_stay_inside(caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(DeployError) as caught:
        talkative()
    said = "".join(traceback.format_exception(caught.value))
    assert "writing failed: KeyError" in str(caught.value)
    assert SECRET not in said + caplog.text + "".join(capfd.readouterr())


def test_errors_of_our_own_and_interruptions_pass():
    with pytest.raises(DeployError, match=r"^own$"), guarded("writing"):
        raise DeployError("own")
    with pytest.raises(KeyboardInterrupt), guarded("writing"):
        raise KeyboardInterrupt
