"""Messages of raise statements of this package, and no others, are its own."""

import numpy as np
import pytest

from infomri_monai.data.kspace_file import read_kspace
from infomri_monai.deploy.own_errors import is_own


def of(function, *args):
    with pytest.raises(Exception) as caught:  # noqa: PT011  any
        function(*args)
    return caught.value


def test_a_raise_of_this_package_is_its_own(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    assert is_own(of(read_kspace, tmp_path / "x.npy"))
    assert is_own(of(read_kspace, tmp_path / "absent.npy"))


def test_what_its_code_runs_into_is_not(tmp_path, monkeypatch):
    """A built-in that raises within a function of this package, NumPy, an exception that was never raised."""
    np.save(tmp_path / "x.npy", np.ones((2, 2), np.complex64))
    monkeypatch.setattr("infomri_monai.data.kspace_file.check_kspace_file", int)
    assert not is_own(of(read_kspace, tmp_path / "x.npy"))
    monkeypatch.setattr("infomri_monai.data.kspace_file.check_kspace_file", lambda path: np.ones(3).reshape(2))
    assert not is_own(of(read_kspace, tmp_path / "x.npy"))
    assert not is_own(ValueError("DOE"))


def test_a_raise_of_others_is_not():
    def other():
        raise ValueError("DOE")

    assert not is_own(of(other))
