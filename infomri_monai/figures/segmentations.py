"""Figure: many plausible segmentations of a case over its image, their uncertainty, and the raters' outlines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from infomri_monai.figures.outlines import add_structure_legend, check_structures
from infomri_monai.figures.segmented_case import acceleration, draw_mask, segmented_cases, top_entropy
from infomri_monai.figures.style import styled
from infomri_monai.systems.segmentation import SegmentationPosterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from infomri_monai.networks.task_posterior import TaskPosterior

__all__ = ["segmentation_figure"]


def segmentation_figure(
    posterior: TaskPosterior | SegmentationPosterior,
    image: Tensor,
    labels: Tensor | None = None,
    indices: Sequence[int] = (0,),
    *,
    mask: Tensor | None = None,
    shown_samples: int = 3,
    structures: Sequence[str] | None = None,
    simulated_raters: bool = False,
    title: str | None = None,
) -> Figure:
    """One row per case: mask, raters, majority, samples, predictive entropy and mutual information.

    Outlines are drawn over the image's magnitude, one colour per structure. The panels show the part of the image around the
    structures. Entropy has one colour scale in all rows, and so has mutual information; the latter is much the smaller, so that its
    title says how many nats its scale's end is.

    Args:
        posterior: what the system or the network returned; K samples, S structures.
        image: shown below the outlines, real or complex, (batch, 1, H, W): fully sampled, or at inference the zero-filled one.
        labels: the raters' class numbers (batch, R, H, W), or masks (batch, R, S, H, W); a missing rater is -1 or NaN. None, as at
            inference, leaves the raters' panel out.
        indices: which cases of the batch to draw.
        mask: 0/1 mask in k-space, (batch, 1, H, W) or of size 1 along the read-out axis; None takes the posterior's, if it has
            one, and else leaves the panel out.
        shown_samples: number of samples drawn; fewer if K is less.
        structures: their names, for the legend; None numbers them, or leaves the legend of a single one out.
        simulated_raters: whether the raters were simulated; the figure says so.
        title: heading.

    Returns:
        A matplotlib figure. "agreement" is the mean pairwise Dice of all K samples, the majority's Dice its mean over raters.

    Raises:
        ValueError: if there is no index, one is outside the batch, ``shown_samples`` < 1, or shapes do not fit.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> import torch
        >>> from infomri_monai.networks import TaskPosterior
        >>> samples = (torch.rand(2, 8, 1, 16, 16) > 0.5).byte()
        >>> p = samples.float().mean(1)
        >>> posterior = TaskPosterior(samples, (p > 0.5).byte(), torch.cat([1 - p, p], 1), p, p)
        >>> figure = segmentation_figure(posterior, torch.rand(2, 1, 16, 16), structures=["tumour"])
        >>> [axes.get_title() for axes in figure.axes[:5]]
        ['majority', 'sample 1', 'sample 2', 'sample 3', 'entropy']
    """
    if shown_samples < 1:
        raise ValueError(f"shown_samples must be at least 1, got {shown_samples}.")
    cases = segmented_cases(posterior, image, labels, indices)
    names = check_structures(structures, posterior.samples.shape[2])
    if mask is None and isinstance(posterior, SegmentationPosterior):
        mask = posterior.mask
    shown = min(shown_samples, posterior.samples.shape[1])
    columns = (mask is not None) + (labels is not None) + 1 + shown + 2
    highest, most = (top_entropy(each, indices) for each in (posterior.entropy, posterior.mutual_information))
    height = (1.5 * image.shape[2] / image.shape[3] + 0.3) * len(indices) + (0.7 if title else 0.45)
    with styled(len(indices), columns, 1.62 * columns + 0.8, height) as (figure, grid):
        for axes, case, i in zip(grid, cases, indices, strict=True):
            panels = iter(axes)
            if mask is not None:
                draw_mask(panel := next(panels), mask[i, 0], case.image.shape)
                panel.set_title(f"mask, {acceleration(mask[i, 0])}")
            if labels is not None:
                thin = {"linewidths": 0.8} if len(case.raters) > 1 else {}
                case.draw(next(panels), list(case.raters), case.rater_title(simulated_raters), **thin)
            case.draw(next(panels), [case.majority], case.majority_title())
            for k in range(shown):
                case.draw(next(panels), [case.samples[k]], f"sample {k + 1}")
            heat = case.draw_map(next(panels), posterior.entropy[i, 0], highest, "entropy")
            case.draw_map(next(panels), posterior.mutual_information[i, 0], most, f"mutual inf., 0 to {most:.2g}")
            axes[0].set_ylabel(case.agreement)
        figure.colorbar(heat, ax=grid[:, -2:].ravel().tolist(), shrink=0.8, pad=0.02, aspect=18, label="entropy, nats")
        add_structure_legend(figure, names)
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure
