"""Figure: quality against sampling ratio, several methods, mean and spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

from infomri_monai.figures.acceleration import acceleration_text
from infomri_monai.figures.curves import draw_curves
from infomri_monai.figures.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rate_distortion_figure"]


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
    with styled(1, 1, 6.4, 4.4) as (figure, grid):
        axes = grid[0, 0]
        draw_curves(axes, {method: _mean_and_spread(curve) for method, curve in seeds.items()})
        axes.set(xlabel="sampling ratio [%]", ylabel=quantity, xticks=[100 * s for s in ratios])
        axes.set_xticklabels([f"{100 * s:.4g}" for s in ratios])
        top = axes.secondary_xaxis("top")
        top.set_xticks([100 * s for s in ratios], [acceleration_text(s) for s in ratios])
        top.set_xlabel("acceleration")
        top.spines[:].set_visible(False)
        axes.legend(loc="best")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
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
