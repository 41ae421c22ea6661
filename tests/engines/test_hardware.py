"""Mixed precision: what is computed in bfloat16, where "auto" turns it on, and that a resumed training keeps it; freed memory."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from helper import refuses
from torch import nn

from infomri_monai.engines import AutocastInferer, MixedPrecision, hardware


def test_convolutions_run_in_bfloat16_only_where_enabled():
    seen = []
    layer = nn.Conv2d(1, 1, 1)
    layer.register_forward_hook(lambda *arguments: seen.append(arguments[-1].dtype))
    for inferer in (AutocastInferer(True), AutocastInferer(False), AutocastInferer()):
        inferer(torch.ones(1, 1, 2, 2), layer)
    assert seen == [torch.bfloat16, torch.float32, torch.float32]
    assert not torch.is_autocast_enabled("cpu")


def test_arguments_reach_the_network():
    assert AutocastInferer(True)(torch.ones(1), lambda x, y, z=0: float(x + y + z), 2, z=3) == 6


def processor(monkeypatch, onednn, native, machine="x86_64", limit=None):
    """Let torch say these things of the processor."""
    monkeypatch.setattr(hardware, "_onednn_takes_bfloat16", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)


@pytest.mark.parametrize(
    ("facts", "expected", "reason"),
    [
        ({"onednn": True, "native": True}, True, "the processor has AVX512-BF16 or AMX"),
        ({"onednn": True, "native": False}, False, "the processor has neither"),
        ({"onednn": False, "native": True}, False, "oneDNN has no bfloat16"),
        ({"onednn": True, "native": True, "limit": "avx512_core"}, False, "ONEDNN_MAX_CPU_ISA=AVX512_CORE forbids"),
        ({"onednn": True, "native": True, "limit": "AVX512_CORE_BF16"}, True, "the processor has"),
        ({"onednn": True, "native": True, "limit": "DEFAULT"}, True, "the processor has"),
    ],
)
def test_auto_is_on_where_the_processor_has_the_instructions_and_may_use_them(
    monkeypatch, caplog, facts, expected, reason
):
    caplog.set_level(logging.INFO, "infomri_monai")
    processor(monkeypatch, **facts)
    assert MixedPrecision("auto").enabled is expected
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"mixed precision (auto): {'bfloat16' if expected else 'float32'}, {reason}")


@pytest.mark.parametrize(("full", "half", "expected"), [(2.0, 1.0, True), (1.1, 1.0, False), (1.0, 10.0, False)])
def test_other_processors_are_timed_and_the_times_logged(monkeypatch, caplog, full, half, expected):
    caplog.set_level(logging.INFO, "infomri_monai")
    processor(monkeypatch, True, False, machine="aarch64")
    marks = iter([mark for _ in range(6) for mark in (0.0, full, 0.0, half)])
    monkeypatch.setattr(hardware.time, "perf_counter", lambda: next(marks))
    before = torch.get_rng_state()
    assert MixedPrecision("auto").enabled is expected
    assert torch.equal(torch.get_rng_state(), before)  # a seed's draws stay where they were
    assert f"timed: {1e3 * full:.1f} ms a step in float32, {1e3 * half:.1f} ms in bfloat16" in caplog.text


def test_timing_takes_less_than_a_second_or_two_and_really_runs():
    on, reason = hardware._timed_faster()
    assert isinstance(on, bool)
    assert reason.startswith("timed: ")


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_for_bfloat16_of_its_own(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert MixedPrecision("auto", "cuda").enabled is native
    assert not MixedPrecision("auto", "meta").enabled


def test_several_processes_use_it_only_if_all_are_faster_with_it(monkeypatch):
    processor(monkeypatch, True, True)
    monkeypatch.setattr(hardware.idist, "get_world_size", lambda: 2)
    monkeypatch.setattr(hardware.idist, "all_reduce", lambda value, op: min(value, 0) if op == "MIN" else value)
    assert not MixedPrecision("auto").enabled
    assert MixedPrecision(True).enabled


def test_the_limit_of_an_older_processor_turns_it_off_for_real():
    """torch reads the limit once, when it is loaded."""
    code = "from infomri_monai.engines import MixedPrecision; print(MixedPrecision('auto'))"
    limits = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **limits}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "False"


@pytest.mark.parametrize("wrong", ["false", "on", 1, None])
def test_other_settings_are_refused(wrong):
    refuses(ValueError, "mixed_precision must be 'auto', True or False", MixedPrecision, wrong)
    refuses(ValueError, "enabled must be True or False", AutocastInferer, wrong)


def test_a_resumed_training_keeps_its_precision_unless_told_otherwise(monkeypatch, caplog):
    processor(monkeypatch, True, True)
    before = MixedPrecision("auto")
    processor(monkeypatch, False, False)  # another machine
    after = MixedPrecision("auto")
    assert not after.enabled
    inferer = AutocastInferer(after)
    after.load_state_dict(before.state_dict())
    assert inferer.enabled is True
    assert "the training started in bfloat16 and keeps it" in caplog.text
    told = MixedPrecision(False)
    told.load_state_dict(before.state_dict())
    assert not told.enabled
    assert "was ordered to change it" in caplog.text


@pytest.mark.parametrize("library", [SimpleNamespace(), None])
def test_without_glibc_nothing_happens(monkeypatch, library):
    def load(name):
        if library is None:
            raise TypeError("Windows does not take None")
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert hardware.keep_freed_memory() is False


# in a process of its own, because there is no way back; what the kernel does with the pages differs between machines, so the
# allocator is asked: hblkhd are bytes it mapped for single blocks, fordblks free bytes that it keeps for the next allocation
BOOKS = """
import ctypes, sys, torch
from infomri_monai.engines import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
class Mallinfo2(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
library = ctypes.CDLL(None)
library.mallinfo2.restype = Mallinfo2
block = torch.ones(16 * 2**20)  # 64 MiB
mapped = library.mallinfo2().hblkhd
del block
print(mapped, library.mallinfo2().fordblks)
"""
BLOCK = 64 * 2**20


def books(mode: str) -> tuple[int, int]:
    """Bytes mapped for single blocks while a 64 MiB block is held, and free bytes kept after it is freed."""
    done = subprocess.run([sys.executable, "-c", BOOKS, mode], capture_output=True, text=True, check=True, timeout=120)
    mapped, kept = map(int, done.stdout.split())
    return mapped, kept


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="mallinfo2 is glibc's, from 2.33",
)
def test_a_freed_block_is_kept_for_the_next_one():
    mapped, kept = books("default")
    assert mapped >= BLOCK > kept  # mapped for itself, and given back when freed
    mapped, kept = books("keep")
    assert mapped < BLOCK <= kept
