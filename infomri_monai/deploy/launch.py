"""What an application does before anything heavy is imported: it asks for the stack that Holoscan's threads want."""

from __future__ import annotations

import os
import resource
import sys

__all__ = ["raise_stack_limit"]

_WANTED = 32 * 1024 * 1024  # what Holoscan asks for
_GUARD = "INFOMRI_STACK_RAISED"


def raise_stack_limit() -> None:
    """Start the process anew under a stack limit of 32 MB where it has less and may have more.

    The stack of a thread is set from the limit at the start of a process, so that raising it later does not help.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted or os.environ.get(_GUARD):
        return
    resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
    os.environ[_GUARD] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
