"""Lines of the log that arise while a case is worked on begin with its number."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["CaseFormatter", "about_case"]

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
