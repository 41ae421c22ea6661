"""Figures: the quality of segmentations against acceleration, and the energy distance against the number of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from infomri_monai.figures.curves import Curves, check_curves, double_axis, draw_curves
from infomri_monai.figures.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves_by_acceleration_figure", "ged_by_samples_figure"]


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
    with styled(rows, columns, width, 2.7 * rows + legend + (0.3 if title else 0.0)) as (figure, grid):
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
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
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
    with styled(1, 1, 5.0, 3.5) as (figure, grid):
        axes = grid[0, 0]
        draw_curves(axes, curves)
        double_axis(axes, (k for curve in curves.values() for k in curve), "", "number of samples K")
        axes.set_ylabel(quantity)
        axes.legend(loc="best")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure
