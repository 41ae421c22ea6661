"""What a program does before anything heavy is imported: signals end it in one line, Holoscan's threads get their stack."""

from __future__ import annotations

import os
import resource
import signal
import sys
from types import FrameType

from infomri_monai.deploy.interruption import SIGNALS

__all__ = ["INTERRUPTED", "end_quietly", "raise_stack_limit"]

#: what an application says when a signal has ended it
INTERRUPTED = "interrupted; what is in the output folder is complete."
_WANTED = 32 * 1024 * 1024  # what Holoscan asks for
_GUARD = "INFOMRI_STACK_RAISED"


def end_quietly(words: str = INTERRUPTED) -> None:
    """From now on one of ``SIGNALS`` ends the process at once, with one line and the exit code 128 + its number.

    For programs that write nothing yet: nothing needs to be put in order, and an exception could be lost in an import. Signals
    that whoever started the process has it ignore (nohup) stay ignored.

    Args:
        words: the line.
    """

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{words}\n".encode())
        os._exit(128 + number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def raise_stack_limit() -> None:
    """Start the process anew under a stack limit of 32 MB where it has less and may have more.

    The stack of a thread is set from the limit at the start of a process, so that raising it later does not help. ``SIGNALS``
    wait while the new process starts, until it comes here, too.
    """
    if os.environ.get(_GUARD):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
    os.environ[_GUARD] = "1"
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
