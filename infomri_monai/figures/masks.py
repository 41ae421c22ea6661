"""Figures of k-space: a policy's masks and probabilities, by ratio or by weight of the entropy, and where entropy is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.utils import optional_import
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.acquisition.symmetry import redundancy_ratio
from infomri_monai.arrays import takes
from infomri_monai.figures.segmentations import draw_mask
from infomri_monai.figures.style import (
    PROBABILITY_TICKS,
    SEQUENTIAL,
    acceleration_text,
    power_of_ten,
    probability_scale,
    styled,
)
from infomri_monai.sampling.policy import MaskSample, SamplingPolicy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["beta_mask_figure", "entropy_map_figure", "entropy_text", "mask_figure"]


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
    with styled(2, len(ratios), max(4.0, 1.9 * len(ratios) + 0.9), height, title or type(policy).__name__) as (
        figure,
        axes,
    ):
        for i, ratio in enumerate(ratios):
            top, bottom = axes[:, i]
            draw_mask(top, sample.mask[i, 0], shape)
            heat = draw_mask(bottom, probabilities[i, 0], shape, cmap=SEQUENTIAL, vmin=0, vmax=1)
            top.set_title(f"ratio {ratio:.4g}  ({acceleration_text(ratio)})")
            below = f"realised {float(sample.ratio[i]):.4f}, redundancy {float(redundancy[i]):.2f}"
            if entropy is not None:
                below += f"\n{entropy_text(entropy, sample.mask[i : i + 1])}"
            top.set_xlabel(below, fontsize=7.5)
        axes[0, 0].set_ylabel("mask")
        axes[1, 0].set_ylabel("probability")
        figure.colorbar(heat, ax=axes[1, :].tolist(), shrink=0.85, pad=0.02, aspect=15)
    return figure


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
    samples = [_draw_column(policy, ratios, shape, seed) for policy in policies.values()]
    aspect = max(0.5, min(2.0, shape[0] / shape[1]))
    height = (2 * 1.5 * aspect + 0.35) * len(ratios) + (0.65 if title else 0.35)
    with styled(2 * len(ratios), len(policies), max(3.4, 1.55 * len(policies) + 1.2), height, title=title) as (
        figure,
        axes,
    ):
        for column, (head, sample) in enumerate(zip(heads, samples, strict=True)):
            for row in range(len(ratios)):
                upper, lower = axes[2 * row : 2 * row + 2, column]
                draw_mask(upper, sample.mask[row, 0], shape)
                upper.set_xlabel(_caption(sample.mask[row : row + 1], entropy), fontsize=7.5)
                heat = draw_mask(lower, sample.probabilities[row, 0], shape, cmap=SEQUENTIAL, norm=probability_scale())
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
def _draw_column(policy: SamplingPolicy, ratios: Sequence[float], shape: Sequence[int], seed: int) -> MaskSample:
    parameters = list(policy.parameters())
    generator = torch.Generator(parameters[0].device if parameters else "cpu").manual_seed(seed)
    return policy(list(ratios), shape, generator)


def _caption(mask: Tensor, entropy: Callable[[Tensor], Tensor] | None) -> str:
    redundancy = f"RR {float(redundancy_ratio(mask[0, 0])):.2f}"
    return redundancy if entropy is None else f"{redundancy}, {entropy_text(entropy, mask)}"


#: cycles per pixel
_TICKS = (-0.4, -0.2, 0.0, 0.2, 0.4)


@takes(position_entropy="real", pair_entropy="real")
def entropy_map_figure(
    position_entropy: Tensor,
    pair_entropy: Tensor,
    probabilities: Mapping[float | str, Tensor] | None = None,
    title: str | None = None,
) -> Figure:
    """Entropy H_i of every position, what a position saves when its partner is measured too, and sampling probabilities.

    The saving is H_i - 1/2 H_{i,-i}, half the mutual information of the two samples: 0 where there is no signal and at positions
    that are their own partner. Its colour scale is logarithmic (linear below a thousandth of the maximum at most). H_i is itself
    the logarithm of a variance, so that its scale in nats is linear. That of probabilities goes by their square root.

    Args:
        position_entropy: H_i in nats, shape (H, W), DC in the middle; e.g.
            :meth:`MarginalEntropy.position_entropy() <infomri_monai.information.MarginalEntropy.position_entropy>`.
        pair_entropy: 1/2 H_{i,-i} in nats, of the same shape; H_i where a position is its own partner.
        probabilities: ratio, or a name -> probabilities of the positions in [0, 1], shape (..., H, W) with leading axes of size 1;
            size 1 along a read-out axis broadcasts. None draws the entropies alone.
        title: heading.

    Returns:
        A matplotlib figure of two panels and one for each of ``probabilities``; axes in cycles per pixel.

    Raises:
        ValueError: if the entropies are not two finite maps of one shape, or probabilities do not fit them or are outside [0, 1].
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> import torch
        >>> from infomri_monai.information import MarginalEntropy
        >>> entropy = MarginalEntropy(torch.rand(16, 16), torch.rand(16, 16), noise_std=0.1)
        >>> learned = {0.25: torch.full((16, 16), 0.25)}
        >>> figure = entropy_map_figure(entropy.position_entropy(), entropy.pair_entropy(), learned)
        >>> [axes.get_title() for axes in figure.axes[:3]]
        ['entropy of a position', 'saved by a pair', 'probability, 4×']
    """
    entropy, half_pair = (np.asarray(each.detach().double().cpu()) for each in (position_entropy, pair_entropy))
    if entropy.ndim != 2 or entropy.shape != half_pair.shape or not np.isfinite([entropy, half_pair]).all():
        raise ValueError(
            "position_entropy and pair_entropy must be two finite maps of one shape (H, W), got "
            f"{tuple(position_entropy.shape)} and {tuple(pair_entropy.shape)}."
        )
    learned = {_name(name): _entropy_plane(name, p, entropy.shape) for name, p in (probabilities or {}).items()}
    saved = (entropy - half_pair).clip(min=0.0)  # below 0 by rounding only
    panels: list[tuple[str, NDArray[Any], dict[str, Any], dict[str, Any]]] = [
        ("entropy of a position", entropy, {}, {"label": "$H_i$ [nats]"}),
        ("saved by a pair", saved, *_saving_scale(saved)),
        *(
            (name, p, {"norm": probability_scale()}, {"ticks": PROBABILITY_TICKS, "format": "{x:g}"})
            for name, p in learned.items()
        ),
    ]
    columns = len(panels) if len(panels) <= 4 else min(4, -(-len(panels) // 2))
    rows = -(-len(panels) // columns)
    aspect = max(0.5, min(2.0, entropy.shape[0] / entropy.shape[1]))
    with styled(
        rows, columns, 2.9 * columns + 0.3, rows * (1.75 * aspect + 0.75) + (0.3 if title else 0.0), title=title
    ) as (figure, grid):
        for axes, (name, picture, scale, bar) in zip(grid.flat, panels, strict=False):
            _draw_entropy(figure, axes, picture, name, scale, bar)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("$k_1$ [cycles/pixel]")
    return figure


def _draw_entropy(
    figure: Figure, axes: Any, picture: NDArray[Any], name: str, scale: dict[str, Any], bar: dict[str, Any]
) -> None:
    """A map over k-space with its colour bar."""
    (top, bottom), (left, right) = (_ends(n) for n in picture.shape)
    heat = axes.imshow(picture, cmap=SEQUENTIAL, interpolation="nearest", extent=(left, right, bottom, top), **scale)
    axes.set(title=name, xlabel="$k_2$ [cycles/pixel]", xticks=_TICKS, yticks=_TICKS)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.grid(False)
    figure.colorbar(heat, ax=axes, shrink=0.85, pad=0.03, aspect=18, **bar).ax.tick_params(labelsize=8)


def _saving_scale(saved: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A logarithmic scale that begins near the smallest values, for the picture, and its ticks, for the bar."""
    highest = float(saved.max()) or 1.0
    lowest = min(max(1e-3 * highest, float(np.quantile(saved[saved > 0], 0.01)) if saved.any() else 0.0), highest / 3)
    symlog, _ = optional_import("matplotlib.colors", name="SymLogNorm")
    powers = range(math.floor(math.log10(lowest)), math.floor(math.log10(highest)) + 1)
    ticks = [0.0, *(t for power in powers for t in (10.0**power, 3 * 10.0**power) if lowest <= t <= highest)]
    norm = symlog(lowest, linscale=0.4, vmin=0.0, vmax=highest)
    return {"norm": norm}, {"label": r"$H_i - \frac{1}{2} H_{i,-i}$ [nats]", "ticks": ticks, "format": "{x:g}"}


def _ends(n: int) -> tuple[float, float]:
    """Edges of an axis of n positions in cycles per pixel; DC is the middle of the pixel n // 2."""
    return (-(n // 2) - 0.5) / n, (n - n // 2 - 0.5) / n


def _name(name: float | str) -> str:
    return f"probability, {name if isinstance(name, str) else acceleration_text(name)}"


def _entropy_plane(name: float | str, probabilities: Tensor, shape: tuple[int, ...]) -> NDArray[Any]:
    """Probabilities on the grid."""
    p = probabilities.detach().float().cpu()
    fits = p.ndim >= 2 and all(n in (1, full) for n, full in zip(p.shape[-2:], shape, strict=True))
    if not fits or p[..., :, :].shape[:-2].numel() != 1:
        raise ValueError(
            f"probabilities[{name!r}] must have shape {shape} or be of size 1 along an axis, got {tuple(p.shape)}."
        )
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError(f"probabilities[{name!r}] must lie in [0, 1], got {p.min():.4g} to {p.max():.4g}.")
    return p.reshape(p.shape[-2:]).expand(shape).numpy()
