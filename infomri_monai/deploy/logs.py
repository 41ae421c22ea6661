"""Third-party libraries that log or warn with identifiers of patients are silenced while they work.

Also here: Lines of the log that arise while a case is worked on begin with its number.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

__all__ = ["LOGGERS", "CaseFormatter", "about_case", "quiet"]

#: they log data sets, UIDs, URLs that hold UIDs, what stands in an ISMRMRD header, or names of files; the applications silence them
#: for good, :func:`quiet` for a while
LOGGERS = ("pynetdicom", "pydicom", "dicomweb_client", "urllib3", "highdicom", "xsdata", "ismrmrd", "monai")

_lock = threading.Lock()
_stack = ExitStack()
_depth = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that ``LOGGERS`` log, and no warning, gets through while a block runs.

    Blocks nest and may overlap in several threads: logging and warnings come back when the last one ends.

    Example:
        >>> logger = logging.getLogger("pynetdicom.example")
        >>> with quiet():
        ...     logger.isEnabledFor(logging.CRITICAL)
        False
        >>> logger.isEnabledFor(logging.CRITICAL)
        True
    """
    global _depth, _stack
    with _lock:
        if _depth == 0:
            _stack = _silence()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _stack.close()


def _silence() -> ExitStack:
    """Silence; closing the stack ends it."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in LOGGERS:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        return stack.pop_all()


_number: ContextVar[int | None] = ContextVar("number", default=None)


@contextmanager
def about_case(number: int) -> Iterator[None]:
    """What is logged within the block, in its thread, is about a case.

    Args:
        number: of the case.

    Example:
        >>> formatter = CaseFormatter("%(message)s")
        >>> with about_case(3):
        ...     formatter.format(logging.makeLogRecord({"msg": "written"}))
        'case 3: written'
    """
    token = _number.set(number)
    try:
        yield
    finally:
        _number.reset(token)


class CaseFormatter(logging.Formatter):
    """Puts the number of the case before a message; the record stays as it is.

    Example:
        >>> record = logging.LogRecord("infomri_monai", logging.WARNING, "", 0, "ratio=1 is extrapolated", (), None)
        >>> formatter = CaseFormatter("%(levelname)s %(message)s")
        >>> with about_case(2):
        ...     formatter.format(record)
        'WARNING case 2: ratio=1 is extrapolated'
        >>> formatter.format(record)
        'WARNING ratio=1 is extrapolated'
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without tracebacks."""
        message, number = record.message, _number.get()
        try:
            if number is not None:
                record.message = f"case {number}: {message}"
            return super().formatMessage(record)
        finally:
            record.message = message
