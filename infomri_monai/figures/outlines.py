"""Structures drawn as outlines over an image, one colour each, and the part of the image that they fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.metrics.structure_names import structure_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["STRUCTURE_COLOURS", "add_structure_legend", "check_structures", "draw_outlines", "window"]

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
