"""Figures of reconstructions and classified images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.figures.segmentations import acceleration, draw_mask
from infomri_monai.figures.style import PALETTE, SEQUENTIAL, styled, tidy_axes
from infomri_monai.metrics.classification import class_names, class_targets
from infomri_monai.metrics.image_quality import psnr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from infomri_monai.systems.classification import ClassificationPosterior
    from infomri_monai.systems.reconstruction import ReconstructionResult

__all__ = ["classified_image_figure", "reconstruction_figure"]


@takes(image="number")
def reconstruction_figure(
    result: ReconstructionResult, image: Tensor, indices: Sequence[int] = (0,), title: str | None = None
) -> Figure:
    """One row per image of the batch.

    The three images are magnitudes and share one grey scale, from 0 to the ground truth's maximum. The error of the magnitude and
    its predicted sigma share one colour scale, so that they can be compared.

    Args:
        result: what the system returned.
        image: fully sampled ground truth, real or complex, (batch, 1, H, W).
        indices: which images of the batch to draw.
        title: heading.

    Returns:
        A matplotlib figure; the PSNRs are of magnitudes, per slice, data range = the slice's maximum.

    Raises:
        ValueError: if there is no index, one is outside the batch, or the image does not fit the result.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import UnrolledReconstructor
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> from infomri_monai.systems import ReconstructionSystem
        >>> network, image = UnrolledReconstructor(phases=1, channels=4), torch.rand(2, 1, 16, 16)
        >>> system = ReconstructionSystem(PatternGenerationNetwork((16, 16)), FourierMeasurement(), network)
        >>> figure = reconstruction_figure(system(image, 0.25), image, indices=(0, 1))
        >>> len(figure.axes)  # two rows of six, and a colour bar for each
        14
    """
    batch = image.shape[0]
    if not indices or not all(-batch <= i < batch for i in indices):
        raise ValueError(f"indices must name images of the batch of {batch}, got {list(indices)}.")
    if image.shape != result.mean.shape or image.ndim != 4:
        raise ValueError(
            f"image must be (batch, 1, H, W) like the mean, got {tuple(image.shape)} and {tuple(result.mean.shape)}."
        )
    aspect = image.shape[2] / image.shape[3]
    with styled(
        len(indices), 6, 13.5, (2.05 * aspect + 0.3) * len(indices) + (0.35 if title else 0.05), title=title
    ) as (figure, axes):
        for row, i in enumerate(indices):
            _draw_row(figure, axes[row], result, image, i)
    return figure


@torch.no_grad()
def _draw_row(figure: Figure, axes: Any, result: ReconstructionResult, image: Tensor, i: int) -> None:
    """Draw the six panels of one image."""
    truth, zero_filled, mean = (t[i, 0].detach().cpu() for t in (image, result.zero_filled, result.mean))
    sigma = torch.exp(0.5 * result.magnitude_log_variance[i, 0].detach().float()).cpu()
    error = (truth.abs() - mean.abs()).abs()
    qualities = [float(psnr(t[None, None], truth[None, None])) for t in (zero_filled, mean)]
    grey = {"cmap": "gray", "vmin": 0.0, "vmax": float(truth.abs().max()) or 1.0}
    largest = max(float(torch.quantile(t.float(), 0.998)) for t in (error, sigma)) or 1.0
    heat = {"cmap": SEQUENTIAL, "vmin": 0.0, "vmax": largest}
    mask = result.mask[i, 0].detach().cpu().expand(truth.shape)
    panels: list[tuple[str, Tensor, dict[str, Any]]] = [
        (f"mask, ratio {float(result.ratio[i]):.4f}", mask, {"cmap": "gray", "vmin": 0, "vmax": 1}),
        ("ground truth", truth.abs(), grey),
        (f"zero-filled, {qualities[0]:.2f} dB", zero_filled.abs(), grey),
        (f"reconstruction, {qualities[1]:.2f} dB", mean.abs(), grey),
        (r"$||x|-|\mu||$", error, heat),
        (r"predicted $\sigma$ of $|x|$", sigma, heat),
    ]
    for panel, (name, picture, options) in zip(axes, panels, strict=True):
        shown = panel.imshow(picture.numpy(), interpolation="nearest", **options)
        panel.set_title(name)
        tidy_axes(panel)
    figure.colorbar(shown, ax=axes[4:].tolist(), shrink=0.85, pad=0.02, aspect=18, label="image units")


@takes(image="number", label="label", zero_filled="number")
def classified_image_figure(
    posterior: ClassificationPosterior,
    image: Tensor,
    label: Tensor,
    indices: Sequence[int] = (0,),
    *,
    zero_filled: Tensor | None = None,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    title: str | None = None,
) -> Figure:
    """One row per image: the image, which the classifier never sees; the mask; the zero-filled image; the probabilities.

    The bars of what is true are filled, the others hollow; whiskers reach over the masks of an ensemble.

    Args:
        posterior: what the system inferred.
        image: fully sampled, real or complex, (batch, 1, H, W).
        label: class numbers (batch,), or zeros and ones (batch, C) if ``multi_label``.
        indices: which images of the batch to draw.
        zero_filled: what the classifier was given of the first mask, real or complex, (batch, 1, H, W); None leaves it out.
        classes: names of the classes or labels; None numbers them.
        multi_label: labels are independent of each other.
        title: heading.

    Returns:
        A matplotlib figure. Above each row's bars: whether the answer is right (of independent labels: how many) and the
        predictive entropy.

    Raises:
        ValueError: if there is no index, one is outside the batch, shapes do not fit, a label is no class, or names do not fit.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> import torch
        >>> from infomri_monai.systems import ClassificationPosterior
        >>> p, nothing, mask = torch.tensor([[0.8, 0.2]]), torch.zeros(1), torch.ones(1, 1, 8, 8)
        >>> posterior = ClassificationPosterior(p, torch.tensor([0.5]), nothing, p[:, None], mask, nothing + 1, nothing)
        >>> figure = classified_image_figure(posterior, torch.rand(1, 1, 8, 8), torch.tensor([0]), classes=["none", "lesion"])
        >>> [axes.get_title() for axes in figure.axes]
        ['true: none', 'mask, 1×', 'right, entropy 0.50 nats']
    """
    batch, count = posterior.probabilities.shape
    if not indices or not all(-batch <= i < batch for i in indices):
        raise ValueError(f"indices must name images of the batch of {batch}, got {list(indices)}.")
    for name, picture in (("image", image), ("zero_filled", zero_filled)):
        if picture is not None and (picture.ndim != 4 or picture.shape[:2] != (batch, 1)):
            raise ValueError(f"{name} must be (batch, 1, H, W) with a batch of {batch}, got {tuple(picture.shape)}.")
    names = class_names(classes, count, multi_label)
    targets = class_targets(label.detach().cpu(), count, multi_label).numpy() > 0
    if len(targets) != batch:
        raise ValueError(f"label must be of the batch of {batch}, got {tuple(label.shape)}.")
    columns, size = 3 if zero_filled is None else 4, max(1.6, 0.16 * count + 0.5)
    aspect = image.shape[2] / image.shape[3]
    height = max(size, 1.6 * aspect) * len(indices) + 0.3 * len(indices) + (0.35 if title else 0.05)
    with styled(len(indices), columns, 1.75 * columns + 1.4, height, title=title) as (figure, grid):
        grid[0, 0].get_gridspec().set_width_ratios([1.0] * (columns - 1) + [1.5])
        for axes, i in zip(grid, indices, strict=True):
            _draw_picture(axes[0], image[i, 0], _truth(targets[i], names))
            draw_mask(axes[1], posterior.mask[i, 0], image.shape[2:])
            axes[1].set_title(f"mask, {acceleration(posterior.mask[i, 0])}")
            if zero_filled is not None:
                _draw_picture(axes[2], zero_filled[i, 0], "zero-filled")
            members = posterior.member_probabilities[i].detach().float().cpu().numpy()
            _draw_bars(axes[-1], posterior.probabilities[i].detach().float().cpu().numpy(), members, targets[i], names)
            entropy = f"entropy {float(posterior.entropy[i]):.2f} nats"
            axes[-1].set_title(f"{_verdict(posterior.probabilities[i], targets[i], multi_label)}, {entropy}")
        grid[-1, -1].set_xlabel("probability")
    return figure


def _draw_picture(axes: Any, picture: Tensor, name: str) -> None:
    """A magnitude image in grey."""
    shown = picture.detach().abs().float().cpu().numpy()
    axes.imshow(shown, cmap="gray", vmin=0, vmax=float(shown.max()) or 1.0, interpolation="nearest")
    axes.set_title(name)
    tidy_axes(axes)


def _draw_bars(
    axes: Any, probabilities: NDArray[Any], members: NDArray[Any], true: NDArray[Any], names: Sequence[str]
) -> None:
    """One bar per class, the first above."""
    places = np.arange(len(names))
    colours = [PALETTE[0] if t else "white" for t in true]
    axes.barh(places, probabilities, height=0.7, color=colours, edgecolor=PALETTE[0], linewidth=1.0)
    if len(members) > 1:
        axes.hlines(places, members.min(0), members.max(0), color="black", linewidth=1.2)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), yticks=places, xticks=[0, 0.5, 1])
    axes.set_yticklabels(names, fontsize=8 if len(names) <= 5 else 7)
    axes.grid(False, axis="y")


def _truth(true: NDArray[Any], names: Sequence[str]) -> str:
    """What is true, in words."""
    present = [name for name, t in zip(names, true, strict=True) if t]
    more = f", +{len(present) - 1}" if len(present) > 1 else ""
    return f"true: {present[0]}{more}" if present else "true: no label"


def _verdict(probabilities: Tensor, true: NDArray[Any], multi_label: bool) -> str:
    p = probabilities.detach().float().cpu().numpy()
    if not multi_label:
        return "right" if true[int(p.argmax())] else "wrong"
    right = int(((p > 0.5) == true).sum())
    return "right" if right == len(true) else f"{right} of {len(true)} right"
