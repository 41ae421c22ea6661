"""Handler that keeps the curves of a training run: a table and a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys

from infomri_monai.atomic import atomic_path
from infomri_monai.figures import save_figure, training_figure
from infomri_monai.losses import BottleneckLoss, ELBOLoss

__all__ = ["TrainingCurves"]

RECONSTRUCTION_PANELS = {
    "PSNR [dB], mean over ratios": {"psnr": "reconstruction", "zero_filled_psnr": "zero-filled"},
}


class TrainingCurves:
    """Loss of every epoch and validation quality: ``training.csv``, continued after a resume, and ``training.png``.

    Args:
        output_dir: folder of the two files.
        validator: the validation evaluator, whose metrics are drawn.
        panels: title of every panel to the metrics in it and their labels, e.g. ``{"GED": {"ged": "InfoMRI"}}``; None for
            the reconstruction's PSNR.
        loss_unit: unit of the loss, for the picture.
        loss_terms: a loss whose terms get a panel each (``loss_task``, ``loss_kl`` and so on; nats per image).
    """

    def __init__(
        self,
        output_dir: str | Path,
        validator: SupervisedEvaluator,
        panels: Mapping[str, Mapping[str, str]] | None = None,
        loss_unit: str = "nats per pixel",
        loss_terms: ELBOLoss | BottleneckLoss | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.validator = validator
        self.panels = dict(RECONSTRUCTION_PANELS if panels is None else panels)
        self.loss_unit, self.loss_terms = loss_unit, loss_terms
        self.rows: list[dict[str, float]] = []
        self._losses: list[dict[str, float]] = []
        self._validated = False

    def attach(self, engine: Engine) -> None:
        """Register on the trainer and on the validator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._continue)  # a checkpoint is loaded by then
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)
        engine.add_event_handler(Events.COMPLETED, self._draw)
        self.validator.add_event_handler(Events.EPOCH_COMPLETED, self._mark)

    def _continue(self, engine: Engine) -> None:
        path = self.output_dir / "training.csv"
        if not self.rows and engine.state.epoch > 1 and path.exists():
            with path.open(newline="") as file:
                rows = [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]
            self.rows = [row | {"epoch": int(row["epoch"])} for row in rows if row["epoch"] < engine.state.epoch]

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        losses = {"loss": output[0][CommonKeys.LOSS].item()}
        if self.loss_terms is not None and self.loss_terms.latest is not None:
            losses |= {f"loss_{name}": float(value) for name, value in self.loss_terms.latest._asdict().items()}
        self._losses.append(losses)

    def _mark(self, engine: Engine) -> None:
        self._validated = True

    def _finish_epoch(self, engine: Engine) -> None:
        metrics = self.validator.state.metrics if self._validated else {}
        names = [name for panel in self.panels.values() for name in panel]
        means = {key: sum(step[key] for step in self._losses) / len(self._losses) for key in self._losses[0]}
        quality = {f"validation_{name}": metrics.get(name, math.nan) for name in names}
        self.rows.append({"epoch": engine.state.epoch, **means, **quality})
        self._losses, self._validated = [], False
        if idist.get_rank() == 0:
            with atomic_path(self.output_dir / "training.csv") as part, part.open("w", newline="") as file:
                # a resumed run may draw other quantities than the one before it
                columns = dict.fromkeys(name for row in self.rows for name in row)
                writer = csv.DictWriter(file, list(columns), restval=math.nan)
                writer.writeheader()
                writer.writerows(self.rows)

    def _draw(self, engine: Engine) -> None:
        if idist.get_rank() != 0 or not self.rows:
            return
        terms = [key for key in self.rows[-1] if key.startswith("loss")]
        panels = {
            f"{key.replace('_', ': ', 1).replace('_', ' ')} [{self.loss_unit}]": {"training": self._curve(key)}
            for key in terms
        }
        for title, metrics in self.panels.items():
            curves = {label: self._curve(f"validation_{name}") for name, label in metrics.items()}
            panels |= {title: curves} if all(epochs for epochs, _ in curves.values()) else {}
        save_figure(training_figure(panels), self.output_dir / "training.png")

    def _curve(self, key: str) -> tuple[list[float], list[float]]:
        """Epochs at which there is a value, and the values."""
        rows = [row for row in self.rows if math.isfinite(row.get(key, math.nan))]
        return [row["epoch"] for row in rows], [row[key] for row in rows]
