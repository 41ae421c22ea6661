"""Figure: where in k-space the entropy is, what a redundant pair saves, and what a policy made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.figures.acceleration import acceleration_text
from infomri_monai.figures.style import PROBABILITY_TICKS, SEQUENTIAL, probability_scale, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["entropy_map_figure"]

#: cycles per pixel
_TICKS = (-0.4, -0.2, 0.0, 0.2, 0.4)


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
    learned = {_name(name): _plane(name, p, entropy.shape) for name, p in (probabilities or {}).items()}
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
    with styled(rows, columns, 2.9 * columns + 0.3, rows * (1.75 * aspect + 0.75) + (0.3 if title else 0.0)) as (
        figure,
        grid,
    ):
        for axes, (name, picture, scale, bar) in zip(grid.flat, panels, strict=False):
            _draw(figure, axes, picture, name, scale, bar)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("$k_1$ [cycles/pixel]")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _draw(
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


def _plane(name: float | str, probabilities: Tensor, shape: tuple[int, ...]) -> NDArray[Any]:
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
