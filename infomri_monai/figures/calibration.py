"""Figures of calibration: sigma against the error, reliability, ROC, risk against coverage, entropy of right and wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.arrays import as_label, as_numbers, takes
from infomri_monai.figures.style import PALETTE, styled
from infomri_monai.metrics.auroc import class_auroc, roc_curve
from infomri_monai.metrics.probability import ReliabilityDiagram
from infomri_monai.triage.risk_coverage import RiskCoverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "calibration_figure",
    "predictive_entropy_figure",
    "reliability_figure",
    "risk_coverage_figure",
    "roc_figure",
]


def calibration_figure(points: Mapping[str, tuple[Tensor, Tensor]], title: str | None = None) -> Figure:
    """Binned sigma against the error that occurred, on logarithmic axes with the diagonal of a calibrated model.

    Above the diagonal the model is overconfident, below it too careful.

    Args:
        points: name (a ratio, a method) -> (sigma, error) of the magnitude of every bin, in image units, from
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
    with styled(1, 1, 4.8, 4.8, title=title) as (figure, grid):
        axes = grid[0, 0]
        axes.plot([low, high], [low, high], color="#7f7f7f", linewidth=1, linestyle="--", label="calibrated")
        for (name, (sigma, error)), colour in zip(kept.items(), cycle(PALETTE), strict=False):
            axes.plot(sigma, error, marker="o", markersize=4, linewidth=1.4, color=colour, label=name)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set(xlabel=r"predicted $\sigma$ of the magnitude [image units]", ylabel="its r.m.s. error [image units]")
        axes.text(0.04, 0.96, "overconfident", transform=axes.transAxes, va="top", color="#7f7f7f", fontsize=8)
        axes.text(0.96, 0.04, "too careful", transform=axes.transAxes, ha="right", color="#7f7f7f", fontsize=8)
        axes.legend(loc="center left", bbox_to_anchor=(0.02, 0.78))
    return figure


@takes(sigma="real", error="real")
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


def reliability_figure(
    diagrams: Mapping[str, ReliabilityDiagram],
    title: str | None = None,
    simulated_raters: bool = False,
    *,
    frequency: str | None = None,
    probability: str = "mean probability of the structure",
    counted: str = "pixels",
) -> Figure:
    """Frequency against confidence of every bin, with the diagonal of a calibrated model; below, how the pixels (or images) spread.

    Below the diagonal the model is overconfident: the structure is there (the class is right) less often than it says.

    Args:
        diagrams: name (a method, an acceleration) -> :func:`~infomri_monai.metrics.probability.reliability_diagram`;
            empty bins are left out.
        title: heading.
        simulated_raters: whether the raters were simulated; the figure says so.
        frequency: what is counted as having occurred, the label of the vertical axis; None says that raters drew the structure.
        probability: what was predicted, the label of the horizontal axis.
        counted: what the bins hold.

    Returns:
        A matplotlib figure of two panels. The legend gives the expected calibration error (46).

    Raises:
        ValueError: if there is no diagram or one has no bin with a pixel or image.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> import torch
        >>> from infomri_monai.metrics.probability import reliability_diagram
        >>> diagram = reliability_diagram(torch.full((1, 1, 4), 0.75), torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]]))
        >>> figure = reliability_figure({"8×": diagram})
        >>> figure.axes[0].get_legend().get_texts()[1].get_text()
        '8×: ECE 0.0000'
    """
    if not diagrams:
        raise ValueError("diagrams is empty; give at least one diagram.")
    for name, diagram in diagrams.items():
        if not bool((diagram.share > 0).any()):
            raise ValueError(f"diagrams[{name!r}] has no bin with a pixel or image.")
    raters = "simulated raters" if simulated_raters else "raters"
    with styled(2, 1, 4.6, 5.6, title=title) as (figure, grid):
        upper, lower = grid[:, 0]
        upper.get_gridspec().set_height_ratios([4, 1])
        upper.plot([0, 1], [0, 1], color="#7f7f7f", linewidth=1, linestyle="--", label="calibrated")
        for (name, diagram), colour in zip(diagrams.items(), cycle(PALETTE), strict=False):
            filled = diagram.share > 0
            confidence, found, share = (part[filled].detach().cpu() for part in diagram)
            error = float((share * (found - confidence).abs()).sum())
            style = {"marker": "o", "markersize": 4, "linewidth": 1.4, "color": colour}
            upper.plot(confidence, found, label=f"{name}: ECE {error:.4f}", clip_on=False, **style)
            lower.plot(confidence, 100 * share, **style)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel=frequency or f"share of {raters} who drew it")
        upper.text(0.97, 0.04, "overconfident", ha="right", color="#7f7f7f", fontsize=8)
        upper.legend(loc="best")
        lower.set(xlim=(0, 1), yscale="log", xlabel=probability, ylabel=f"{counted} [%]")
        lower.yaxis.set_major_formatter("{x:g}")
        lower.tick_params(axis="y", which="minor", labelleft=False)
    return figure


