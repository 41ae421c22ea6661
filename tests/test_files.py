"""A flipped byte in weights is noticed, wherever they are read; what has no checksums is read as before.

What JSON cannot hold becomes null, and nothing else changes.
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile

import numpy as np
import pytest
import torch
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from infomri_monai.files import check_intact, null_unless_finite
from infomri_monai.networks import load_network
from infomri_monai.sampling import PatternGenerationNetwork, load_policy, save_policy


def flip(path):
    """Change a bit in the middle of the largest tensor, which PyTorch reads without a complaint."""
    with zipfile.ZipFile(path) as archive:
        record = max((i for i in archive.infolist() if "/data/" in i.filename), key=lambda info: info.file_size)
        content = archive.read(record)
    raw = bytearray(path.read_bytes())
    raw[raw.index(content, record.header_offset) + len(content) // 2] ^= 1
    path.write_bytes(raw)


@pytest.fixture(params=["network", "policy"])
def saved(request, tmp_path):
    """A file of weights and what loads it."""
    path = tmp_path / "model.pt"
    if request.param == "policy":
        return save_policy(PatternGenerationNetwork((8, 8)), path), load_policy
    torch.save(nn.Linear(64, 3).state_dict(), path)
    return path, lambda path: load_network(nn.Linear(64, 3), path)


def test_a_flipped_byte(saved):
    path, load = saved
    load(path)
    flip(path)
    torch.load(path, weights_only=True)  # PyTorch says nothing
    refuses(ValueError, r"model\.pt is damaged: a checksum in it does not fit\.", load, path)


class Exploit:
    """A pickle that runs code when it is loaded."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code was executed')",))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_that_executes_code_is_refused(saved, writer):
    path, load = saved
    content = {"policy": "UniformRandom", "config": Exploit(), "state_dict": {}}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    refuses(ValueError, "execute code", load, path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(saved, share):
    path, load = saved
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refuses(ValueError, r"model\.pt is", load, path)


@pytest.mark.parametrize("content", [b"RUBBISH", b"rubbish" * 99, b".", b"t."])
def test_rubbish_is_refused_by_the_files_name(saved, content):
    """PyTorch's reader of old files takes it for a pickle and fails with an IndexError."""
    path, load = saved
    path.write_bytes(content)
    refuses(IndexError, ".", torch.load, path, weights_only=True)
    refuses(ValueError, r"model\.pt is damaged or not a PyTorch checkpoint \(IndexError\)\.", load, path)


@pytest.mark.parametrize("legacy", [True, False], ids=["no zip archive", "no checksums"])
def test_what_has_no_checksums_is_read_as_before(saved, legacy):
    path, load = saved
    content, before = torch.load(path, weights_only=True), load(path).state_dict()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    finally:
        torch.serialization.set_crc32_options(True)
    assert zipfile.is_zipfile(path) != legacy
    after = load(path).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_any_flipped_bit_is_noticed_or_harmless(tmp_path_factory, place, bit):
    """Damaged, or no archive any more, or the same content: never an error of another kind, never other content."""
    path = tmp_path_factory.mktemp("flipped") / "model.pt"
    torch.save({"weight": torch.arange(64.0)}, path)
    with zipfile.ZipFile(path) as archive:
        before = {info.filename: archive.read(info) for info in archive.infolist()}
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    noticed = False
    try:
        check_intact(path)
    except ValueError as error:
        noticed = str(error).endswith("model.pt is damaged: a checksum in it does not fit.")
        assert noticed
    if not noticed and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            assert {archive.read(info) for info in archive.infolist() if info.CRC} <= set(before.values())


def test_absent_files_pass(tmp_path):
    check_intact(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("load", [lambda path: load_network(nn.Linear(64, 3), path), load_policy, check_intact])
def test_a_file_that_cannot_be_read_is_not_called_damaged(load, tmp_path):
    """The memory of this process is a file that the kernel does not let read at its begin, whoever asks."""
    (tmp_path / "model.pt").symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as error:
        load(tmp_path / "model.pt")
    assert error.value.filename == str(tmp_path / "model.pt")


def test_a_right_that_is_missing(saved, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    path, load = saved
    monkeypatch.setattr(torch, "load", refuse)
    refuses(PermissionError, "denied", load, path)


@given(st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none()))
def test_json_can_hold_it_and_nothing_else_changes(value):
    kept = null_unless_finite(value)
    json.dumps(kept, allow_nan=False)
    assert (kept is None) if isinstance(value, float) and not math.isfinite(value) else kept is value


def test_numpys_double_is_a_float():
    assert null_unless_finite(np.float64("nan")) is None
    assert null_unless_finite(np.float64(0.5)) == 0.5
