"""Calls into DICOM libraries whose messages may quote a patient's header: nothing that they say gets out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infomri_monai.deploy.case import DeployError, system_words
from infomri_monai.deploy.quiet import quiet

__all__ = ["guarded"]


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
