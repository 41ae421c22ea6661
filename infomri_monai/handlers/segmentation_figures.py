"""Handler that leaves the pictures of an evaluation of segmentations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.metrics import Cumulative
from torch import Tensor

from infomri_monai.figures import (
    acceleration_text,
    curves_by_acceleration_figure,
    reliability_figure,
    risk_coverage_figure,
    save_figure,
    segmentation_figure,
    sweep_figure,
)
from infomri_monai.handlers.batch_agreement import batch_agreement
from infomri_monai.handlers.first_batch import FirstBatch, draw_masks
from infomri_monai.handlers.segmentation_quality import SegmentationQualityHandler
from infomri_monai.metrics import SegmentationTable
from infomri_monai.metrics.probability_metrics import PooledCalibrationError
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.triage import RiskCoverage, risk_coverage, share_removed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SegmentationFigures"]

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
