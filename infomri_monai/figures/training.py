"""Figure: training curves, one panel per quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from infomri_monai.figures.style import PALETTE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["training_figure"]

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
    with styled(1, len(panels), 4.6 * len(panels), 3.5) as (figure, grid):
        for axes, (label, curves) in zip(grid[0], panels.items(), strict=True):
            for (name, (steps, values)), colour in zip(curves.items(), cycle(PALETTE), strict=False):
                few = {"marker": "o", "markersize": 3.5} if len(steps) <= 30 else {}
                axes.plot(steps, values, label=name, color=colour, **few)
            axes.set(xlabel=step_name, ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(loc="best")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure
