"""Memory that a training on a CPU frees and needs again at once."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the process's next allocation, instead of handing it back to the system.

    PyTorch has no cache of its own on a CPU. glibc maps every block above 32 MiB anew, and the system clears it page by page; the
    features of 16 images of 256 x 256 are such blocks, and a training step then spends most of its time there
    (``benchmarks/training_step.py``). The process keeps its peak memory until it ends, and gains
    nothing where the network is on a GPU.

    Returns:
        Whether it was done; False where the C library is not glibc.

    References:
        mallopt(3): M_MMAP_MAX, M_TRIM_THRESHOLD.

    Example:
        >>> kept = keep_freed_memory()  # doctest: +SKIP
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc; Windows does not take None
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
