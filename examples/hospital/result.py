"""A segmentation as it came back from the PACS: DICOM objects read by their references, and their picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import highdicom
import numpy as np
import torch
import yaml
from highdicom.seg import Segmentation
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from pydicom import Dataset

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.data.dicom.series import SeriesCandidate
from infomri_monai.deploy import segmentation
from infomri_monai.deploy.bundle import DeployBundle
from infomri_monai.deploy.case import CaseSource, DeployError
from infomri_monai.deploy.dicom.geometry import RAS_TO_LPS
from infomri_monai.deploy.dicom.series import read_case
from infomri_monai.deploy.logs import guarded
from infomri_monai.engines.case import SimulatedSlices
from infomri_monai.figures.segmentations import STRUCTURE_COLOURS, draw_outlines
from infomri_monai.figures.style import SEQUENTIAL, styled, tidy_axes

__all__ = ["ResultObjects", "SegmentedSeries", "drawn_masks", "read_result", "recognised", "result_figure"]

SHOWN = 3
SCALE_BAR = 50  # mm


class ResultObjects(NamedTuple):
    """DICOM objects of a segmentation.

    Attributes:
        segmentation: binary.
        probability: fractional segmentation.
        entropy: parametric map.
        report: structured report of the triage.
    """

    segmentation: Dataset
    probability: Dataset
    entropy: Dataset
    report: Dataset


class SegmentedSeries(NamedTuple):
    """A series and what was said of it; slices in the order of their position along the normal, rows and columns as stored.

    Attributes:
        images: in the series' units, float32, (slices, rows, columns).
        masks: bool, (structures, slices, rows, columns).
        probabilities: in [0, 1], same shape.
        entropy: nats, (slices, rows, columns).
        names: of the structures.
        positions: of the slices' centres along the normal, mm, (slices,).
        pixel_spacing: distance of rows, distance of columns, mm.
        edges: letters of the patient's sides at the left, right, upper and lower edge, e.g. "R", "L", "A", "P".
        acceleration: as the report says.
        triage: the decision in one line.
    """

    images: NDArray[np.float32]
    masks: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    entropy: NDArray[np.float64]
    names: tuple[str, ...]
    positions: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    edges: tuple[str, str, str, str]
    acceleration: float
    triage: str


def recognised(datasets: Sequence[Dataset]) -> ResultObjects:
    """Tell the objects of one segmentation from one another and from images.

    Raises:
        DeployError: if there is not one of each.
    """
    kinds = [str(dataset.get("SegmentationType", "")) for dataset in datasets]
    fitting = {
        "binary segmentation": [d for d, kind in zip(datasets, kinds, strict=True) if kind == "BINARY"],
        "fractional segmentation": [d for d, kind in zip(datasets, kinds, strict=True) if kind == "FRACTIONAL"],
        "map of the entropy": [d for d in datasets if d.get("ContentLabel") == "ENTROPY"],
        "structured report": [d for d in datasets if d.Modality == "SR"],
    }
    for what, found in fitting.items():
        if len(found) != 1:
            raise DeployError(f"there must be one {what}, found {len(found)}.")
    return ResultObjects(*(found[0] for found in fitting.values()))


def read_result(series: SeriesCandidate, objects: ResultObjects) -> SegmentedSeries:
    """Read the objects with highdicom, frame by frame of the slices that they refer to.

    Args:
        series: the source, of a scan.
        objects: with their pixels.

    Raises:
        DeployError: if the series or an object cannot be read.
    """
    case = read_case(series)
    with guarded("reading the results"):
        segments = objects.segmentation.SegmentSequence
        masks, probabilities = (
            _pixels(Segmentation.from_dataset(each), case.source, assert_missing_frames_are_empty=True)
            for each in (objects.segmentation, objects.probability)
        )
        entropy = _pixels(highdicom.Image.from_dataset(objects.entropy), case.source)
        agreement, acceleration, review = (
            _answer(objects.report, code) for code in ("AGREEMENT", "ACCELERATION", "REVIEW")
        )
        names = tuple(str(segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) for segment in segments)
    lps = np.diag([*np.diag(RAS_TO_LPS), 1.0]) @ case.affine
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    count = case.data.shape[-1]
    centres = lps[:3, :3] @ ((np.array(case.data.shape[1:3]) - 1) / 2 @ np.eye(2, 3)) + lps[:3, 3]
    return SegmentedSeries(
        images=case.data[0].permute(2, 1, 0).numpy(),
        masks=np.moveaxis(masks, -1, 0) > 0,
        probabilities=np.moveaxis(probabilities, -1, 0),
        entropy=entropy,
        names=names,
        positions=centres @ lps[:3, 2] / steps[2] + steps[2] * np.arange(count),
        pixel_spacing=(float(steps[1]), float(steps[0])),
        edges=_edges(lps),
        acceleration=float(acceleration),
        triage=_triage(review, agreement),
    )


def _pixels(image: Any, source: CaseSource, **options: Any) -> NDArray[Any]:
    """Frames of an object, one for every slice of the source, found by what they refer to."""
    uids = [str(instance.SOPInstanceUID) for instance in source.instances]
    if source.frames:
        return np.asarray(image.get_pixels_by_source_frame(uids[0], list(source.frames), **options))
    return np.asarray(image.get_pixels_by_source_instance(uids, **options))


def _edges(affine: NDArray[np.float64]) -> tuple[str, str, str, str]:
    """Letters of the patient's sides at the edges of a slice."""
    columns, rows, _ = highdicom.spatial.get_closest_patient_orientation(affine)
    opposite = highdicom.spatial.PATIENT_ORIENTATION_OPPOSITES
    return opposite[columns].value, columns.value, opposite[rows].value, rows.value


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _items(child)


