"""Handlers that leave pictures: of an evaluation, and of a training run's curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys

from infomri_monai.atomic import atomic_path
from infomri_monai.figures import (
    calibration_figure,
    mask_figure,
    rate_distortion_figure,
    reconstruction_figure,
    save_figure,
    training_figure,
)
from infomri_monai.handlers.rate_distortion import RateDistortionHandler
from infomri_monai.metrics import error_by_sigma
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.systems import ReconstructionResult

__all__ = ["EvaluationFigures", "TrainingCurves"]


class EvaluationFigures:
    """Pictures of an evaluation that sweeps ratios: masks, reconstructions with their uncertainty, curves, calibration.

    Args:
        policy: the policy whose masks are drawn.
        rate_distortion: the evaluator's :class:`RateDistortionHandler`, attached before this one.
        output_dir: folder of ``masks.png``, ``reconstructions.png``, ``rate_distortion.png`` and ``calibration.png``.
        seed: seed of the drawn masks.
    """

    def __init__(
        self, policy: SamplingPolicy, rate_distortion: RateDistortionHandler, output_dir: str | Path, seed: int = 0
    ) -> None:
        self.policy = policy
        self.rate_distortion = rate_distortion
        self.output_dir = Path(output_dir)
        self.seed = seed
        self._sample: tuple[ReconstructionResult, torch.Tensor] | None = None

    def attach(self, engine: Engine) -> None:
        """Register: keep the first batch of an epoch, draw at its end."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._draw)

    def _forget(self, engine: Engine) -> None:
        self._sample = None

    def _keep(self, engine: Engine) -> None:
        if self._sample is None and idist.get_rank() == 0:
            output: Any = engine.state.output
            result = ReconstructionResult(*(field.cpu() for field in output[CommonKeys.PRED]))
            self._sample = result, output[CommonKeys.LABEL].cpu()

    def _draw(self, engine: Engine) -> None:
        if self._sample is None or self.rate_distortion.table is None:
            return
        result, image = self._sample
        ratios = self.rate_distortion.ratios.tolist()
        shape, each = image.shape[2:], image.shape[0] // len(ratios)
        middle = [each * i + each // 2 for i in range(len(ratios))]
        parameters = list(self.policy.parameters())
        generator = torch.Generator(parameters[0].device if parameters else "cpu").manual_seed(self.seed)
        save_figure(mask_figure(self.policy, ratios, shape, generator), self.output_dir / "masks.png")
        title = "Reconstructions at ratios " + ", ".join(f"{ratio:.4g}" for ratio in ratios)
        save_figure(reconstruction_figure(result, image, middle, title), self.output_dir / "reconstructions.png")
        rows = self.rate_distortion.table.rows
        curves = {
            self.rate_distortion.table.method: {row.ratio: row.psnr for row in rows},
            "zero-filled": {row.ratio: row.zero_filled_psnr for row in rows},
        }
        save_figure(rate_distortion_figure(curves), self.output_dir / "rate_distortion.png")
        target = image if result.mean.is_complex() == image.is_complex() else image.to(result.mean.dtype)
        points = {}
        for i, ratio in enumerate(ratios):
            part = slice(i * each, (i + 1) * each)
            points[f"ratio {ratio:.4g}"] = error_by_sigma(target[part], result.mean[part], result.log_variance[part])
        save_figure(calibration_figure(points), self.output_dir / "calibration.png")


class TrainingCurves:
    """Loss of every epoch and validation quality: ``training.csv``, continued after a resume, and ``training.png``.

    Args:
        output_dir: folder of the two files.
        validator: the validation evaluator, whose ``psnr`` and ``zero_filled_psnr`` are drawn.
    """

    fields: Sequence[str] = ("epoch", "loss", "validation_psnr", "validation_zero_filled_psnr")

    def __init__(self, output_dir: str | Path, validator: SupervisedEvaluator) -> None:
        self.output_dir = Path(output_dir)
        self.validator = validator
        self.rows: list[dict[str, float]] = []
        self._losses: list[float] = []
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
                rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
            self.rows = [row | {"epoch": int(row["epoch"])} for row in rows if row["epoch"] < engine.state.epoch]

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self._losses.append(output[0][CommonKeys.LOSS].item())

    def _mark(self, engine: Engine) -> None:
        self._validated = True

    def _finish_epoch(self, engine: Engine) -> None:
        metrics = self.validator.state.metrics if self._validated else {}
        psnr = [metrics.get(name, float("nan")) for name in ("psnr", "zero_filled_psnr")]
        values = [engine.state.epoch, sum(self._losses) / len(self._losses), *psnr]
        self.rows.append(dict(zip(self.fields, values, strict=True)))
        self._losses, self._validated = [], False
        if idist.get_rank() == 0:
            with atomic_path(self.output_dir / "training.csv") as part, part.open("w", newline="") as file:
                writer = csv.DictWriter(file, self.fields)
                writer.writeheader()
                writer.writerows(self.rows)

    def _draw(self, engine: Engine) -> None:
        if idist.get_rank() != 0 or not self.rows:
            return
        epochs = [row["epoch"] for row in self.rows]
        panels = {"loss [nats per pixel]": {"training": (epochs, [row["loss"] for row in self.rows])}}
        validated = [row for row in self.rows if row["validation_psnr"] == row["validation_psnr"]]
        if validated:
            steps = [row["epoch"] for row in validated]
            panels["PSNR [dB], mean over ratios"] = {
                "reconstruction": (steps, [row["validation_psnr"] for row in validated]),
                "zero-filled": (steps, [row["validation_zero_filled_psnr"] for row in validated]),
            }
        save_figure(training_figure(panels), self.output_dir / "training.png")
