"""Handler that writes what an evaluation measured of every single image, for triage studies and for GED against K."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from infomri_monai.atomic import atomic_path
from infomri_monai.figures import acceleration_text, ged_by_samples_figure, save_figure
from infomri_monai.handlers.batch_agreement import batch_agreement
from infomri_monai.handlers.swept_images import SweptImages
from infomri_monai.metrics import dice_to_raters
from infomri_monai.metrics.energy_distance import energy_distance_by_count
from infomri_monai.metrics.structure_masks import rater_masks
from infomri_monai.systems import SegmentationPosterior

__all__ = ["CaseTable"]


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
