"""Figure: the reliability diagram, how often a structure is there against the probability that was said."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

from infomri_monai.figures.style import PALETTE, styled
from infomri_monai.metrics.probability_calibration import ReliabilityDiagram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["reliability_figure"]


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
        diagrams: name (a method, an acceleration) -> :func:`~infomri_monai.metrics.probability_calibration.reliability_diagram`;
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
        >>> from infomri_monai.metrics.probability_calibration import reliability_diagram
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
    with styled(2, 1, 4.6, 5.6) as (figure, grid):
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
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure
