"""Freed memory stays with the process, seen in the C library's own books."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

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
