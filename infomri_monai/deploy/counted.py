"""Numbers with their noun: 1 case, 2 cases."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int | None, noun: str) -> str:
    """A number and its noun, in the plural unless the number is 1.

    Args:
        number: "?" stands for None.
        noun: in the singular; one that ends in s, as series, is its own plural.

    Example:
        >>> counted(1, "case"), counted(0, "case"), counted(2, "series"), counted(None, "instance")
        ('1 case', '0 cases', '2 series', '? instances')
    """
    return f"{'?' if number is None else number} {noun}{'' if number == 1 or noun.endswith('s') else 's'}"
