"""Figure: what came back from the PACS, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.deploy.demo.result import SegmentedSeries
from infomri_monai.figures.segmentations import STRUCTURE_COLOURS, draw_outlines
from infomri_monai.figures.style import SEQUENTIAL, styled, tidy_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["result_figure"]

SHOWN = 3
SCALE_BAR = 50  # mm


def result_figure(result: SegmentedSeries, masks: NDArray[np.bool_] | None = None) -> Figure:
    """Rows of slices: sampled k-space, source, the segmentation's outlines, probability of the largest structure, entropy.

    Args:
        result: of :func:`~infomri_monai.deploy.demo.result.read_result`.
        masks: sampled positions of k-space, (slices, rows, columns); None leaves them out.

    Returns:
        A matplotlib figure; nothing in it identifies the patient.

    Example:
        >>> volume, place = np.ones((2, 8, 8)), (np.zeros(2), (1.0, 1.0), ("R", "L", "A", "P"))
        >>> result = SegmentedSeries(volume, volume[None] > 0, volume[None], volume, ("brain",), *place, 4.0, "no review needed")
        >>> [axes.get_title() for axes in result_figure(result).axes[:4]]
        ['source (MR)', 'segmentation (SEG)', 'probability of brain', 'entropy, nats']
    """
    count, rows, columns = result.images.shape
    indices = sorted({round((count - 1) * (i + 1) / (SHOWN + 1)) for i in range(SHOWN)})
    largest = int(np.argmax(result.masks.sum(axis=(1, 2, 3))))
    highest = float(np.quantile(result.entropy[indices], 0.998)) or 1.0
    first = int(masks is not None)
    height = 2.05 * rows * result.pixel_spacing[0] / (columns * result.pixel_spacing[1])
    size = 2.15 * (4 + first) + 0.3, (height + 0.06) * len(indices) + 1.15
    with styled(len(indices), 4 + first, *size) as (figure, grid):
        for row, k in zip(grid, indices, strict=True):
            panels = _Panels(result, row[first:])
            if masks is not None:
                panels.draw_mask(row[0], masks[k])
            panels.draw(k, largest, highest)
            place = f"slice {k + 1} of {count}\n{result.positions[k]:+.0f} mm"
            row[0].set_ylabel(place.replace("-", "−"))
        titles = "source (MR)", "segmentation (SEG)", f"probability of {result.names[largest].lower()}", "entropy, nats"
        for axes, title in zip(grid[0], ("k-space sampled", *titles)[1 - first :], strict=True):
            axes.set_title(title)
        _scale_bar(grid[-1, first], result)
        _note(grid[-1, 0], result)
        _legend(grid[-1, first + 1], result.names)
        _bar(grid[-1, first + 2], (0, 0.5, 1))
        _bar(grid[-1, first + 3])
        figure.suptitle(f"Retrieved from the PACS – {result.triage}", fontsize=11, fontweight="bold")
    return figure


class _Panels:
    """The panels of a slice.

    Args:
        result: of all slices.
        row: four axes.
    """

    def __init__(self, result: SegmentedSeries, row: NDArray[Any]) -> None:
        self.result, self.row = result, row
        self.aspect = result.pixel_spacing[0] / result.pixel_spacing[1]

    def draw(self, k: int, structure: int, highest: float) -> None:
        """Source, outlines, probability of a structure, and entropy up to ``highest``, of slice ``k``."""
        source, outlined, probable, uncertain = self.row
        result = self.result
        white = float(np.quantile(result.images, 0.998)) or 1.0  # one for all slices
        for axes in (source, outlined):
            self._show(axes, result.images[k], "gray", white)
        draw_outlines(outlined, result.masks[:, k])
        self._show(probable, result.probabilities[structure, k], "cividis", 1.0)
        self._show(uncertain, result.entropy[k], SEQUENTIAL, highest)
        _letters(source, result.edges, "#F0E442")

    def draw_mask(self, axes: Any, mask: NDArray[np.bool_]) -> None:
        """Sampled positions of k-space, of the panels' size."""
        rows, columns = mask.shape
        self._show(axes, mask, "gray", 1.0, "auto")
        axes.set_box_aspect(rows * self.aspect / columns)
        _letters(axes, ("", "$k_x$", "", "$k_y$"), "white")

    def _show(self, axes: Any, picture: NDArray[Any], colours: str, highest: float, aspect: Any = None) -> None:
        axes.imshow(picture, cmap=colours, vmin=0, vmax=highest, interpolation="nearest", aspect=aspect or self.aspect)
        tidy_axes(axes)


def _note(axes: Any, result: SegmentedSeries) -> None:
    """What must not be overlooked, below a panel."""
    sampled = f"{result.acceleration:.1f}× undersampled"
    text = "\n".join(("k-space simulated,", sampled, "research software, not for clinical use"))
    axes.text(0, -0.05, text, transform=axes.transAxes, va="top", fontsize=8).set_in_layout(False)


def _bar(axes: Any, ticks: Sequence[float] | None = None) -> None:
    """A colour bar below a panel."""
    place = axes.inset_axes((0.05, -0.12, 0.9, 0.045))
    axes.figure.colorbar(axes.images[0], cax=place, orientation="horizontal", ticks=ticks)
    place.grid(False)
    if ticks:
        place.set_xticklabels([f"{tick:g}" for tick in ticks])


def _legend(axes: Any, names: Sequence[str]) -> None:
    """Which colour is which structure, below a panel."""
    line, _ = optional_import("matplotlib.lines", name="Line2D")
    colours = [STRUCTURE_COLOURS[i % len(STRUCTURE_COLOURS)] for i in range(len(names))]
    handles = [
        line([], [], color=colour, linewidth=2.2, label=name) for colour, name in zip(colours, names, strict=True)
    ]
    columns = 1 + (len(names) > 3)
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.03), ncols=columns, borderpad=0)


def _letters(axes: Any, edges: tuple[str, str, str, str], colour: str) -> None:
    """Letters at the left, right, upper and lower edge: the patient's sides, as on a viewer."""
    stroke, _ = optional_import("matplotlib.patheffects", name="withStroke")
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    for letter, (x, y) in zip(edges, places, strict=True):
        across = {0.02: "left", 0.98: "right"}.get(x, "center")
        along = {0.02: "bottom", 0.98: "top"}.get(y, "center")
        text = axes.text(x, y, letter, transform=axes.transAxes, ha=across, va=along, color=colour, fontsize=9)
        text.set_path_effects([stroke(linewidth=2, foreground="black")])


def _scale_bar(axes: Any, result: SegmentedSeries) -> None:
    """A bar of ``SCALE_BAR`` in the lower right corner."""
    rows, columns = result.images.shape[1:]
    length = SCALE_BAR / result.pixel_spacing[1]
    x, y = 0.96 * columns - length, 0.95 * rows
    axes.plot([x, x + length], [y, y], color="white", linewidth=1.5)
    axes.text(x + length / 2, y - 0.02 * rows, f"{SCALE_BAR} mm", color="white", ha="center", va="bottom", fontsize=8)
