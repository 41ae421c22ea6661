"""Figure: receiver operating characteristic of every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from infomri_monai.figures.style import PALETTE, styled
from infomri_monai.metrics.roc_auc import class_auroc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RocCurve", "roc_curve", "roc_figure"]

_LINES = ("-", "--", "-.", ":")


class RocCurve(NamedTuple):
    """Rates as the threshold falls; positive is a score of at least the threshold.

    Attributes:
        false_positive: 1 - specificity, (points,), from 0 to 1.
        true_positive: sensitivity, (points,), from 0 to 1.
    """

    false_positive: Tensor
    true_positive: Tensor


def roc_curve(scores: Tensor, targets: Tensor) -> RocCurve:
    """The curve's corners, one for every different score, and (0, 0).

    MONAI computes the area under it only.

    Args:
        scores: the higher, the rather positive, (n,).
        targets: zeros and ones, (n,), of which there are both.

    Returns:
        Both rates, float64.

    Raises:
        ValueError: if shapes differ or all targets are the same.

    Example:
        >>> roc_curve(torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([1, 1, 0, 0])).true_positive
        tensor([0.0000, 0.5000, 1.0000, 1.0000], dtype=torch.float64)
    """
    positive = targets > 0
    if scores.shape != targets.shape or scores.ndim != 1 or bool(positive.all()) or not bool(positive.any()):
        raise ValueError(
            f"scores and targets must be (n,), with positive and negative targets, got {tuple(scores.shape)} and "
            f"{tuple(targets.shape)} with {int(positive.sum())} positive."
        )
    order = scores.argsort(descending=True, stable=True)
    ordered, hits = scores[order], positive[order].double()
    last = torch.ones_like(ordered, dtype=torch.bool)  # of the images of one score
    last[:-1] = ordered[1:] != ordered[:-1]
    rates = [torch.cat([hits.new_zeros(1), (h.cumsum(0) / h.sum())[last]]) for h in (1 - hits, hits)]
    return RocCurve(*rates)


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
    for name, (scores, targets) in answers.items():
        if scores.shape != targets.shape or scores.ndim != 2 or scores.shape[1] != len(classes) or not len(scores):
            raise ValueError(
                f"answers[{name!r}] must be scores and targets of shape (n, {len(classes)}), got {tuple(scores.shape)} and "
                f"{tuple(targets.shape)}."
            )
    columns = len(classes) if len(classes) <= 3 else min(5, -(-len(classes) // 2))
    rows = -(-len(classes) // columns)
    size = 3.0 if len(classes) > 1 else 4.2
    with styled(rows, columns, size * columns, size * rows + (0.45 if title else 0.15)) as (figure, grid):
        for c, (axes, name) in enumerate(zip(grid.flat, classes, strict=False)):
            _draw(axes, {key: (s[:, c].cpu(), t[:, c].cpu()) for key, (s, t) in answers.items()})
            axes.set_title(name)
        for axes in grid.flat[len(classes) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("sensitivity")
        for axes in grid.flat[max(0, len(classes) - columns) : len(classes)]:
            axes.set_xlabel("1 \u2212 specificity")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _draw(axes: Any, answers: Mapping[str, tuple[Tensor, Tensor]]) -> None:
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
