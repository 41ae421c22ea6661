"""What is said while a case is worked on: its number before our lines, and nothing of libraries that may quote a patient."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from infomri_monai.data.dicom.quiet import quiet
from infomri_monai.deploy.case import DeployError
from infomri_monai.files import system_words

__all__ = ["CaseFormatter", "about_case", "guarded"]


@contextmanager
def guarded(action: str) -> Iterator[None]:
    """Silence the libraries' log records and warnings, and keep nothing of their exceptions but the type.

    Args:
        action: what is done in the block, for the message, e.g. "writing the segmentation".

    Raises:
        DeployError: instead of any exception of the block that is not one already.

    Example:
        >>> with guarded("writing the report"):
        ...     raise ValueError("DOE^JANE is no name")
        Traceback (most recent call last):
        infomri_monai.deploy.case.DeployError: writing the report failed: ValueError. ...
    """
    try:
        with quiet():
            yield
    except DeployError:
        raise
    except OSError as error:
        raise DeployError(f"{action} failed: {system_words(error)}.") from None
    except Exception as error:  # whatever a library raises may quote the header
        kind = type(error).__name__
        raise DeployError(
            f"{action} failed: {kind}. Its message is not shown, because it may hold identifiers; check the source's headers."
        ) from None


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
