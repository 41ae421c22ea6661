"""Handler that leaves the pictures of an evaluation of segmentations.

Also here: Ignite handler that makes the segmentation table of an evaluation. Handler that writes what an evaluation
measured of every single image, for triage studies and for GED against K.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.metrics import Cumulative
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.figures import (
    acceleration_text,
    curves_by_acceleration_figure,
    ged_by_samples_figure,
    reliability_figure,
    risk_coverage_figure,
    save_figure,
    segmentation_figure,
    sweep_figure,
)
from infomri_monai.files import atomic_path
from infomri_monai.handlers.sweep import FirstBatch, RatioSweepHandler, SweptImages, batch_agreement, draw_masks
from infomri_monai.metrics import SegmentationQuality, SegmentationTable, dice_to_raters
from infomri_monai.metrics.overlap import energy_distance_by_count
from infomri_monai.metrics.probability import PooledCalibrationError
from infomri_monai.metrics.structures import rater_masks
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.systems import SegmentationPosterior
from infomri_monai.triage import RiskCoverage, risk_coverage, share_removed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CaseTable", "SegmentationFigures", "SegmentationQualityHandler"]


class SegmentationQualityHandler(RatioSweepHandler[SegmentationTable]):
    """Collect energy distance, Dice, calibration and diversity per ratio from an evaluator that sweeps ratios.

    The evaluator's prediction is a :class:`~infomri_monai.systems.SegmentationPosterior`, its label the raters' labels, -1 for a
    missing rater. Metrics are published and files written as :class:`~infomri_monai.handlers.RateDistortionHandler` does;
    values of single images are in ``collector.by_image()``.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        method: title of the table.
        num_classes: classes with the background, or (multi-label) labels.
        structures: names of the structures, for their columns of Dice; None numbers them.
        multi_label: structures are independent 0-1 channels.
        output_dir: folder of ``segmentation.csv``, ``.json`` and ``.md``; None writes nothing.
        volume_key: key of the batch that says to which volume an image belongs, for the values of single images.
        simulated_raters: whether the raters were simulated; the table's title says so.

    Raises:
        ValueError: if a ratio is outside (0, 1], or as :class:`~infomri_monai.metrics.SegmentationQuality`.
    """

    collector: SegmentationQuality

    def __init__(
        self,
        ratios: Sequence[float],
        method: str = "InfoMRI",
        num_classes: int = 2,
        structures: Sequence[str] | None = None,
        multi_label: bool = False,
        output_dir: str | Path | None = None,
        volume_key: str | None = None,
        simulated_raters: bool = False,
    ) -> None:
        method = f"{method} (simulated raters)" if simulated_raters else method
        collector = SegmentationQuality(method, num_classes, structures, multi_label)
        super().__init__(collector, ratios, "segmentation", output_dir, volume_key)


#: columns of the table that are drawn against acceleration
_METRICS = {
    "ged": "squared GED (V-statistic)",
    "dice": "Dice of the majority",
    "ece": "ECE, pooled",
    "brier": "Brier score",
    "diversity": "diversity: 1 - IoU of samples",
    "entropy": "entropy [nats per pixel]",
}


class SegmentationFigures:
    """Pictures of an evaluation that sweeps ratios: cases, one case at every ratio, curves, reliability, risk-coverage.

    Cases are of the first batch, those with the most pixels labelled. The evaluator's prediction is a
    :class:`~infomri_monai.systems.SegmentationPosterior`, its label the raters' labels.

    Args:
        quality: the evaluator's :class:`SegmentationQualityHandler`, attached before this one.
        output_dir: folder of ``segmentations.png``, ``sweep.png``, ``segmentation_by_acceleration.png``, ``reliability.png``,
            ``risk_coverage.png`` (not of a model of single samples) and ``masks.png`` (with a ``policy``).
        seed: seed of the drawn masks.
        structures: names of the structures; None numbers them.
        simulated_raters: whether the raters were simulated; the figures say so.
        policy: the policy whose masks are drawn; None draws none.
        cases: number of cases in ``segmentations.png``, at most the first batch's.

    Raises:
        ValueError: if ``cases`` < 1.
    """

    def __init__(
        self,
        quality: SegmentationQualityHandler,
        output_dir: str | Path,
        seed: int = 0,
        structures: Sequence[str] | None = None,
        simulated_raters: bool = False,
        policy: SamplingPolicy | None = None,
        cases: int = 4,
    ) -> None:
        if cases < 1:
            raise ValueError(f"cases must be at least 1, got {cases}.")
        self.quality, self.output_dir, self.seed = quality, Path(output_dir), seed
        self.structures, self.simulated_raters = structures, simulated_raters
        self.policy, self.cases = policy, cases
        self._first = FirstBatch()
        self._agreement = Cumulative()  # type: ignore[abstract]  # MONAI declares an abstract method, but no abstract class

    def attach(self, engine: Engine) -> None:
        """Register: keep the first batch and every case's agreement, draw at the epoch's end."""
        self._first.attach(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._agreement.reset())
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self._agreement.extend(batch_agreement(e)))
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._draw)

    def _draw(self, engine: Engine) -> None:
        table = self.quality.table
        if table is None:
            return
        # these talk to the other ranks
        agreement, images = self._agreement.get_buffer(), self.quality.collector.by_image()
        calibration = self.quality.collector.metrics["ece"]
        diagrams = calibration.diagrams_by_ratio() if isinstance(calibration, PooledCalibrationError) else {}
        if idist.get_rank() != 0 or self._first.prediction is None:
            return
        if self.policy is not None:
            masks = self.output_dir / "masks.png"
            draw_masks(self.policy, self.quality.ratios, self._first.image, self.seed, masks)
        self._draw_cases()
        save_figure(self._curves(table), self.output_dir / "segmentation_by_acceleration.png")
        known = {
            acceleration_text(s): d for s, d in sorted(diagrams.items(), reverse=True) if bool((d.share > 0).any())
        }
        if known:
            reliability = reliability_figure(known, "Reliability of the averaged samples", self.simulated_raters)
            save_figure(reliability, self.output_dir / "reliability.png")
        if agreement is not None:
            self._draw_risk(*(values.cpu() for values in (images["ratio"], agreement, images["dice"])))

    def _draw_cases(self) -> None:
        """Several cases at the middle ratio, and the first of them at all ratios."""
        result, image, label = self._first.prediction, self._first.image, self._first.label
        each = image.shape[0] // len(self.quality.ratios)
        order = self.quality.ratios.argsort(descending=True).tolist()
        labelled = (label[:each] > 0).flatten(1).sum(1)
        cases = labelled.argsort(descending=True, stable=True)[: self.cases].tolist()
        middle = order[(len(order) - 1) // 2]
        options: dict[str, Any] = {"structures": self.structures, "simulated_raters": self.simulated_raters}
        title = f"Segmentations at {acceleration_text(float(self.quality.ratios[middle]))}"
        at_middle = [middle * each + case for case in cases]
        figure = segmentation_figure(result, image, label, at_middle, title=self._titled(title), **options)
        save_figure(figure, self.output_dir / "segmentations.png")
        everywhere = [place * each + cases[0] for place in order]
        title = "One case, less and less measured"
        figure = sweep_figure(result, image, label, everywhere, title=self._titled(title), **options)
        save_figure(figure, self.output_dir / "sweep.png")

    def _curves(self, table: SegmentationTable) -> Figure:
        """Every column that was measured, against acceleration."""
        nothing = float("nan")
        columns = {
            label: {row.acceleration: (getattr(row, name), nothing) for row in table.rows}
            for name, label in _METRICS.items()
        }
        measured = {
            label: {table.method: column}
            for label, column in columns.items()
            if any(value == value for value, _ in column.values())
        }
        return curves_by_acceleration_figure(measured, self._titled(table.method))

    def _draw_risk(self, ratio: Tensor, agreement: Tensor, dice: Tensor) -> None:
        """One curve per ratio; cases without any rater, or of single samples, are left out."""
        known = dice.isfinite() & agreement.isfinite()
        ratio, agreement, dice = ratio[known], agreement[known], dice[known]
        curves: dict[str, RiskCoverage] = {}
        found: list[float] = []  # within a ratio: over all together it would suffice to tell the ratios apart
        for s in sorted(self.quality.ratios.tolist(), reverse=True):
            at = torch.isclose(ratio, torch.as_tensor(s, dtype=ratio.dtype), atol=1e-6)
            if bool(at.any()):
                curves[acceleration_text(s)] = risk_coverage(agreement[at], dice[at])
                found.append(share_removed(agreement[at], dice[at]))
        if curves:
            share = f"{100 * sum(found) / len(found):.0f} %"
            title = f"The least certain 20 % of an acceleration hold\n{share} of its worst tenth"
            figure = risk_coverage_figure(curves, title=self._titled(title))
            save_figure(figure, self.output_dir / "risk_coverage.png")

    def _titled(self, title: str) -> str:
        said = "simulated raters" in title  # a table's title may say it
        return f"{title} (simulated raters)" if self.simulated_raters and not said else title


class CaseTable:
    """``cases.csv``: one row for every image and ratio of an evaluation that sweeps ratios; ``ged_by_samples.png``: GED against K.

    Columns: ``image`` (number in the data set, from 1), ``ratio`` and ``acceleration`` asked for, ``dice`` of the majority (mean
    over raters and structures), ``agreement`` (mean pairwise Dice of the samples), ``entropy`` (nats per pixel), and ``ged_K``,
    the squared generalized energy distance of the first K samples (V-statistic). Empty: not defined. The images of all ranks are
    there, each once.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        output_dir: folder of the files; no picture of a model of single samples.
        counts: numbers of samples K; those beyond the samples drawn are left out.
        simulated_raters: whether the raters were simulated; the picture says so.

    Raises:
        ValueError: if a ratio is outside (0, 1] or a count < 1.
    """

    def __init__(
        self,
        ratios: Sequence[float],
        output_dir: str | Path,
        counts: Sequence[int] = (1, 2, 4, 8, 16, 32),
        simulated_raters: bool = False,
    ) -> None:
        self.images: SweptImages[dict[str, float]] = SweptImages(ratios)
        if not counts or min(counts) < 1:
            raise ValueError(f"counts must be numbers of samples >= 1, got {list(counts)}.")
        self.output_dir = Path(output_dir)
        self.counts = sorted(set(counts))
        self.simulated_raters = simulated_raters
        self.rows: list[dict[str, float]] = []

    def attach(self, engine: Engine) -> None:
        """Register after every batch and at an epoch's end."""
        self.images.attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def mean_ged(self) -> dict[float, dict[int, float]]:
        """Mean GED by ratio, then by number of samples; images that no rater drew do not count (NaN if nothing is left)."""
        drawn = [k for k in self.counts if f"ged_{k}" in (self.rows[0] if self.rows else {})]
        means: dict[float, dict[int, float]] = {}
        for ratio in sorted({row["ratio"] for row in self.rows}):
            of_ratio = [row for row in self.rows if row["ratio"] == ratio]
            means[ratio] = {k: _mean([row[f"ged_{k}"] for row in of_ratio]) for k in drawn}
        return means

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        posterior: SegmentationPosterior = output[CommonKeys.PRED]
        samples = posterior.samples
        raters = rater_masks(output[CommonKeys.LABEL], samples.shape[2])
        columns = {
            "dice": dice_to_raters(posterior.majority, raters).flatten(1).nanmean(1),
            "agreement": batch_agreement(engine),
            "entropy": posterior.entropy.flatten(1).mean(1),
        }
        distances = energy_distance_by_count(samples, raters, self.counts)
        columns |= {f"ged_{count}": values for count, values in distances.items()}
        table = torch.stack([values.cpu() for values in columns.values()], 1).tolist()
        self.images.add(engine, [dict(zip(columns, values, strict=True)) for values in table])

    def _write(self, engine: Engine) -> None:
        self.rows = [
            {"image": image.number, "ratio": image.ratio, "acceleration": 1 / image.ratio} | image.note
            for image in self.images.gathered()
        ]
        if idist.get_rank() != 0 or not self.rows:
            return
        with atomic_path(self.output_dir / "cases.csv") as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows({k: "" if math.isnan(v) else v for k, v in row.items()} for row in self.rows)
        curves = {
            acceleration_text(ratio): {k: (value, math.nan) for k, value in means.items()}
            for ratio, means in reversed(self.mean_ged().items())
        }
        if all(len(curve) > 1 for curve in curves.values()):
            title = "Energy distance of the first K samples" + (" (simulated raters)" if self.simulated_raters else "")
            save_figure(ged_by_samples_figure(curves, title=title), self.output_dir / "ged_by_samples.png")


def _mean(values: Sequence[float]) -> float:
    """Mean of the numbers that are not NaN."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
