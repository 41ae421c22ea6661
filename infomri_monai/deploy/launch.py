"""What an application does before anything heavy is imported: Ctrl+C ends it in one line, Holoscan's threads get their stack."""

from __future__ import annotations

import os
import resource
import signal
import sys
from types import FrameType

__all__ = ["INTERRUPTED", "end_quietly", "raise_stack_limit"]

#: what an application says when a signal has ended it
INTERRUPTED = "interrupted; what is in the output folder is complete."
_WANTED = 32 * 1024 * 1024  # what Holoscan asks for
_GUARD = "INFOMRI_STACK_RAISED"


def end_quietly() -> None:
    """From now on Ctrl+C ends the process with one line and exit code 130, wherever it is; for programs that write nothing yet.

    Where whoever started the process has it ignore the signal (nohup), that stays so.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)


def raise_stack_limit() -> None:
    """Start the process anew under a stack limit of 32 MB where it has less and may have more.

    The stack of a thread is set from the limit at the start of a process, so that raising it later does not help. Ctrl+C waits
    while the new process starts, until it comes here, too.
    """
    if os.environ.get(_GUARD):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
    os.environ[_GUARD] = "1"
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
