"""Which exceptions are this package's own: only of their messages it is known that they hold no identifier."""

from __future__ import annotations

import dis

__all__ = ["is_own"]


def is_own(error: BaseException) -> bool:
    """Whether a ``raise`` of this package raised an exception; others quote what they cannot convert or open.

    Args:
        error: an exception that was caught.

    Example:
        >>> try:
        ...     int("DOE^JANE")
        ... except ValueError as error:
        ...     print(error, is_own(error))
        invalid literal for int() with base 10: 'DOE^JANE' False
    """
    last = error.__traceback__
    if last is None:
        return False
    while last.tb_next is not None:
        last = last.tb_next
    ours = str(last.tb_frame.f_globals.get("__name__", "")).startswith("infomri_monai.")
    return ours and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
