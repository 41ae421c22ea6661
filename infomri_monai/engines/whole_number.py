"""Numbers of things must be whole: a text or a fraction from a command line or a file of settings is refused in words."""

from __future__ import annotations

import operator

__all__ = ["check_whole"]


def check_whole(**values: object) -> None:
    """Check that arguments are whole numbers.

    Args:
        values: by the arguments' names.

    Raises:
        ValueError: if one is none, e.g. a text, a float or a bool.

    Example:
        >>> check_whole(samples=16, seed="x")
        Traceback (most recent call last):
        ValueError: seed must be a whole number, got 'x'.
    """
    for name, value in values.items():
        try:
            if isinstance(value, bool):
                raise TypeError
            operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            raise ValueError(f"{name} must be a whole number, got {value!r}.") from None
