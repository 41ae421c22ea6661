"""Errors of raw data whose messages may be shown to anybody, also where the data are a patient's."""

from __future__ import annotations

__all__ = ["RawDataError", "RawFileError"]


class RawDataError(ValueError):
    """Raw data are of a kind that is not accepted, or contradict themselves.

    Its message, like that of :class:`RawFileError`, is ours: numbers and words of this package, but no path, no file name and no
    text of the file. So an application for hospitals passes it on, while of any other exception it names the type only.

    Example:
        >>> raise RawDataError("kspace holds NaN or Inf values.")
        Traceback (most recent call last):
        infomri_monai.data.raw_errors.RawDataError: kspace holds NaN or Inf values.
    """


class RawFileError(OSError):
    """A file of raw data cannot be read; for its message see :class:`RawDataError`."""
