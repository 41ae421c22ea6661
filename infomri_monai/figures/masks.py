"""Figure: the masks and probabilities of a sampling policy over ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from infomri_monai.acquisition.symmetry import redundancy_ratio
from infomri_monai.figures.acceleration import acceleration_text
from infomri_monai.figures.style import SEQUENTIAL, styled, tidy_axes
from infomri_monai.sampling.policy import SamplingPolicy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["entropy_text", "mask_figure"]


def _plane(pattern: Tensor, shape: Sequence[int]) -> np.ndarray:
    """A mask (1, *positions) as a picture; whole lines are drawn along their read-out axis."""
    return pattern[0].expand(tuple(shape)).cpu().numpy()


def entropy_text(entropy: Callable[[Tensor], Tensor], mask: Tensor) -> str:
    """The entropy of what a mask (1, 1, *positions) measures, in words.

    Example:
        >>> entropy_text(lambda mask: -mask.flatten(1).sum(1), torch.ones(1, 1, 4, 4))
        'Ĥ −16 nats'
    """
    with torch.no_grad():
        nats = f"{float(entropy(mask)[0]):.4g}"
    return f"\u0124 {nats.replace('-', chr(0x2212))} nats"


def mask_figure(
    policy: SamplingPolicy,
    ratios: Sequence[float],
    shape: Sequence[int],
    generator: torch.Generator | None = None,
    title: str | None = None,
    entropy: Callable[[Tensor], Tensor] | None = None,
) -> Figure:
    """One column per ratio: a drawn mask above, the policy's probabilities below.

    Args:
        policy: any sampling policy in 2D or over Cartesian lines.
        ratios: sampling ratios, in (0, 1].
        shape: the grid, two axes; DC is in the middle.
        generator: source of the masks' randomness.
        title: heading; None names the policy's class.
        entropy: Ĥ(Y|m) in nats of masks (1, 1, H, W), or of size 1 along the read-out axis, e.g. a
            :class:`~infomri_monai.information.MarginalEntropy`; None leaves it out.

    Returns:
        A matplotlib figure. Above each mask: ratio asked for and acceleration; below: realised and redundancy ratio (43),
        and Ĥ (37).

    Raises:
        ValueError: if ``shape`` has not two axes, or as the policy says of ratios and grid.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> figure = mask_figure(PatternGenerationNetwork((32, 32)), [0.125, 0.25], (32, 32))
        >>> len(figure.axes)  # two columns of two, and a colour bar
        5
    """
    if len(shape) != 2:
        raise ValueError(f"shape must have two axes to be drawn, got {tuple(shape)}.")
    with torch.no_grad():
        sample = policy(list(ratios), shape, generator)
    probabilities = sample.probabilities.detach()
    redundancy = redundancy_ratio(sample.mask[:, 0])
    height = 2 * 1.9 * max(0.5, min(2.0, shape[0] / shape[1])) + (1.1 if entropy is None else 1.25)
    with styled(2, len(ratios), max(4.0, 1.9 * len(ratios) + 0.9), height) as (figure, axes):
        figure.suptitle(title or type(policy).__name__, fontsize=11, fontweight="bold")
        for i, ratio in enumerate(ratios):
            top, bottom = axes[:, i]
            top.imshow(_plane(sample.mask[i], shape), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            heat = bottom.imshow(
                _plane(probabilities[i], shape), cmap=SEQUENTIAL, vmin=0, vmax=1, interpolation="nearest"
            )
            top.set_title(f"ratio {ratio:.4g}  ({acceleration_text(ratio)})")
            below = f"realised {float(sample.ratio[i]):.4f}, redundancy {float(redundancy[i]):.2f}"
            if entropy is not None:
                below += f"\n{entropy_text(entropy, sample.mask[i : i + 1])}"
            top.set_xlabel(below, fontsize=7.5)
            tidy_axes(top)
            tidy_axes(bottom)
        axes[0, 0].set_ylabel("mask")
        axes[1, 0].set_ylabel("probability")
        figure.colorbar(heat, ax=axes[1, :].tolist(), shrink=0.85, pad=0.02, aspect=15)
    return figure
