"""What DICOM libraries say inside the guard stays there, and outside it everything is as before."""

import logging
import traceback
import warnings

import pytest

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.logs import guarded

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


def test_loggers_are_as_before(caplog):
    for _ in range(2):
        with guarded("writing"):
            pass
    logging.getLogger("highdicom.base").warning("heard")
    assert "heard" in caplog.text


def test_errors_of_our_own_and_interruptions_pass():
    with pytest.raises(DeployError, match=r"^own$"), guarded("writing"):
        raise DeployError("own")
    with pytest.raises(KeyboardInterrupt), guarded("writing"):
        raise KeyboardInterrupt
