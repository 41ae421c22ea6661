"""Figure: the calibration diagram, root-mean-square error against predicted sigma."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from infomri_monai.figures.style import PALETTE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["calibration_figure"]


def calibration_figure(points: Mapping[str, tuple[Tensor, Tensor]], title: str | None = None) -> Figure:
    """Binned sigma against the error that occurred, on logarithmic axes with the diagonal of a calibrated model.

    Above the diagonal the model is overconfident, below it too careful.

    Args:
        points: name (a ratio, a method) -> (sigma, error) of every bin, per real component in image units, from
            :func:`infomri_monai.metrics.error_by_sigma`. Bins without any error are left out.
        title: heading.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if there is no curve, a curve has no positive point, or its two tensors differ in shape.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> sigma = torch.logspace(-3, -1, 10)
        >>> figure = calibration_figure({"ratio 0.25": (sigma, 1.2 * sigma)})
        >>> figure.axes[0].get_xscale()
        'log'
    """
    if not points:
        raise ValueError("points is empty; give at least one curve.")
    kept = {name: _positive(name, *pair) for name, pair in points.items()}
    limits = torch.cat([torch.cat(pair) for pair in kept.values()])
    low, high = float(limits.min()) / 1.4, float(limits.max()) * 1.4
    with styled(1, 1, 4.8, 4.8) as (figure, grid):
        axes = grid[0, 0]
        axes.plot([low, high], [low, high], color="#7f7f7f", linewidth=1, linestyle="--", label="calibrated")
        for (name, (sigma, error)), colour in zip(kept.items(), cycle(PALETTE), strict=False):
            axes.plot(sigma, error, marker="o", markersize=4, linewidth=1.4, color=colour, label=name)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set(
            xlabel=r"predicted $\sigma$ per component [image units]", ylabel="r.m.s. error per component [image units]"
        )
        axes.text(0.04, 0.96, "overconfident", transform=axes.transAxes, va="top", color="#7f7f7f", fontsize=8)
        axes.text(0.96, 0.04, "too careful", transform=axes.transAxes, ha="right", color="#7f7f7f", fontsize=8)
        axes.legend(loc="center left", bbox_to_anchor=(0.02, 0.78))
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _positive(name: str, sigma: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """The bins that a logarithmic axis can show."""
    if sigma.shape != error.shape or sigma.ndim != 1:
        raise ValueError(
            f"points[{name!r}] must be two tensors of shape (bins,), got {tuple(sigma.shape)} and {tuple(error.shape)}."
        )
    shown = (sigma > 0) & (error > 0)
    if not bool(shown.any()):
        raise ValueError(f"points[{name!r}] has no bin with a positive sigma and error.")
    return sigma[shown].detach().cpu(), error[shown].detach().cpu()
