"""Labels of points, placed where they hide neither a point nor one another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

__all__ = ["label_points", "power_of_ten"]

_ROUND = ((0, 1), (0, -1), (1.1, 0.8), (-1.1, 0.8), (1.1, -0.8), (-1.1, -0.8), (1.6, 0), (-1.6, 0))
#: places around a point, in points (1/72 inch), the most usual first
_OFFSETS = [(r * x, r * y) for r in (11, 20, 29, 38) for x, y in _ROUND]
#: so many of them are so near that it is plain whose the text is
_NEAR = len(_ROUND)


def power_of_ten(value: float) -> str:
    """A small number as matplotlib's mathematics.

    Example:
        >>> [power_of_ten(value) for value in (0, 1e-4, 3e-4, 2.5e-6, 0.5)]
        ['0', '$10^{-4}$', '$3{\\\\cdot}10^{-4}$', '$2.5{\\\\cdot}10^{-6}$', '0.5']
    """
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    digits, power = f"{value:.2e}".split("e")
    digits = f"{float(digits):.3g}"
    times = "" if digits == "1" else f"{digits}{{\\cdot}}"
    return f"${times}10^{{{int(power)}}}$"


def label_points(
    axes: Any, labels: Sequence[tuple[float, float, str, str]], lines: Sequence[Sequence[tuple[float, float]]]
) -> None:
    """Write a short text beside points, each where it is nearest without hiding a point, a line or another text.

    The axes' limits must be set already; their size is taken as it is now, which a later layout may change a little. A text that
    finds no place near its point is tied to it by a hairline.

    Args:
        axes: matplotlib axes.
        labels: (x, y, text, colour), x and y in data coordinates.
        lines: corners (x, y) of the lines that are kept free; a line of one corner is a point.
    """
    stroke, _ = optional_import("matplotlib.patheffects", name="withStroke")
    scale = 72 / axes.figure.dpi  # points in a pixel
    taken = [np.array([x, y]) for x, y, *_ in labels] + [corner for line in lines for corner in _dense(line)]
    obstacles = axes.transData.transform(np.array(taken)) * scale
    corner, end = (axes.transAxes.transform(point) * scale for point in ((0, 0), (1, 1)))
    half = np.array([12.0, 6.0])  # of a text
    for x, y, text, colour in labels:
        centres = axes.transData.transform((x, y)) * scale + np.array(_OFFSETS)
        inside = ((centres > corner + half) & (centres < end - half)).all(1)
        # a text is wider than high; beyond some distance more of it is worth nothing
        distance = np.hypot(*((centres[:, None] - obstacles) / (1.8, 1.0)).transpose(2, 0, 1)).min(1).clip(max=7.5)
        best = int(np.lexsort((np.arange(len(centres)), -distance.round(1), ~inside))[0])
        obstacles = np.concatenate([obstacles, centres[best] + [(dx, 0) for dx in (-6, 0, 6)]])
        style = {"ha": "center", "va": "center", "fontsize": 7.5, "zorder": 40, "color": colour}
        if best >= _NEAR:
            style["arrowprops"] = {"arrowstyle": "-", "linewidth": 0.5, "color": colour, "shrinkA": 1, "shrinkB": 3}
        note = axes.annotate(text, (x, y), _OFFSETS[best], textcoords="offset points", **style)
        note.set_path_effects([stroke(linewidth=2, foreground="white")])


def _dense(line: Sequence[tuple[float, float]]) -> list[NDArray[Any]]:
    """Points along a line."""
    ends = [np.array(corner) for corner in line]
    between = [a + t * (b - a) for a, b in pairwise(ends) for t in np.linspace(0, 1, 40)]
    return between or ends
