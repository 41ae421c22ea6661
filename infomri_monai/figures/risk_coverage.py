"""Figure: what is left of the errors when the least certain cases are sent to review."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

from infomri_monai.figures.style import PALETTE, styled
from infomri_monai.triage.risk_coverage import RiskCoverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["risk_coverage_figure"]


def risk_coverage_figure(
    curves: Mapping[str, RiskCoverage],
    quantity: str = "mean of 1 - Dice among the kept",
    reviewed: float | None = 0.2,
    title: str | None = None,
) -> Figure:
    """One curve per method or acceleration, from the most certain case to all of them.

    Args:
        curves: name -> :func:`~infomri_monai.triage.risk_coverage`.
        quantity: label of the vertical axis: the risk.
        reviewed: share of the cases sent to review that is marked; None marks none.
        title: heading.

    Returns:
        A matplotlib figure. Dotted in the same colour: the order by the true risk, which no score can beat. The legend gives
        the area under the curve (AURC) and, in brackets, the expected area of a score that knows nothing.

    Raises:
        ValueError: if there is no curve or ``reviewed`` is outside (0, 1).
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> from infomri_monai.triage import risk_coverage
        >>> figure = risk_coverage_figure({"8×": risk_coverage([0.9, 0.8, 0.5], [1.0, 0.7, 0.4])})
        >>> figure.legends[0].get_texts()[0].get_text()
        '8×: AURC 0.150 (random 0.300)'
    """
    if not curves:
        raise ValueError("curves is empty; give at least one curve.")
    if reviewed is not None and not 0 < reviewed < 1:
        raise ValueError(f"reviewed must lie in (0, 1) or be None, got {reviewed}.")
    with styled(1, 1, 5.6, 4.3) as (figure, grid):
        axes = grid[0, 0]
        for (name, curve), colour in zip(curves.items(), cycle(PALETTE), strict=False):
            label = f"{name}: AURC {curve.area:.3f} (random {curve.random:.3f})"
            axes.plot(100 * curve.coverage, curve.risk, color=colour, label=label)
            axes.plot(100 * curve.coverage, curve.perfect_risk, color=colour, linewidth=1.0, linestyle=":")
        axes.plot([], [], color="#7f7f7f", linewidth=1.0, linestyle=":", label="order by the true error")
        if reviewed is not None:
            axes.axvline(100 * (1 - reviewed), color="#7f7f7f", linewidth=1.0, linestyle="--")
            axes.annotate(
                f"{100 * reviewed:.3g} % reviewed",
                (100 * (1 - reviewed), 1.0),
                (-4, -4),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="right",
                va="top",
                color="#7f7f7f",
                fontsize=8,
            )
        axes.set(xlim=(0, 100), xlabel="kept cases, most certain first [%]", ylabel=quantity)
        axes.set_ylim(bottom=0)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure
