"""Silence covers what others log and warn, overlapping in threads too, and ends."""

from __future__ import annotations

import logging
import warnings
from threading import Event, Thread

import pytest

from infomri_monai.deploy.logs import LOGGERS, quiet


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
    level = logging.getLogger("pynetdicom").level
    with quiet():
        thread.start()
        assert entered.wait(600)
    logging.getLogger("pynetdicom").critical("DOE^JANE")
    leave.set()
    thread.join()
    assert "DOE" not in caplog.text
    assert logging.getLogger("pynetdicom").level == level
    with pytest.warns(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    assert logging.getLogger("pynetdicom").level == level
