"""Figure: how well images are classified against acceleration, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

from infomri_monai.figures.curves import MARKERS, double_axis
from infomri_monai.figures.style import PALETTE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["classification_by_acceleration_figure"]

#: curve -> acceleration -> (value, lower, upper end of its interval), e.g. infomri_monai.metrics.bootstrap.Estimate
Intervals = Mapping[str, Mapping[Any, tuple[float, float, float]]]

_LINES = ("-", "--", "-.", ":")
#: widest spread of bars that would hide one another, in doublings of the acceleration
_SPREAD = 0.3


def classification_by_acceleration_figure(
    metrics: Mapping[str, Intervals], interval: str = "95 % interval", title: str | None = None
) -> Figure:
    """One panel per metric, one curve per method or class, with a bar for each value's interval.

    Curves of a panel are set a little apart, so that their bars do not hide one another.

    Args:
        metrics: label of the metric (name, unit, convention) -> name of the curve -> acceleration -> (value, lower end, upper
            end). NaN leaves a gap; a NaN end leaves the bar out.
        interval: what the bars are, for the figure's note.
        title: heading.

    Returns:
        A matplotlib figure; accelerations are doubled from tick to tick. A panel of several curves has its legend.

    Raises:
        ValueError: if there is no metric or curve, a curve is empty, an acceleration is below 1, a number is infinite, or a value
            is outside its interval by more than rounding.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> learned = {4: (0.95, 0.92, 0.97), 8: (0.91, 0.87, 0.94)}
        >>> figure = classification_by_acceleration_figure({"accuracy": {"InfoMRI": learned}})
        >>> figure.axes[0].get_ylabel(), [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ('accuracy', ['4×', '8×'])
    """
    _check(metrics)
    columns = min(len(metrics), 3)
    rows = -(-len(metrics) // columns)
    barred = any(
        math.isfinite(end) for curves in metrics.values() for c in curves.values() for v in c.values() for end in v[1:]
    )
    width, height = max(4.2, 3.4 * columns), 3.0 * rows + (0.3 if title else 0.0) + (0.2 if barred else 0.0)
    with styled(rows, columns, width, height) as (figure, grid):
        for axes, (metric, curves) in zip(grid.flat, metrics.items(), strict=False):
            _draw(axes, curves)
            accelerations = [a for curve in curves.values() for a in curve]
            double_axis(axes, accelerations, "\u00d7", "acceleration")
            if len(set(accelerations)) == 1:
                axes.set_xlim(accelerations[0] / 1.5, accelerations[0] * 1.5)
            axes.set_ylabel(metric)
            if len(curves) > 1:
                axes.legend(loc="best", ncols=1 if len(curves) <= 5 else 2, fontsize=7.5)
        for axes in grid.flat[len(metrics) :]:
            axes.set_axis_off()
        if barred:
            figure.supxlabel(f"bars: {interval}", fontsize=8, color="#5f5f5f")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _draw(axes: Any, curves: Intervals) -> None:
    """Curves with bars, the first the thickest."""
    step = min(0.06, _SPREAD / max(1, len(curves) - 1))
    styles = zip(cycle(PALETTE), cycle(MARKERS), strict=False)
    for order, ((name, curve), (colour, marker)) in enumerate(zip(curves.items(), styles, strict=False)):
        shift = 2 ** (step * (order - (len(curves) - 1) / 2))
        x = sorted(curve)
        value, lower, upper = ([curve[a][part] for a in x] for part in range(3))
        bars = [[abs(end - v) for v, end in zip(value, ends, strict=True)] for ends in (lower, upper)]
        look = {
            "color": colour,
            "marker": marker,
            "markersize": 5,
            "linestyle": _LINES[order // len(PALETTE) % len(_LINES)],
        }
        look |= {"linewidth": 2.2 if order == 0 else 1.3, "elinewidth": 1.0, "capsize": 2.5, "zorder": 20 - order}
        axes.errorbar([a * shift for a in x], value, yerr=bars, label=name, **look)


def _check(metrics: Mapping[str, Intervals]) -> None:
    if not metrics:
        raise ValueError("metrics is empty; give at least one metric.")
    for metric, curves in metrics.items():
        if not curves or not all(curves.values()):
            raise ValueError(
                f"metrics[{metric!r}] needs at least one curve, each with at least one acceleration, got {curves}."
            )
        for name, curve in curves.items():
            for acceleration, (value, lower, upper) in curve.items():
                where = f"metrics[{metric!r}][{name!r}] at acceleration {acceleration}"
                if not 1 <= acceleration < math.inf:
                    raise ValueError(f"acceleration must be finite and at least 1, got {where}.")
                if any(math.isinf(number) for number in (value, lower, upper)):
                    raise ValueError(f"numbers must not be infinite, got {(value, lower, upper)} in {where}.")
                if lower > value + 1e-6 or upper < value - 1e-6:
                    raise ValueError(f"a value must lie in its interval, got {value} in [{lower}, {upper}] in {where}.")
