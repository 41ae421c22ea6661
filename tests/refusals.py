"""Refusals as tables: bad values by the name of their argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from helper import refuses


def refuses_each(call: Callable[..., object], good: Mapping[str, object], /, **bad: Sequence[object]) -> None:
    """Each of the values of each argument of ``bad``, beside the good arguments, raises a ValueError that names the argument."""
    for name, values in bad.items():
        for value in values:
            refuses(ValueError, name, call, **{**good, name: value})
