"""What keeps a patient out of what is said while DICOM is read: silent libraries, and errors without identifiers."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["LOGGERS", "DicomError", "quiet"]


class DicomError(ValueError):
    """DICOM files are of a kind that is not accepted, damaged, or contradict themselves.

    Its message is ours: numbers and words of this package, but no path, no UID and no text of a header. So an application for
    hospitals passes it on.

    Example:
        >>> raise DicomError("RescaleSlope must not be 0.")
        Traceback (most recent call last):
        infomri_monai.data.dicom.quiet.DicomError: RescaleSlope must not be 0.
    """


#: they log data sets, UIDs, what stands in an ISMRMRD header, or names of files; the applications silence them for good,
#: :func:`quiet` for a while
LOGGERS = ("pydicom", "highdicom", "xsdata", "ismrmrd", "monai")

_lock = threading.Lock()
_stack = ExitStack()
_depth = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that ``LOGGERS`` log, and no warning, gets through while a block runs.

    Blocks nest and may overlap in several threads: logging and warnings come back when the last one ends.

    Example:
        >>> logger = logging.getLogger("pydicom.example")
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
