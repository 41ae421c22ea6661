"""Figures of privacy: the plane of privacy and utility, and what attackers reconstruct from a measurement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from monai.utils import optional_import
from torch import Tensor

from infomri_monai.arrays import as_numbers
from infomri_monai.figures.style import PALETTE, acceleration_text, label_points, power_of_ten, styled, tidy_axes
from infomri_monai.metrics.image_quality import psnr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AttackExample", "PrivacyPoint", "attack_figure", "privacy_utility_figure"]

_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: in a panel of more points only the learned ones are labelled
_CROWD = 24


class PrivacyPoint(NamedTuple):
    """One method at one sampling ratio, trained with one weight of the entropy.

    Attributes:
        method: name of the method.
        ratio: sampling ratio, in (0, 1].
        beta: weight of the entropy, <= 0; None of a method that has none (a comparator).
        performance: of the task, one value per seed.
        psnr: of the attacker's reconstructions in dB, one value per seed.
    """

    method: str
    ratio: float
    beta: float | None
    performance: Sequence[float]
    psnr: Sequence[float]


def privacy_utility_figure(
    attackers: Mapping[str, Sequence[PrivacyPoint]], quantity: str = "accuracy", title: str | None = None
) -> Figure:
    """One panel per attacker; more private is to the right, more useful is up.

    A method's points of one ratio are joined in the order of beta and labelled with |beta|; a comparator is a hollow marker.
    Colour and line tell the acceleration, the marker tells the method. Bars are one standard deviation (n - 1) over seeds.

    Args:
        attackers: name of the attacker -> what it and the task reached.
        quantity: label of the vertical axis: name, unit, convention.
        title: heading.

    Returns:
        A matplotlib figure; the horizontal axis is reversed and shared by all panels.

    Raises:
        ValueError: if there is no attacker or point, a point has no seed or not as many of both values, a value is not finite, a
            ratio is outside (0, 1], a beta is positive or not finite, or a method has one beta and ratio twice.
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> learned = [PrivacyPoint("InfoMRI", 0.25, b, [0.98, 0.97], [p, p + 1]) for b, p in ((0, 24), (-1e-4, 18))]
        >>> fixed = PrivacyPoint("uniform random", 0.25, None, [0.95, 0.94], [22.0, 22.4])
        >>> figure = privacy_utility_figure({"U-Net": [*learned, fixed]})
        >>> bool(figure.axes[0].xaxis_inverted()), [text.get_text() for text in figure.axes[0].texts[:2]]
        (True, ['0', '$10^{-4}$'])
    """
    _check(attackers)
    points = [point for own in attackers.values() for point in own]
    ratios = sorted({point.ratio for point in points}, reverse=True)
    methods = dict.fromkeys(point.method for point in sorted(points, key=lambda point: point.beta is None))
    limits = _limits([point.psnr for point in points])[::-1], _limits([point.performance for point in points])
    width = 4.6 * len(attackers) if len(attackers) > 1 else 6.0
    with styled(1, len(attackers), width, 4.6 + (0.3 if title else 0.0), title=title) as (figure, grid):
        for axes, (name, own) in zip(grid[0], attackers.items(), strict=True):
            axes.set(xlim=limits[0], ylim=limits[1], title=name if len(attackers) > 1 else "")
            for (i, ratio), (j, method) in product(enumerate(ratios), enumerate(methods)):
                shown = [point for point in own if (point.ratio, point.method) == (ratio, method)]
                _draw(axes, shown, PALETTE[i % len(PALETTE)], _LINES[i % len(_LINES)], _MARKERS[j % len(_MARKERS)])
            axes.set_xlabel(
                f"PSNR of the attacker{'' if len(attackers) > 1 else f' ({name})'} [dB]\nmore private \u2192"
            )
        figure.canvas.draw()  # the layout, on which the labels' places depend
        for axes, own in zip(grid[0], attackers.values(), strict=True):
            _label(axes, own, ratios)
        grid[0, 0].set_ylabel(f"{quantity}\nmore useful \u2192" if quantity else "more useful \u2192")
        _add_legend(figure, ratios, list(methods), points)
    return figure


def _draw(axes: Any, points: Sequence[PrivacyPoint], colour: str, line: str, marker: str) -> None:
    """One method at one ratio: its curve over beta, and its points without beta."""
    curve = sorted((p for p in points if p.beta is not None), key=lambda p: -(p.beta or 0.0))
    single = [p for p in points if p.beta is None]
    bars = {"color": colour, "marker": marker, "capsize": 2.5, "elinewidth": 0.9, "capthick": 0.9}
    for own, look in ((curve, {"linestyle": line, "zorder": 20}), (single, {"linestyle": "none", "zorder": 15})):
        if own:
            x, y = [mean(p.psnr) for p in own], [mean(p.performance) for p in own]
            look |= (
                {"markersize": 6, "linewidth": 1.6} if own is curve else {"markersize": 7.5, "markerfacecolor": "white"}
            )
            spread = {"xerr": [_spread(p.psnr) for p in own], "yerr": [_spread(p.performance) for p in own]}
            axes.errorbar(x, y, **spread, **bars, **look)


def _label(axes: Any, points: Sequence[PrivacyPoint], ratios: Sequence[float]) -> None:
    """|beta| beside every point that has one; the acceleration beside the others, if there are several and room for it."""
    labels: list[tuple[float, float, str, str]] = []
    curves: dict[tuple[str, float, bool], list[tuple[float, float]]] = {}
    for p in sorted(points, key=lambda p: (p.beta is None, -(p.beta or 0.0))):
        place = mean(p.psnr), mean(p.performance)
        text = power_of_ten(abs(p.beta)) if p.beta is not None else acceleration_text(p.ratio)
        curves.setdefault((p.method, p.ratio, p.beta is None), []).append(place)
        if p.beta is not None or (len(ratios) > 1 and len(points) <= _CROWD):
            labels.append((*place, text, PALETTE[ratios.index(p.ratio) % len(PALETTE)]))
    label_points(axes, labels, list(curves.values()))


def _add_legend(
    figure: Figure, ratios: Sequence[float], methods: Sequence[str], points: Sequence[PrivacyPoint]
) -> None:
    """Colours of the accelerations, markers of the methods, how many seeds there are."""
    line, _ = optional_import("matplotlib.lines", name="Line2D")
    with_beta = {point.method for point in points if point.beta is not None}
    handles = [
        line([], [], color=PALETTE[i % len(PALETTE)], linestyle=_LINES[i % len(_LINES)], label=acceleration_text(ratio))
        for i, ratio in enumerate(ratios)
    ]
    for j, method in enumerate(methods):
        curve = method in with_beta
        face = "#404040" if curve else "white"
        look = {"marker": _MARKERS[j % len(_MARKERS)], "markersize": 6.5, "markerfacecolor": face, "color": "#404040"}
        handles.append(
            line([], [], linestyle="none", label=f"{method}, |\u03b2| as labelled" if curve else method, **look)
        )
    seeds = sorted({len(point.psnr) for point in points})
    many = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    note = f"mean \u00b1 standard deviation over {many} seeds" if seeds[-1] > 1 else "one seed"
    columns = min(len(handles), 3 if len(figure.axes) == 1 else 5)
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=note)
    legend.get_title().set_fontsize(8)


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _limits(values: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Ends of an axis that shows all bars, with room for labels."""
    ends = [mean(v) + sign * _spread(v) for v in values for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    margin = 0.1 * (high - low) or 0.05 * abs(high) or 0.1
    return low - margin, high + margin


def _check(attackers: Mapping[str, Sequence[PrivacyPoint]]) -> None:
    if not attackers:
        raise ValueError("attackers is empty; give at least one attacker.")
    for name, points in attackers.items():
        if not points:
            raise ValueError(f"attackers[{name!r}] is empty; give at least one point.")
        for p in points:
            where = f"{p.method!r} of attackers[{name!r}] at ratio {p.ratio}"
            if not 0 < p.ratio <= 1:
                raise ValueError(f"ratio must lie in (0, 1], got {p.ratio} of {p.method!r} in attackers[{name!r}].")
            if p.beta is not None and not -math.inf < p.beta <= 0:
                raise ValueError(f"beta must be finite and at most 0, or None, got {p.beta} of {where}.")
            if not len(p.performance) == len(p.psnr) > 0:
                raise ValueError(
                    f"performance and psnr need one value per seed, got {len(p.performance)} and {len(p.psnr)} of {where}."
                )
            if not all(math.isfinite(v) for v in (*p.performance, *p.psnr)):
                raise ValueError(f"performance and psnr must be finite, got {p.performance} and {p.psnr} of {where}.")
        keys = [(p.method, p.ratio, p.beta) for p in points]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(
                f"attackers[{name!r}] has (method, ratio, beta) = {twice[0]} twice; give all its seeds in one point."
            )


class AttackExample(NamedTuple):
    """One measurement and what was made of it; images are real or complex, (H, W).

    Attributes:
        label: said at the row's left, e.g. ``"ratio 0.25, median image"``.
        truth: the fully sampled image.
        zero_filled: the measurement transformed back.
        reconstructions: attacker -> its reconstruction, the same attackers in every row.
    """

    label: str
    truth: Tensor
    zero_filled: Tensor
    reconstructions: Mapping[str, Tensor]


def attack_figure(examples: Sequence[AttackExample], title: str | None = None) -> Figure:
    """One row per measurement: truth, zero-filled image, every attacker's reconstruction.

    All images of a row share one grey scale, from 0 to the truth's maximum.

    Args:
        examples: the rows.
        title: heading.

    Returns:
        A matplotlib figure; the PSNRs are of magnitudes, per slice, data range = the slice's maximum.

    Raises:
        ValueError: if there is no row, rows have different attackers, or an image has not the truth's shape (H, W).
        ImportError: if matplotlib (extra ``figures``) is not installed.

    Example:
        >>> import torch
        >>> truth = torch.rand(16, 16)
        >>> example = AttackExample("ratio 0.25", truth, 0.5 * truth, {"unet": 0.9 * truth})
        >>> len(attack_figure([example, example]).axes)
        6
    """
    examples = [
        AttackExample(
            one.label,
            as_numbers(one.truth, "truth"),
            as_numbers(one.zero_filled, "zero_filled"),
            {name: as_numbers(image, f"reconstructions[{name!r}]") for name, image in one.reconstructions.items()},
        )
        for one in examples
    ]
    _check_attack(examples)
    attackers = list(examples[0].reconstructions)
    rows, columns = len(examples), 2 + len(attackers)
    height, width = examples[0].truth.shape
    size = (1.75 * columns + 0.4, (1.75 * height / width + 0.25) * rows + (0.4 if title else 0.1))
    with styled(rows, columns, *size, title=title) as (figure, axes):
        for row, example in zip(axes, examples, strict=True):
            _draw_row(row, example)
    return figure


def _draw_row(axes: Any, example: AttackExample) -> None:
    """Draw the panels of one measurement."""
    truth = example.truth.detach().cpu()
    window = {"cmap": "gray", "vmin": 0.0, "vmax": float(truth.abs().max()) or 1.0, "interpolation": "nearest"}
    panels = {"zero-filled": example.zero_filled, **example.reconstructions}
    axes[0].imshow(truth.abs().numpy(), **window)
    axes[0].set_title("truth")
    axes[0].set_ylabel(example.label)
    for panel, (name, image) in zip(axes[1:], panels.items(), strict=True):
        shown = image.detach().cpu().abs()
        quality = float(psnr(shown[None, None], truth[None, None]))
        panel.imshow(shown.numpy(), **window)
        panel.set_title(f"{name}, {quality:.2f} dB")
    for panel in axes:
        tidy_axes(panel)


def _check_attack(examples: Sequence[AttackExample]) -> None:
    if not examples:
        raise ValueError("examples is empty; give at least one measurement.")
    for example in examples:
        if list(example.reconstructions) != list(examples[0].reconstructions):
            raise ValueError(
                f"every row must have the same attackers, got {list(examples[0].reconstructions)} and "
                f"{list(example.reconstructions)}."
            )
        shapes = [tuple(image.shape) for image in (example.zero_filled, *example.reconstructions.values())]
        if example.truth.ndim != 2 or any(shape != tuple(example.truth.shape) for shape in shapes):
            raise ValueError(
                f"images must have the truth's shape (H, W), got {tuple(example.truth.shape)} and {shapes}."
            )
