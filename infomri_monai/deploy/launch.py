"""How a program starts, before anything heavy is imported, and how a signal ends it: never between the files of a case."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from concurrent.futures import wait
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai.deploy.core import Application

__all__ = ["INTERRUPTED", "SIGNALS", "Interrupted", "Interruption", "end_quietly", "raise_stack_limit"]

#: Ctrl+C, what container runtimes and batch systems send, and a terminal that is closed
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
#: seconds between two looks at the application, and for the files of a case that are being written
_PATIENCE, _LONGEST = 0.05, 60.0


class Interrupted(KeyboardInterrupt):
    """A signal asks the application to end.

    Args:
        number: of the signal.

    Example:
        >>> Interrupted(signal.SIGTERM).code
        143
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number
        self.orderly = True  # no case is half written


class Interruption:
    """While it is entered, one of ``SIGNALS`` raises :class:`Interrupted` in the main thread, once; further ones do nothing.

    Signals that whoever started the process has it ignore (nohup) stay ignored. In a thread other than the main one nothing
    changes.

    Attributes:
        came: number of the signal; 0 while none came.

    Example:
        >>> try:
        ...     with Interruption():
        ...         signal.raise_signal(signal.SIGTERM)
        ... except Interrupted as interrupted:
        ...     print(interrupted.code)
        143
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self.came = 0

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.arm()
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def arm(self) -> None:
        """Install the handlers, also where a library has put its own in their place."""
        for number, before in self._before.items():
            deaf = bool(self.came) or before is signal.SIG_IGN
            signal.signal(number, signal.SIG_IGN if deaf else self._interrupt)

    def run(self, application: Application, writing: threading.Lock) -> None:
        """Run an application to its end, or to a signal.

        Holoscan has handlers of its own, which wait three seconds for the case that is being processed and then end the process
        wherever it is, between two files of a case, too. It runs in another thread here, so that the main one can take signals.

        Args:
            application: is left running where a signal came, since it cannot be stopped: the process must end by ``os._exit``.
            writing: held by the application while it writes a case, and by the caller for good where a signal came: what is being
                written is completed, and nothing more is begun.

        Raises:
            Interrupted: if a signal came.
        """
        try:
            future = application.run_async()
            while not wait([future], timeout=_PATIENCE).done:
                self.arm()
        except Interrupted as error:
            error.orderly = writing.acquire(timeout=_LONGEST)
            raise
        future.result()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.came = number
        self.arm()
        raise Interrupted(number)


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
