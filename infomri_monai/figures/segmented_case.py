"""One case of a batch of segmentations, as arrays, and the panels that figures of segmentations are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.figures.acceleration import acceleration_text
from infomri_monai.figures.outlines import draw_outlines, window
from infomri_monai.figures.style import SEQUENTIAL, tidy_axes
from infomri_monai.metrics.dice_raters import dice_to_raters
from infomri_monai.metrics.structure_masks import rater_masks
from infomri_monai.systems.segmentation import SegmentationPosterior
from infomri_monai.triage.agreement import sample_agreement

if TYPE_CHECKING:
    from infomri_monai.networks.task_posterior import TaskPosterior

__all__ = ["SegmentedCase", "acceleration", "draw_mask", "segmented_cases", "top_entropy"]


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


def draw_mask(axes: Any, mask: Tensor, shape: Sequence[int]) -> None:
    """A k-space mask, DC in the middle; lines are drawn along their read-out axis."""
    plane = mask.detach().float().cpu().expand(tuple(shape)).numpy()
    axes.imshow(plane, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    tidy_axes(axes)


def top_entropy(entropy: Tensor, indices: Sequence[int]) -> float:
    """Upper end of a colour scale that the entropies of these cases share."""
    shown = entropy[list(indices)].detach().float().flatten().cpu().numpy()
    return float(np.quantile(shown, 0.998)) or float(shown.max()) or 1.0