def _answer(report: Dataset, code: str) -> Any:
    """What a report says to one of our codes: a number, or the words of a code; NaN if nothing."""
    for item in _items(report):
        concepts = item.get("ConceptNameCodeSequence")
        if concepts and concepts[0].get("CodeValue") == code:
            if item.ValueType == "NUM":
                return float(item.MeasuredValueSequence[0].NumericValue)
            return str(item.ConceptCodeSequence[0].CodeMeaning)
    return float("nan")


def _triage(review: str, agreement: float) -> str:
    """The decision in words."""
    said = {"Yes": "a person must review the segmentation", "No": "the segmentation needs no review"}.get(
        review, "not decided"
    )
    return f"triage: {said}; agreement of the samples {agreement:.2f}"


def drawn_masks(models: Path, slices: int, rows: int, columns: int) -> NDArray[np.bool_] | None:
    """The masks of the segmentation application with its own ``app.yaml``: a draw depends on ratio, seed and slice alone.

    Args:
        models: bundle of a segmentation.
        slices: number of slices of the MR series.
        rows: of a slice.
        columns: of a slice.

    Returns:
        Measured or not, DC at ``n // 2``, (slices, rows, columns); None where the settings do not say how to draw.

    Example:
        >>> drawn_masks(Path("bundles/infomri_segmentation"), 2, 64, 48).mean().round(3)
        np.float64(0.125)
    """
    folder = Path(str(segmentation.__path__[0]))
    settings = yaml.safe_load((folder / "app.yaml").read_text(encoding="utf-8")).get("bundle") or {}
    if not {"ratio", "seed"} <= settings.keys() or settings.get("grid_mode", "adapt") != "adapt":
        return None
    bundle = DeployBundle(models, "segmentation", settings)
    grid = (rows, columns) if bundle.swap_axes else (columns, rows)
    images = torch.zeros(slices, 1, *grid)
    ratio, seed = float(settings["ratio"]), int(settings["seed"])
    acquired = SimulatedSlices(images, bundle.policy.for_grid(grid), FourierMeasurement(), ratio, seed, grid, "adapt")
    masks = torch.cat([acquired.acquire(index)[1][0] for index in range(slices)]).numpy() > 0
    return masks if bundle.swap_axes else masks.swapaxes(1, 2)


def result_figure(result: SegmentedSeries, masks: NDArray[np.bool_] | None = None) -> Figure:
    """Rows of slices: sampled k-space, source, the segmentation's outlines, probability of the largest structure, entropy.

    Args:
        result: of :func:`read_result`.
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
    colours = [STRUCTURE_COLOURS[i % len(STRUCTURE_COLOURS)] for i in range(len(names))]
    handles = [
        Line2D([], [], color=colour, linewidth=2.2, label=name) for colour, name in zip(colours, names, strict=True)
    ]
    columns = 1 + (len(names) > 3)
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.03), ncols=columns, borderpad=0)


def _letters(axes: Any, edges: tuple[str, str, str, str], colour: str) -> None:
    """Letters at the left, right, upper and lower edge: the patient's sides, as on a viewer."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    for letter, (x, y) in zip(edges, places, strict=True):
        across = {0.02: "left", 0.98: "right"}.get(x, "center")
        along = {0.02: "bottom", 0.98: "top"}.get(y, "center")
        text = axes.text(x, y, letter, transform=axes.transAxes, ha=across, va=along, color=colour, fontsize=9)
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _scale_bar(axes: Any, result: SegmentedSeries) -> None:
    """A bar of ``SCALE_BAR`` in the lower right corner."""
    rows, columns = result.images.shape[1:]
    length = SCALE_BAR / result.pixel_spacing[1]
    x, y = 0.96 * columns - length, 0.95 * rows
    axes.plot([x, x + length], [y, y], color="white", linewidth=1.5)
    axes.text(x + length / 2, y - 0.02 * rows, f"{SCALE_BAR} mm", color="white", ha="center", va="bottom", fontsize=8)
