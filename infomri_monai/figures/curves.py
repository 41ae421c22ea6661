"""Curves with bands of one standard deviation, drawn alike in every figure, and axes in powers of two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

from infomri_monai.figures.style import PALETTE

__all__ = ["MARKERS", "Curves", "check_curves", "double_axis", "draw_curves"]

#: method -> position on the horizontal axis (a mapping's keys are invariant: float or int) -> (mean, deviation over seeds)
Curves = Mapping[str, Mapping[Any, tuple[float, float]]]

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw_curves(axes: Any, curves: Curves) -> None:
    """One curve per method, the first the thickest; a band where a standard deviation is above 0.

    Args:
        axes: matplotlib axes.
        curves: method -> position -> (mean, standard deviation); NaN leaves a gap, a deviation of NaN counts as 0.

    Example:
        >>> from infomri_monai.figures.style import styled
        >>> with styled(1, 1, 3, 3) as (figure, grid):
        ...     draw_curves(grid[0, 0], {"learned": {4: (0.8, 0.1), 8: (0.7, 0.1)}, "fixed": {4: (0.6, 0.0)}})
        >>> len(grid[0, 0].lines), len(grid[0, 0].collections)
        (2, 1)
    """
    styles = zip(cycle(PALETTE), cycle(MARKERS), strict=False)
    for order, ((method, curve), (colour, marker)) in enumerate(zip(curves.items(), styles, strict=False)):
        x = sorted(curve)
        y = [curve[position][0] for position in x]
        spread = [0.0 if math.isnan(s := curve[position][1]) else s for position in x]
        front = {"zorder": 20 - order, "color": colour}
        axes.plot(x, y, marker=marker, markersize=5, label=method, linewidth=2.6 if order == 0 else 1.5, **front)
        if any(spread):
            low, high = ([a + sign * d for a, d in zip(y, spread, strict=True)] for sign in (-1, 1))
            axes.fill_between(x, low, high, alpha=0.18, linewidth=0, zorder=19 - order, color=colour)


def double_axis(axes: Any, positions: Iterable[float], unit: str, name: str) -> None:
    """A horizontal axis on which a doubling is always the same step, with a tick at every position."""
    axes.set_xscale("log", base=2)
    ticks = sorted(set(positions))
    axes.set_xticks(ticks, [f"{tick:.3g}{unit}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(name)


def check_curves(name: str, curves: Curves, lowest: float, unit: str) -> None:
    """Check what is to be drawn.

    Args:
        name: the argument's name, for errors.
        curves: method -> position -> (mean, standard deviation).
        lowest: smallest position allowed.
        unit: what a position is.

    Raises:
        ValueError: if there is no method, a curve is empty, a position is below ``lowest``, a mean is infinite or a deviation
            negative or infinite.
    """
    if not curves:
        raise ValueError(f"{name} is empty; give at least one method.")
    for method, curve in curves.items():
        if not curve:
            raise ValueError(f"{name}[{method!r}] is empty; give at least one {unit}.")
        for position, (value, spread) in curve.items():
            if not lowest <= position < math.inf:
                raise ValueError(
                    f"{unit} must be finite and at least {lowest:g}, got {position} in {name}[{method!r}]."
                )
            if math.isinf(value) or math.isinf(spread) or spread < 0:
                raise ValueError(
                    f"{name}[{method!r}] needs a finite mean and a standard deviation >= 0 at {unit} {position:g}, got "
                    f"{value} and {spread}."
                )
