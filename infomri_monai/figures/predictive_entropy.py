"""Figure: how uncertain the classifier was where it was right and where it was wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.figures.style import PALETTE, styled
from infomri_monai.metrics.roc_auc import class_auroc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["predictive_entropy_figure"]


def predictive_entropy_figure(
    answers: Mapping[str, tuple[Tensor, Tensor]],
    highest: float | None = None,
    bins: int = 20,
    title: str | None = None,
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
    with styled(rows, columns, max(4.6, 2.9 * columns), height) as (figure, grid):
        for axes, (name, (entropy, right)) in zip(grid.flat, known.items(), strict=False):
            _draw(axes, entropy, right, np.linspace(0.0, max(top, float(entropy.max())), bins + 1))
            axes.set_title(_title(name, entropy, right))
        for axes in grid.flat[len(known) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("share of the answers [%]")
        for axes in grid.flat[max(0, len(known) - columns) : len(known)]:
            axes.set_xlabel("predictive entropy [nats]")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _draw(axes: Any, entropy: NDArray[Any], right: NDArray[Any], edges: NDArray[Any]) -> None:
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
    return values.clip(min=0.0), right.detach().cpu().numpy() > 0
