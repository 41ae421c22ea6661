"""Figure: one case at several accelerations; the samples spread as less is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from infomri_monai.figures.outlines import add_structure_legend, check_structures, draw_outlines
from infomri_monai.figures.segmented_case import SegmentedCase, acceleration, draw_mask, segmented_cases, top_entropy
from infomri_monai.figures.style import styled
from infomri_monai.systems.segmentation import SegmentationPosterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sweep_figure"]


def sweep_figure(
    posterior: SegmentationPosterior,
    image: Tensor,
    labels: Tensor | None = None,
    indices: Sequence[int] = (0,),
    *,
    structures: Sequence[str] | None = None,
    simulated_raters: bool = False,
    title: str | None = None,
) -> Figure:
    """One column per acceleration: mask, zero-filled image, the raters (white) below the majority, all samples, entropy (Fig. 9).

    All columns show the same part of the image, and entropies share one colour scale.

    Args:
        posterior: what the system returned for a batch that holds the case once per acceleration.
        image: fully sampled, real or complex, (batch, 1, H, W).
        labels: as :func:`~infomri_monai.figures.segmentation_figure`; None draws no raters.
        indices: places of the case in the batch, in the order of the columns.
        structures: their names, for the legend; None numbers them, or leaves the legend of a single one out.
        simulated_raters: whether the raters were simulated; the figure says so.
        title: heading.

    Returns:
        A matplotlib figure. Above each column: acceleration and agreement (mean pairwise Dice of the samples); below: the mean
        entropy of a pixel.

    Raises:
        ValueError: if there is no index, one is outside the batch, or shapes do not fit.
        ImportError: if matplotlib (extra ``figures``) is not installed.
    """
    cases = segmented_cases(posterior, image, labels, indices)
    names = check_structures(structures, posterior.samples.shape[2])
    rows, columns = _share_window(cases)
    highest = top_entropy(posterior.entropy, indices)
    height = 1.75 * (4 * rows / columns + image.shape[2] / image.shape[3]) + 1.2
    with styled(5, len(indices), max(4.0, 1.8 * len(indices) + 1.1), height) as (figure, grid):
        for axes, case, i in zip(grid.T, cases, indices, strict=True):
            draw_mask(axes[0], posterior.mask[i, 0], case.image.shape)
            case.draw_picture(axes[1], posterior.zero_filled[i, 0].detach().abs().float().cpu().numpy())
            case.draw(axes[2], list(case.raters), halo=True, colors="white", linewidths=0.6)
            draw_outlines(axes[2], case.majority)
            case.draw(axes[3], list(case.samples), linewidths=0.6, alpha=0.8)
            heat = case.draw_map(axes[4], posterior.entropy[i, 0], highest)
            head = (acceleration(posterior.mask[i, 0]), case.agreement)
            axes[0].set_title(", ".join(part for part in head if part))
            axes[4].set_xlabel(f"mean {float(posterior.entropy[i].mean()):.3g} nats", fontsize=8)
        _name_rows(grid[:, 0], cases[0], simulated_raters)
        figure.colorbar(heat, ax=grid[4].tolist(), shrink=0.85, pad=0.02, aspect=12, label="nats")
        add_structure_legend(figure, names)
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _share_window(cases: Sequence[SegmentedCase]) -> tuple[int, int]:
    """Let all cases show the same part of the image; returns its height and width in pixels."""
    rows, columns = (
        slice(min(case.window[axis].start for case in cases), max(case.window[axis].stop for case in cases))
        for axis in (0, 1)
    )
    for case in cases:
        case.window = rows, columns
    return rows.stop - rows.start, columns.stop - columns.start


def _name_rows(axes: Sequence[Any], case: SegmentedCase, simulated_raters: bool) -> None:
    raters = f",\n{case.rater_title(simulated_raters)} (white)" if len(case.raters) else ""
    names = ["mask", "zero-filled", f"majority{raters}", f"{len(case.samples)} samples", "entropy"]
    for panel, name in zip(axes, names, strict=True):
        panel.set_ylabel(name)