_LINES = ("-", "--", "-.", ":")


def roc_figure(
    answers: Mapping[str, tuple[Tensor, Tensor]], classes: Sequence[str], title: str | None = None
) -> Figure:
    """One panel per class or label, one curve per acceleration (or method).

    Args:
        answers: name of the curve -> scores (n, C), in [0, 1] or of any scale, and 0-1 targets (n, C); every class against
            the rest.
        classes: names of the C classes.
        title: heading.

    Returns:
        A matplotlib figure. The legends give the area under each curve; a curve of a class that no image, or every image, has is
        left out and said to be missing.

    Raises:
        ValueError: if there is no answer, or shapes do not fit one another or ``classes``.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> scores, targets = torch.tensor([[0.1], [0.4], [0.4], [0.8]]), torch.tensor([[0], [0], [1], [1]])
        >>> figure = roc_figure({"8×": (scores, targets)}, ["lesion"])
        >>> figure.axes[0].get_legend().get_texts()[0].get_text()
        '8×: 0.875'
    """
    if not answers or not classes:
        raise ValueError(
            f"answers and classes must not be empty, got {len(answers)} answers and {len(classes)} classes."
        )
    answers = {
        name: (as_numbers(s, "scores", "real").detach(), as_label(t, "targets")) for name, (s, t) in answers.items()
    }
    for name, (scores, targets) in answers.items():
        if scores.shape != targets.shape or scores.ndim != 2 or scores.shape[1] != len(classes) or not len(scores):
            raise ValueError(
                f"answers[{name!r}] must be scores and targets of shape (n, {len(classes)}), got {tuple(scores.shape)} and "
                f"{tuple(targets.shape)}."
            )
    columns = len(classes) if len(classes) <= 3 else min(5, -(-len(classes) // 2))
    rows = -(-len(classes) // columns)
    size = 3.0 if len(classes) > 1 else 4.2
    with styled(rows, columns, size * columns, size * rows + (0.45 if title else 0.15), title=title) as (figure, grid):
        for c, (axes, name) in enumerate(zip(grid.flat, classes, strict=False)):
            _draw_roc(axes, {key: (s[:, c].cpu(), t[:, c].cpu()) for key, (s, t) in answers.items()})
            axes.set_title(name)
        _label_grid(grid, len(classes), "1 \u2212 specificity", "sensitivity")
    return figure


def _draw_roc(axes: Any, answers: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """The curves of one class, and chance."""
    axes.plot([0, 1], [0, 1], color="#7f7f7f", linewidth=1, linestyle=(0, (1, 2)))
    styles = zip(cycle(PALETTE), cycle(_LINES), strict=False)
    for (name, (scores, targets)), (colour, line) in zip(answers.items(), styles, strict=False):
        area = float(class_auroc(scores[:, None], targets[:, None]))
        if area != area:
            axes.plot([], [], color=colour, linestyle=line, label=f"{name}: one class only")
            continue
        curve = roc_curve(scores, targets)
        axes.plot(*curve, color=colour, linestyle=line, linewidth=1.6, label=f"{name}: {area:.3f}", clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.legend(loc="lower right", title="area under the curve", title_fontsize=7.5, fontsize=8, borderaxespad=0.2)


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
    with styled(1, 1, 5.6, 4.3, title=title) as (figure, grid):
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
    return figure


def predictive_entropy_figure(
    answers: Mapping[str, tuple[Tensor, Tensor]], highest: float | None = None, bins: int = 20, title: str | None = None
) -> Figure:
    """One panel per acceleration (or method): histograms of the predictive entropy of right and of wrong answers.

    Each histogram adds up to 100 %, for there are far fewer wrong answers than right ones.

    Args:
        answers: name of the panel -> entropy in nats, (n,), and whether the answer is right, (n,).
        highest: largest entropy possible, nats (log C, or C log 2 of independent labels); None takes the largest there is.
        bins: number of bins.
        title: heading.

    Returns:
        A matplotlib figure. Titles give the area under the ROC curve of the entropy as a detector of wrong answers; 0.5: it knows
        nothing of them.

    Raises:
        ValueError: if there is no answer, shapes do not fit, an entropy is negative or not finite, or ``bins`` < 1.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> import torch
        >>> entropy, right = torch.tensor([0.1, 0.2, 0.3, 0.6]), torch.tensor([True, True, False, False])
        >>> predictive_entropy_figure({"8×": (entropy, right)}).axes[0].get_title()
        '8×: finds errors, AUROC 1.00'
    """
    if not answers or bins < 1:
        raise ValueError(
            f"give at least one answer and at least one bin, got {len(answers)} answers and bins = {bins}."
        )
    known = {name: _arrays(name, *pair) for name, pair in answers.items()}
    top = highest or max(float(entropy.max()) for entropy, _ in known.values()) or 1.0
    columns = min(len(known), 4)
    rows = -(-len(known) // columns)
    height = 2.3 * rows + 0.5 + (0.3 if title else 0.0)
    with styled(rows, columns, max(4.6, 2.9 * columns), height, title=title) as (figure, grid):
        for axes, (name, (entropy, right)) in zip(grid.flat, known.items(), strict=False):
            _draw_entropy(axes, entropy, right, np.linspace(0.0, max(top, float(entropy.max())), bins + 1))
            axes.set_title(_title(name, entropy, right))
        _label_grid(grid, len(known), "predictive entropy [nats]", "share of the answers [%]")
    return figure


def _draw_entropy(axes: Any, entropy: NDArray[Any], right: NDArray[Any], edges: NDArray[Any]) -> None:
    """Right answers as an area, wrong ones as a hatched outline."""
    for shown, name, look in (
        (right, "right", {"color": PALETTE[0], "alpha": 0.35, "histtype": "stepfilled"}),
        (
            ~right,
            "wrong",
            {"edgecolor": PALETTE[1], "linewidth": 1.6, "fill": False, "hatch": "////", "histtype": "step"},
        ),
    ):
        if shown.any():
            weights = np.full(int(shown.sum()), 100 / shown.sum())
            axes.hist(entropy[shown], edges, weights=weights, label=f"{int(shown.sum())} {name}", **look)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.22 * axes.get_ylim()[1]))  # room for the legend
    axes.legend(loc="upper center", ncols=2)


def _title(name: str, entropy: NDArray[Any], right: NDArray[Any]) -> str:
    area = float(class_auroc(torch.from_numpy(entropy)[:, None], torch.from_numpy(~right)[:, None].long()))
    return name if math.isnan(area) else f"{name}: finds errors, AUROC {area:.2f}"


@takes(entropy="real", right="label")
def _arrays(name: str, entropy: Tensor, right: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    if entropy.shape != right.shape or entropy.ndim != 1 or not len(entropy):
        raise ValueError(
            f"answers[{name!r}] must be two tensors of shape (n,), got {tuple(entropy.shape)} and {tuple(right.shape)}."
        )
    values = entropy.detach().double().cpu().numpy()
    if not (values >= -1e-5).all() or not np.isfinite(values).all():
        raise ValueError(
            f"entropies of answers[{name!r}] must be finite and at least 0, got {values.min()} to {values.max()}."
        )
    return values.clip(min=0.0), (right.detach().cpu() > 0).numpy()


def _label_grid(grid: Any, used: int, below: str, left: str) -> None:
    """Name the axes at the left and under the lowest of the ``used`` first panels; the others stay empty."""
    for axes in grid.flat[used:]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(left)
    for axes in grid.flat[max(0, used - grid.shape[1]) : used]:
        axes.set_xlabel(below)
