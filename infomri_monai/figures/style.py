"""One look for every figure, and saving it completely or not at all. No global matplotlib state is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.arrays import takes
from infomri_monai.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PALETTE",
    "PROBABILITY_TICKS",
    "SEQUENTIAL",
    "acceleration_text",
    "label_points",
    "power_of_ten",
    "probability_scale",
    "save_figure",
    "styled",
    "tidy_axes",
]

#: Okabe and Ito's colours, told apart by readers of any colour vision; the first is for the method in focus
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: colour map of non-negative quantities: perceptually uniform, readable in grey
SEQUENTIAL = "magma"
#: ticks on a colour bar of :func:`probability_scale`
PROBABILITY_TICKS = (0, 0.05, 0.2, 0.5, 1)
_RC = {
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.dpi": 160,
    "mathtext.fontset": "dejavusans",
}


@contextmanager
def styled(
    rows: int, columns: int, width: float, height: float, title: str | None = None
) -> Iterator[tuple[Figure, Any]]:
    """A figure in the house style and its axes, an object array of shape (rows, columns).

    The style holds inside the block only; ``matplotlib.figure.Figure`` is used directly, so no window system, no pyplot
    and no memory of closed figures is involved.

    Args:
        rows: rows of axes.
        columns: columns of axes.
        width: in inches.
        height: in inches.
        title: heading; None and "" leave it out.

    Raises:
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> with styled(1, 2, 6, 3) as (figure, axes):
        ...     axes.shape
        (1, 2)
    """
    rc_context, _ = optional_import("matplotlib", name="rc_context")
    figure_class, _ = optional_import("matplotlib.figure", name="Figure")
    with rc_context(_RC):
        figure = figure_class(figsize=(width, height), layout="constrained")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
        yield figure, figure.subplots(rows, columns, squeeze=False)


def probability_scale() -> Any:
    """Colours of sampling probabilities by their square root, so that the small ones of a high acceleration can be told apart.

    Example:
        >>> [round(float(probability_scale()(p)), 2) for p in (0, 0.04, 0.25, 1)]
        [0.0, 0.2, 0.5, 1.0]
    """
    power, _ = optional_import("matplotlib.colors", name="PowerNorm")
    return power(0.5, vmin=0.0, vmax=1.0)


def tidy_axes(axes: Axes) -> None:
    """Turn axes into a picture's frame: no ticks, no grid, a hairline so that white borders show on white paper."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, linewidth=0.5, color="#9a9a9a")


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int = 160) -> None:
    """Write a figure in the format of the path's suffix (png, pdf, svg), completely or not at all.

    Args:
        figure: any matplotlib figure.
        path: the file; its folder is made if absent, an older file is replaced.
        dpi: pixels per inch of formats that have pixels.

    Raises:
        ValueError: if matplotlib does not know the suffix or there is none.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "figures", "empty.png")
        >>> with styled(1, 1, 2, 2) as (figure, _):
        ...     save_figure(figure, path)
        >>> os.path.getsize(path) > 0
        True
    """
    known = figure.canvas.get_supported_filetypes()
    suffix = os.path.splitext(os.fspath(path))[1].lstrip(".").lower()
    if suffix not in known:
        raise ValueError(
            f"path must end in one of {', '.join(sorted(known))}, got {os.path.basename(os.fspath(path))!r}."
        )
    with atomic_path(path) as part:
        figure.savefig(part, dpi=dpi)


@takes(ratio="scalar")
def acceleration_text(ratio: float) -> str:
    """How many times fewer positions are measured.

    Args:
        ratio: sampling ratio, in [0, 1].

    Example:
        >>> [acceleration_text(ratio) for ratio in (1, 0.125, 0.3, 0)]
        ['1×', '8×', '3.33×', 'nothing measured']
    """
    return f"{1 / ratio:.3g}\u00d7" if ratio > 0 else "nothing measured"


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
