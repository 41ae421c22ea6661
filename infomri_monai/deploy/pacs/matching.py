"""What a PACS can be asked for, in the form in which DICOM writes it; anything else is refused before it is sent.

A PACS answers a query that it cannot understand with nothing, as if there were no such study.
"""

from __future__ import annotations

import re
from datetime import date

from infomri_monai.deploy.case import EXIT_USAGE, DeployError

__all__ = ["matching_date", "matching_modality", "matching_text"]

_DAY = "([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})"
_RANGE = re.compile(f"{_DAY}|{_DAY}?-{_DAY}?")


def matching_date(text: str) -> str:
    """A day, or a range of days.

    Args:
        text: YYYYMMDD or YYYY-MM-DD, or two of them joined by "-", of which either may be left out; empty for any day.

    Returns:
        The same as YYYYMMDD, YYYYMMDD-YYYYMMDD, YYYYMMDD- or -YYYYMMDD.

    Raises:
        DeployError: if it is neither, or holds a day that no calendar has, or ends before it begins; exit code ``EXIT_USAGE``.

    Example:
        >>> [matching_date(text) for text in ("2024-02-29", "2024-02-29-", "20240201-2024-02-29")]
        ['20240229', '20240229-', '20240201-20240229']

    References:
        DICOM PS3.4 (2024), C.2.2.2.5.1: range matching of dates.
    """
    plain = text.strip()
    if not plain:
        return ""
    found = _RANGE.fullmatch(plain)
    parts = [part and part.replace("-", "") for part in found.groups()] if found else []
    days = [part for part in parts if part]
    if not days or not all(map(_is_day, days)):
        raise DeployError(
            'date must be a day, YYYYMMDD or YYYY-MM-DD, or a range of two joined by "-", of which either may be left out.',
            EXIT_USAGE,
        )
    if days != sorted(days):
        raise DeployError("date must be a range that does not end before it begins.", EXIT_USAGE)
    return parts[0] or "-".join(part or "" for part in parts[1:])


def _is_day(text: str) -> bool:
    """Whether the calendar has this day, YYYYMMDD."""
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def matching_modality(text: str) -> str:
    """A modality in capitals.

    Args:
        text: e.g. "mr"; empty for any.

    Raises:
        DeployError: if no modality can be called so; exit code ``EXIT_USAGE``.

    Example:
        >>> matching_modality("mr")
        'MR'

    References:
        DICOM PS3.5 (2024), 6.2: value representation CS.
    """
    modality = text.strip().upper()
    if not re.fullmatch("[A-Z0-9_ ]{0,16}", modality):
        raise DeployError(
            "modality must be one code, such as MR: at most 16 letters, digits, underscores or spaces.", EXIT_USAGE
        )
    return modality


def matching_text(text: str, name: str, most: int) -> str:
    """A text that an attribute of a header may hold.

    Args:
        text: to match; empty for any.
        name: what it is called in the message, which does not quote it.
        most: characters that it may have.

    Raises:
        DeployError: if it is too long, or holds a backslash or a control character; exit code ``EXIT_USAGE``.

    Example:
        >>> matching_text("4711*", "patient_id", 64)
        '4711*'
    """
    if len(text) > most or "\\" in text or not text.isprintable():
        raise DeployError(
            f"{name} must have at most {most} characters, none of them a backslash or a control character.", EXIT_USAGE
        )
    return text
