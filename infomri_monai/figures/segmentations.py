"""Figures of segmentations: samples, majority and uncertainty over the image, at one or several accelerations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.figures.style import SEQUENTIAL, acceleration_text, styled, tidy_axes
from infomri_monai.metrics.overlap import dice_to_raters
from infomri_monai.metrics.structures import rater_masks, structure_names
from infomri_monai.systems.segmentation import SegmentationPosterior
from infomri_monai.triage.agreement import sample_agreement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from infomri_monai.networks.task_model import TaskPosterior

__all__ = [
    "STRUCTURE_COLOURS",
    "SegmentedCase",
    "acceleration",
    "add_structure_legend",
    "check_structures",
    "draw_mask",
    "draw_outlines",
    "segmentation_figure",
    "segmented_cases",
    "sweep_figure",
    "top_entropy",
    "window",
]

#: the bright ones of Okabe and Ito's colours, readable on grey images
STRUCTURE_COLOURS = ("#56B4E9", "#E69F00", "#CC79A7", "#F0E442", "#009E73", "#D55E00", "#0072B2")


def draw_outlines(axes: Axes, masks: NDArray[Any], halo: bool = False, **line: Any) -> None:
    """Draw the border of every structure halfway between its pixels and the others; an empty mask has none.

    Args:
        axes: of a picture drawn by ``imshow``.
        masks: 0/1, (S, H, W).
        halo: put black below the lines, for white ones.
        line: ``linewidths``, ``linestyles``, ``alpha`` of matplotlib's ``contour``; ``colors`` instead of the structures'.

    Example:
        >>> from infomri_monai.figures.style import styled
        >>> masks = np.zeros((2, 8, 8))
        >>> masks[0, 2:4, 3:6] = 1
        >>> with styled(1, 1, 2, 2) as (figure, grid):
        ...     draw_outlines(grid[0, 0], masks)
        >>> [len(lines.get_paths()) for lines in grid[0, 0].collections]
        [1]
    """
    rows, columns = (np.arange(-1, n + 1) for n in masks.shape[1:])
    limits = {"xlim": axes.get_xlim(), "ylim": axes.get_ylim()}
    for i, mask in enumerate(masks):
        if mask.any():  # a border of zeros closes outlines at the image's edge
            style: dict[str, Any] = {"colors": STRUCTURE_COLOURS[i % len(STRUCTURE_COLOURS)], "linewidths": 1.1} | line
            lines = axes.contour(columns, rows, np.pad(mask.astype(float), 1), levels=[0.5], **style)
            if halo:
                stroke, _ = optional_import("matplotlib.patheffects", name="withStroke")
                lines.set_path_effects([stroke(linewidth=1.6, foreground="black")])
    axes.set(**limits)


def window(masks: NDArray[Any], share: float = 0.4, margin: float = 0.08) -> tuple[slice, slice]:
    """Rows and columns around all structures, of the image's aspect.

    Args:
        masks: 0/1, (..., H, W).
        share: smallest share of the image's height and width.
        margin: on every side, as a share of the structures' extent.

    Returns:
        Slices that lie in the image; the whole image if all masks are empty.

    Example:
        >>> masks = np.zeros((1, 40, 40))
        >>> masks[:, 2:4, 20:22] = 1
        >>> window(masks)
        (slice(0, 16, None), slice(13, 29, None))
    """
    shape = masks.shape[-2:]
    inside = np.any(masks.reshape(-1, *shape), axis=0)
    if not inside.any():
        return slice(0, shape[0]), slice(0, shape[1])
    extents = [np.flatnonzero(np.any(inside, axis=1 - axis))[[0, -1]] + [0, 1] for axis in (0, 1)]
    wanted = max((high - low) * (1 + 2 * margin) / n for (low, high), n in zip(extents, shape, strict=True))
    slices = []
    for (low, high), n in zip(extents, shape, strict=True):
        size = round(min(max(wanted, share), 1.0) * n)
        start = min(max((int(low) + int(high) - size) // 2, 0), n - size)
        slices.append(slice(start, start + size))
    return slices[0], slices[1]


def check_structures(names: Sequence[str] | None, number: int) -> tuple[str, ...]:
    """Names for a legend, checked; none where a single structure has no name."""
    return () if names is None and number == 1 else structure_names(names, number)


def add_structure_legend(figure: Figure, names: Sequence[str]) -> None:
    """Which colour is which structure, below the panels."""
    line, _ = optional_import("matplotlib.lines", name="Line2D")
    handles = [
        line([], [], color=STRUCTURE_COLOURS[i % len(STRUCTURE_COLOURS)], linewidth=2.2, label=name)
        for i, name in enumerate(names)
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8))


def segmented_cases(
    posterior: TaskPosterior | SegmentationPosterior, image: Tensor, labels: Tensor | None, indices: Sequence[int]
) -> list[SegmentedCase]:
    """Some cases of a batch, after checking that everything is of one batch and one grid.

    Args:
        posterior: what the system or the network returned.
        image: real or complex, (batch, 1, H, W).
        labels: class numbers (batch, R, H, W) or masks (batch, R, S, H, W), or None.
        indices: which cases.

    Raises:
        ValueError: if there is no index, one is outside the batch, or shapes do not fit.
    """
    batch, shape = posterior.samples.shape[0], tuple(posterior.samples.shape[3:])
    if not indices or not all(-batch <= i < batch for i in indices):
        raise ValueError(f"indices must name cases of the batch of {batch}, got {list(indices)}.")
    if len(shape) != 2 or tuple(image.shape) != (batch, 1, *shape):
        raise ValueError(
            f"image must be (batch, 1, H, W) on the samples' grid, got {tuple(image.shape)} and samples of "
            f"{tuple(posterior.samples.shape)}."
        )
    raters = None
    if labels is not None:
        known = labels.nan_to_num(-1) if labels.ndim == 5 and labels.is_floating_point() else labels
        raters = rater_masks(known.detach().cpu(), posterior.samples.shape[2])
    if raters is not None and (raters.shape[0] != batch or tuple(raters.shape[3:]) != shape):
        raise ValueError(
            f"labels must be of the batch of {batch} and on its grid {shape}, got {tuple(raters.shape)}; repeat them ratio by "
            "ratio as the images."
        )
    return [SegmentedCase(posterior, image, raters, i) for i in indices]


class SegmentedCase:
    """Arrays and panels of one case.

    Args:
        posterior: of the batch.
        image: of the batch.
        raters: masks of the batch, (batch, R, S, H, W), NaN for a missing rater; None where there are no labels.
        i: place in the batch.

    Attributes:
        image: magnitude, (H, W).
        samples: masks, (K, S, H, W).
        majority: masks, (S, H, W).
        raters: masks of those who are not missing, (R, S, H, W); no rater where there are no labels.
        window: rows and columns that the panels show, around all structures.
        agreement: text of the mean pairwise Dice of the samples; "" of a single sample.
    """

    def __init__(
        self, posterior: TaskPosterior | SegmentationPosterior, image: Tensor, raters: Tensor | None, i: int
    ) -> None:
        samples, majority = posterior.samples[i].detach().cpu(), posterior.majority[i].detach().cpu()
        own = majority.new_zeros((0, *majority.shape)) if raters is None else raters[i]
        self.image: NDArray[Any] = image[i, 0].detach().abs().float().cpu().numpy()
        self.samples: NDArray[Any] = samples.numpy()
        self.majority: NDArray[Any] = majority.numpy()
        self.raters: NDArray[Any] = own[~own.isnan().flatten(1).any(1)].numpy()
        self.window = window(np.concatenate([self.samples, self.majority[None], self.raters]))
        self.agreement = f"agreement {float(sample_agreement(samples[None])):.2f}" if len(samples) > 1 else ""

    def draw(self, axes: Any, sets: Sequence[NDArray[Any]], name: str = "", **line: Any) -> None:
        """The image with the outlines of every set of structures."""
        self.draw_picture(axes, self.image, name)
        for masks in sets:
            draw_outlines(axes, masks, **line)
        self._frame(axes, name)

    def draw_picture(self, axes: Any, picture: NDArray[Any], name: str = "") -> None:
        """A magnitude image in grey."""
        axes.imshow(picture, cmap="gray", vmin=0, vmax=float(picture.max()) or 1.0, interpolation="nearest")
        self._frame(axes, name)

    def draw_map(self, axes: Any, values: Tensor, highest: float, name: str = "") -> Any:
        """A map of non-negative numbers; returns what a colour bar needs."""
        picture = values.detach().float().cpu().numpy()
        heat = axes.imshow(picture, cmap=SEQUENTIAL, vmin=0, vmax=highest, interpolation="nearest")
        self._frame(axes, name)
        return heat

    def rater_title(self, simulated: bool) -> str:
        """How many raters there are, and whether they are simulated."""
        kind, number = ("simulated rater" if simulated else "rater"), len(self.raters)
        return f"no {kind}" if number == 0 else f"{number} {kind}{'s' if number > 1 else ''}"

    def majority_title(self) -> str:
        """With the Dice averaged over structures and raters, where there are raters."""
        if not len(self.raters):
            return "majority"
        dice = dice_to_raters(torch.from_numpy(self.majority)[None], torch.from_numpy(self.raters)[None])
        return f"majority, Dice {float(dice.mean()):.2f}"

    def _frame(self, axes: Any, name: str) -> None:
        rows, columns = self.window
        axes.set(xlim=(columns.start - 0.5, columns.stop - 0.5), ylim=(rows.stop - 0.5, rows.start - 0.5), title=name)
        tidy_axes(axes)


def acceleration(mask: Tensor) -> str:
    """What a mask reaches, in words; of Cartesian lines the mask has size 1 along the read-out axis.

    Example:
        >>> acceleration(torch.tensor([[1.0, 0.0, 0.0, 0.0]])), acceleration(torch.zeros(1, 4))
        ('4×', 'nothing measured')
    """
    return acceleration_text(float(mask.detach().float().mean()))


def draw_mask(axes: Any, mask: Tensor, shape: Sequence[int], **look: Any) -> Any:
    """A k-space mask, DC in the middle; lines are drawn along their read-out axis.

    Args:
        axes: matplotlib axes.
        mask: mask or probabilities of the positions, (H, W), or of size 1 along an axis.
        shape: of the grid.
        look: of ``imshow`` instead of grey from 0 to 1.

    Returns:
        What a colour bar needs.
    """
    plane = mask.detach().float().cpu().expand(tuple(shape)).numpy()
    shown = axes.imshow(plane, interpolation="nearest", **(look or {"cmap": "gray", "vmin": 0, "vmax": 1}))
    tidy_axes(axes)
    return shown


def top_entropy(entropy: Tensor, indices: Sequence[int]) -> float:
    """Upper end of a colour scale that the entropies of these cases share."""
    shown = entropy[list(indices)].detach().float().flatten().cpu().numpy()
    return float(np.quantile(shown, 0.998)) or float(shown.max()) or 1.0


@takes(image="number", labels="label", mask="mask")
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
    with styled(len(indices), columns, 1.62 * columns + 0.8, height, title=title) as (figure, grid):
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
    return figure


@takes(image="number", labels="label")
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
    with styled(5, len(indices), max(4.0, 1.8 * len(indices) + 1.1), height, title=title) as (figure, grid):
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
