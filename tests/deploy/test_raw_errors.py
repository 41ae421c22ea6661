"""Of raw data that cannot be read only our own readers' messages are passed on; of other exceptions the type."""

import numpy as np
import pytest

from infomri_monai.data.cases import inference_cases
from infomri_monai.data.ismrmrd_header import RawDataError, RawFileError
from infomri_monai.data.kspace_file import read_kspace
from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.cases import find_cases


def said_of(folder):
    with pytest.raises(DeployError) as caught:
        find_cases(folder)[0][0](1)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_our_readers_say_what_is_wrong(tmp_path):
    np.save(tmp_path / "DOE.npy", np.ones((2, 2)))
    with pytest.raises(RawDataError, match="must be complex, got float64"):
        read_kspace(tmp_path / "DOE.npy")
    with pytest.raises(RawFileError, match=r"truncated or no \.npy file"):
        read_kspace(tmp_path / "absent.npy")
    assert said_of(tmp_path) == "raw data: kspace must be complex, got float64."


@pytest.mark.parametrize("error", [ValueError, OSError, KeyError, RuntimeError])
@pytest.mark.parametrize("reader", ["is_ismrmrd", "read_kspace_file", "raw_attributes"])
def test_of_other_exceptions_the_type_is_named(tmp_path, monkeypatch, error, reader):
    def fail(*args):
        raise error("DOE^JANE")

    np.save(tmp_path / "DOE.npy", np.ones((2, 2), np.complex64))
    monkeypatch.setattr(f"infomri_monai.deploy.cases.{reader}", fail)
    assert said_of(tmp_path) == f"raw data: the file is damaged or of an unknown kind ({error.__name__})."


def test_what_our_readers_run_into_is_not_theirs(tmp_path, monkeypatch):
    """A built-in that quotes what it cannot convert, within a function of this package."""
    np.save(tmp_path / "DOE.npy", np.ones((2, 2), np.complex64))
    monkeypatch.setattr("infomri_monai.data.kspace_file._checked_shape", int)
    assert said_of(tmp_path) == "raw data: the file is damaged or of an unknown kind (TypeError)."


def test_names_of_fields_are_not_quoted(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 2), [("DOE^JANE", "f4")]))
    assert said_of(tmp_path) == "raw data: kspace must be complex, got void32."


def test_a_message_that_names_a_file_is_of_another_type(tmp_path):
    np.save(tmp_path / "DOE.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"DOE\.npy: kspace must be complex") as caught:
        inference_cases(tmp_path, kind="kspace")
    assert type(caught.value) is ValueError
