"""The names of structures in tables, worklists, sidecars and legends: checked, or numbers where none are given."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["structure_names"]


def structure_names(names: Sequence[str] | None, number: int | None = None) -> tuple[str, ...]:
    """One name for every structure.

    Args:
        names: the names; None numbers the structures.
        number: how many structures there are; None where that is not known yet, which checks only what can be checked.

    Returns:
        The names; none if neither names nor a number is given.

    Raises:
        ValueError: if ``names`` is a single string, repeats a name, or holds more or fewer than ``number``.

    Example:
        >>> structure_names(None, 2), structure_names(["grey", "white"])
        (('structure_1', 'structure_2'), ('grey', 'white'))
        >>> structure_names(["tumour"], 2)
        Traceback (most recent call last):
        ValueError: structures must be different names, one for each of 2, got ['tumour'].
    """
    if names is None:
        return tuple(f"structure_{i}" for i in range(1, (number or 0) + 1))
    if isinstance(names, str) or len(set(names)) < len(names) or number not in (None, len(names)):
        wanted = "" if number is None else f", one for each of {number}"
        raise ValueError(f"structures must be different names{wanted}, got {names!r}.")
    return tuple(names)
