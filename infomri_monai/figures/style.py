"""One look for every figure, and saving it completely or not at all. No global matplotlib state is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

from infomri_monai.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "PROBABILITY_TICKS", "SEQUENTIAL", "probability_scale", "save_figure", "styled", "tidy_axes"]

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
def styled(rows: int, columns: int, width: float, height: float) -> Iterator[tuple[Figure, Any]]:
    """A figure in the house style and its axes, an object array of shape (rows, columns).

    The style holds inside the block only; ``matplotlib.figure.Figure`` is used directly, so no window system, no pyplot
    and no memory of closed figures is involved.

    Args:
        rows: rows of axes.
        columns: columns of axes.
        width: in inches.
        height: in inches.

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
