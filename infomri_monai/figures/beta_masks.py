"""Figure: masks and probabilities of policies that were trained with different weights of the entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from infomri_monai.acquisition.symmetry import redundancy_ratio
from infomri_monai.figures.acceleration import acceleration_text
from infomri_monai.figures.labels import power_of_ten
from infomri_monai.figures.masks import entropy_text
from infomri_monai.figures.segmented_case import draw_mask
from infomri_monai.figures.style import PROBABILITY_TICKS, SEQUENTIAL, probability_scale, styled, tidy_axes
from infomri_monai.sampling.policy import MaskSample, SamplingPolicy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["beta_mask_figure"]


def beta_mask_figure(
    policies: Mapping[float | str, SamplingPolicy],
    ratios: Sequence[float],
    shape: Sequence[int],
    entropy: Callable[[Tensor], Tensor] | None = None,
    *,
    seed: int = 0,
    title: str | None = None,
) -> Figure:
    """One column per policy and two rows per ratio: a drawn mask and, below it, the probabilities.

    All policies draw from the same random numbers, so that masks differ by their policies alone. The colour scale is that of the
    square root, so that the small probabilities of a high acceleration can be told apart.

    Args:
        policies: beta (<= 0), or the name of a policy that has none -> the policy, in 2D or over Cartesian lines. In the order
            of the columns.
        ratios: sampling ratios, in (0, 1].
        shape: the grid, two axes; DC is in the middle.
        entropy: Ĥ(Y|m) in nats of masks (1, 1, H, W), or of size 1 along the read-out axis, e.g. a
            :class:`~infomri_monai.information.MarginalEntropy`; None leaves it out.
        seed: of the masks.
        title: heading.

    Returns:
        A matplotlib figure; below each mask stand its redundancy ratio RR (43) and Ĥ (37).

    Raises:
        ValueError: if there is no policy, a beta is positive or not finite, ``shape`` has not two axes, or as the policies say of
            ratios and grid.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom
        >>> policies = {0.0: PatternGenerationNetwork((16, 16)), "uniform random": UniformRandom()}
        >>> figure = beta_mask_figure(policies, [0.125, 0.25], (16, 16))
        >>> [axes.get_title() for axes in figure.axes[:2]], len(figure.axes)  # two columns of four, and a colour bar
        (['β = 0', 'uniform random'], 9)
    """
    if not policies:
        raise ValueError("policies is empty; give at least one policy.")
    if len(shape) != 2:
        raise ValueError(f"shape must have two axes to be drawn, got {tuple(shape)}.")
    heads = [_head(name) for name in policies]
    samples = [_draw(policy, ratios, shape, seed) for policy in policies.values()]
    aspect = max(0.5, min(2.0, shape[0] / shape[1]))
    height = (2 * 1.5 * aspect + 0.35) * len(ratios) + (0.65 if title else 0.35)
    with styled(2 * len(ratios), len(policies), max(3.4, 1.55 * len(policies) + 1.2), height) as (figure, axes):
        for column, (head, sample) in enumerate(zip(heads, samples, strict=True)):
            for row in range(len(ratios)):
                upper, lower = axes[2 * row : 2 * row + 2, column]
                draw_mask(upper, sample.mask[row, 0], shape)
                upper.set_xlabel(_caption(sample.mask[row : row + 1], entropy), fontsize=7.5)
                heat = _draw_probabilities(lower, sample.probabilities[row, 0], shape)
            axes[0, column].set_title(head)
        for row, ratio in enumerate(ratios):
            axes[2 * row, 0].set_ylabel(f"{acceleration_text(ratio)}: mask")
            axes[2 * row + 1, 0].set_ylabel("probability")
        bar = {
            "shrink": 0.7 / len(ratios) ** 0.5,
            "pad": 0.02,
            "aspect": 18,
            "ticks": PROBABILITY_TICKS,
            "format": "{x:g}",
        }
        figure.colorbar(heat, ax=axes.ravel().tolist(), label="probability", **bar)
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _head(name: float | str) -> str:
    """Title of a column."""
    if isinstance(name, str):
        return name
    if not -math.inf < name <= 0:
        raise ValueError(f"a beta in policies must be finite and at most 0, got {name}.")
    sign = "\u2212" if name else ""
    return f"\u03b2 = {sign}{power_of_ten(abs(name))}"


@torch.no_grad()
def _draw(policy: SamplingPolicy, ratios: Sequence[float], shape: Sequence[int], seed: int) -> MaskSample:
    parameters = list(policy.parameters())
    generator = torch.Generator(parameters[0].device if parameters else "cpu").manual_seed(seed)
    return policy(list(ratios), shape, generator)


def _caption(mask: Tensor, entropy: Callable[[Tensor], Tensor] | None) -> str:
    redundancy = f"RR {float(redundancy_ratio(mask[0, 0])):.2f}"
    return redundancy if entropy is None else f"{redundancy}, {entropy_text(entropy, mask)}"


def _draw_probabilities(axes: Any, probabilities: Tensor, shape: Sequence[int]) -> Any:
    plane = probabilities.detach().float().cpu().expand(tuple(shape)).numpy()
    heat = axes.imshow(plane, cmap=SEQUENTIAL, norm=probability_scale(), interpolation="nearest")
    tidy_axes(axes)
    return heat
