"""Freed memory is used again without new pages, seen in the process's count of page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# in a process of its own, because there is no way back
FAULTS = """
import resource, sys, torch
from infomri_monai.engines import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(), faults()  # until the heap has its size
print(sum(faults() for _ in range(5)))
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True, timeout=120)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_freed_block_is_not_mapped_anew():
    assert faults("keep") < 0.1 * faults("default")
