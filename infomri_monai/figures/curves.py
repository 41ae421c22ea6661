"""Figures of curves: quality by ratio, acceleration or samples, with bands or intervals, and training curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from infomri_monai.figures.style import PALETTE, acceleration_text, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "MARKERS",
    "Curves",
    "check_curves",
    "classification_by_acceleration_figure",
    "curves_by_acceleration_figure",
    "double_axis",
    "draw_curves",
    "ged_by_samples_figure",
    "rate_distortion_figure",
    "training_figure",
]

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


def rate_distortion_figure(
    curves: Mapping[str, Mapping[float, float | Sequence[float]]],
    quantity: str = "PSNR [dB], per slice, data range = slice maximum",
    title: str | None = None,
) -> Figure:
    """One curve per method; a band of one standard deviation (n - 1) where there are several seeds.

    Args:
        curves: method -> ratio -> value, or one value per seed. The first method is drawn thickest.
        quantity: label of the vertical axis: name, unit, convention.
        title: heading.

    Returns:
        A matplotlib figure; the upper axis shows the acceleration 1 / ratio.

    Raises:
        ValueError: if there is no curve, a curve is empty, a ratio is outside (0, 1] or a value is not finite.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> learned = {0.1: [28.0, 28.2], 0.2: [30.0, 30.4]}  # two seeds
        >>> figure = rate_distortion_figure({"learned": learned, "fixed": {0.1: 26, 0.2: 29}})
        >>> figure.axes[0].get_xlabel()
        'sampling ratio [%]'
    """
    seeds = {m: {s: _seeds(v) for s, v in sorted(curve.items())} for m, curve in curves.items()}
    _check(seeds)
    ratios = sorted({s for curve in seeds.values() for s in curve})
    with styled(1, 1, 6.4, 4.4, title=title) as (figure, grid):
        axes = grid[0, 0]
        draw_curves(axes, {method: _mean_and_spread(curve) for method, curve in seeds.items()})
        axes.set(xlabel="sampling ratio [%]", ylabel=quantity, xticks=[100 * s for s in ratios])
        axes.set_xticklabels([f"{100 * s:.4g}" for s in ratios])
        top = axes.secondary_xaxis("top")
        top.set_xticks([100 * s for s in ratios], [acceleration_text(s) for s in ratios])
        top.set_xlabel("acceleration")
        top.spines[:].set_visible(False)
        axes.legend(loc="best")
    return figure


def _seeds(values: float | Sequence[float]) -> list[float]:
    return [float(v) for v in values] if isinstance(values, Sequence) else [float(values)]


def _mean_and_spread(curve: Mapping[float, list[float]]) -> dict[float, tuple[float, float]]:
    """By ratio in per cent."""
    return {100 * s: (mean(v), stdev(v) if len(v) > 1 else 0.0) for s, v in curve.items()}


def _check(seeds: Mapping[str, Mapping[float, list[float]]]) -> None:
    if not seeds:
        raise ValueError("curves is empty; give at least one method.")
    for method, curve in seeds.items():
        if not curve or not all(curve.values()):
            raise ValueError(f"curves[{method!r}] is empty; give at least one ratio, each with at least one value.")
        if not all(0 < s <= 1 for s in curve):
            raise ValueError(f"ratios of curves[{method!r}] must lie in (0, 1], got {list(curve)}.")
        if not all(math.isfinite(v) for values in curve.values() for v in values):
            raise ValueError(f"values of curves[{method!r}] must be finite.")


def curves_by_acceleration_figure(metrics: Mapping[str, Curves], title: str | None = None) -> Figure:
    """One panel per metric, one curve per method; bands of one standard deviation over seeds.

    Args:
        metrics: label of the metric (name, unit, convention) -> method -> acceleration -> (mean, standard deviation over
            seeds; 0 or NaN if there is one seed). Methods have one colour in all panels if they come in one order. NaN leaves
            a gap.
        title: heading.

    Returns:
        A matplotlib figure; accelerations are doubled from tick to tick.

    Raises:
        ValueError: if there is no metric or method, a curve is empty, an acceleration is below 1, or a value is infinite.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> learned, fixed = {4: (0.21, 0.01), 8: (0.24, 0.01)}, {4: (0.25, 0.0), 8: (0.37, 0.0)}
        >>> figure = curves_by_acceleration_figure({"squared GED": {"InfoMRI": learned, "fixed": fixed}})
        >>> figure.axes[0].get_ylabel(), [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ('squared GED', ['4×', '8×'])
    """
    if not metrics:
        raise ValueError("metrics is empty; give at least one metric.")
    for metric, curves in metrics.items():
        check_curves(f"metrics[{metric!r}]", curves, 1.0, "acceleration")
    columns = len(metrics) if len(metrics) <= 4 else 3
    rows = -(-len(metrics) // columns)
    methods = max(metrics.values(), key=len)
    width, legend = max(4.2, 3.1 * columns), 0.35 if len(methods) > 1 else 0.0
    with styled(rows, columns, width, 2.7 * rows + legend + (0.3 if title else 0.0), title=title) as (figure, grid):
        for axes, (metric, curves) in zip(grid.flat, metrics.items(), strict=False):
            draw_curves(axes, curves)
            double_axis(axes, (a for curve in curves.values() for a in curve), "\u00d7", "acceleration")
            axes.set_ylabel(metric)
        for axes in grid.flat[len(metrics) :]:
            axes.set_axis_off()
        if len(methods) > 1:
            fullest = list(metrics.values()).index(methods)
            handles, names = grid.flat[fullest].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5))
    return figure


def ged_by_samples_figure(
    curves: Curves, quantity: str = "squared GED (V-statistic)", title: str | None = None
) -> Figure:
    """How the energy distance falls as more samples are drawn (Table XII).

    Args:
        curves: method, or acceleration -> number of samples K -> (mean, standard deviation over seeds; 0 or NaN if there is one
            seed).
        quantity: label of the vertical axis.
        title: heading.

    Returns:
        A matplotlib figure; K is doubled from tick to tick.

    Raises:
        ValueError: if there is no curve, one is empty, a K is below 1, or a value is infinite.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> figure = ged_by_samples_figure({"8×": {1: (0.41, 0.01), 2: (0.33, 0.01), 4: (0.29, 0.01)}})
        >>> figure.axes[0].get_xlabel()
        'number of samples K'
    """
    check_curves("curves", curves, 1, "number of samples")
    with styled(1, 1, 5.0, 3.5, title=title) as (figure, grid):
        axes = grid[0, 0]
        draw_curves(axes, curves)
        double_axis(axes, (k for curve in curves.values() for k in curve), "", "number of samples K")
        axes.set_ylabel(quantity)
        axes.legend(loc="best")
    return figure


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
    _check_accelerations(metrics)
    columns = min(len(metrics), 3)
    rows = -(-len(metrics) // columns)
    barred = any(
        math.isfinite(end) for curves in metrics.values() for c in curves.values() for v in c.values() for end in v[1:]
    )
    width, height = max(4.2, 3.4 * columns), 3.0 * rows + (0.3 if title else 0.0) + (0.2 if barred else 0.0)
    with styled(rows, columns, width, height, title=title) as (figure, grid):
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


def _check_accelerations(metrics: Mapping[str, Intervals]) -> None:
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


Curve = tuple[Sequence[float], Sequence[float]]


def training_figure(
    panels: Mapping[str, Mapping[str, Curve]], step_name: str = "epoch", title: str | None = None
) -> Figure:
    """Curves of losses and qualities over training.

    Args:
        panels: label of the vertical axis (name, unit) -> name of the curve -> (steps, values). NaN leaves a gap.
        step_name: label of the horizontal axis.
        title: heading.

    Returns:
        A matplotlib figure with the panels side by side.

    Raises:
        ValueError: if there is no panel, a panel has no curve, or steps and values differ in length.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> loss = {"training": ([1, 2, 3], [0.5, 0.3, 0.2]), "validation": ([1, 3], [0.6, 0.3])}
        >>> psnr = {"ratio 0.25": ([1, 3], [24, 28])}
        >>> figure = training_figure({"loss [nats per pixel]": loss, "PSNR [dB], per slice": psnr})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss [nats per pixel]', 'PSNR [dB], per slice']
    """
    if not panels or not all(panels.values()):
        raise ValueError("panels must hold at least one panel, each with at least one curve.")
    for label, curves in panels.items():
        for name, (steps, values) in curves.items():
            if len(steps) != len(values):
                raise ValueError(f"curve {name!r} of {label!r} has {len(steps)} steps but {len(values)} values.")
    with styled(1, len(panels), 4.6 * len(panels), 3.5, title=title) as (figure, grid):
        for axes, (label, curves) in zip(grid[0], panels.items(), strict=True):
            for (name, (steps, values)), colour in zip(curves.items(), cycle(PALETTE), strict=False):
                few = {"marker": "o", "markersize": 3.5} if len(steps) <= 30 else {}
                axes.plot(steps, values, label=name, color=colour, **few)
            axes.set(xlabel=step_name, ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(loc="best")
    return figure
