"""Handlers of the training run: clipping, warm-up, averaging, calibration, curves, and the trained system's files."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedEvaluator
from monai.utils import CommonKeys
from torch import nn

from infomri_monai.acquisition import KSpaceStatistics
from infomri_monai.figures import save_figure, training_figure
from infomri_monai.files import atomic_path
from infomri_monai.losses import BottleneckLoss, ELBOLoss
from infomri_monai.metrics.tables import write_rows
from infomri_monai.sampling import save_policy
from infomri_monai.systems import ReconstructionSystem, System

__all__ = [
    "AverageBuffers",
    "CalibrateVariance",
    "ClipGradientNorm",
    "OutputAsList",
    "RestoreBest",
    "SaveStatistics",
    "SaveSystem",
    "TrainingCurves",
    "WarmUp",
]


class ClipGradientNorm:
    """Clip the norm of some parameters' gradient before every optimiser step.

    Args:
        parameters: the parameters, e.g. the network's (the policy's gradient stays as it is).
        max_norm: largest l2 norm of the gradient.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], max_norm: float = 1.0) -> None:
        self.parameters = list(parameters)
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Register after the backward pass."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip in place; a gradient that is not finite stops the training (RuntimeError) before it reaches the weights."""
        nn.utils.clip_grad_norm_(self.parameters, self.max_norm, error_if_nonfinite=True)


class OutputAsList:
    """Hand a whole batch's output on as a list of one item.

    MONAI's logging handlers (``from_engine``, MLflow) read a list of decollated items; a system's typed result is not decollated.
    """

    def attach(self, engine: Engine) -> None:
        """Register before the handlers that read the output."""
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Wrap the output."""
        output: Any = engine.state.output
        engine.state.output = [output]  # type: ignore[assignment]


class AverageBuffers:
    """Average the running statistics of batch normalisation over the processes after every epoch, before it is validated.

    Every process keeps those of its own batches; without this the validation of each would be that of another network, and the one
    that is saved would have seen one process's data. With one process nothing happens.

    Args:
        module: its floating-point buffers are averaged.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def attach(self, engine: Engine) -> None:
        """Register at the end of an epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Average in place."""
        processes = idist.get_world_size()
        if processes == 1:
            return
        for buffer in self.module.buffers():
            if buffer.is_floating_point():
                total = idist.all_reduce(buffer.clone())
                buffer.copy_(torch.as_tensor(total, device=buffer.device) / processes)


class CalibrateVariance:
    """Set the temperatures of the network's variances on validation data, when training ends.

    Both are a line in the logarithm of the sampling ratio (least squares over the swept ratios) by which a log-variance is
    raised. That of the components makes the mean standardised squared error 1; that of the magnitude makes its 90 % interval
    hold 90 % of the pixels inside the object (:class:`~infomri_monai.metrics.IntervalScale`), since errors have longer tails than
    a Gaussian. Two numbers each, which are found on validation data and are part of the model. Test data is never seen.

    Args:
        system: the trained system; its network's ``log_variance_line`` is set, (offset, slope) of each of its log-variances.
        validator: an evaluator on validation data with a :class:`~infomri_monai.handlers.RatioSweepHandler` of a
            :class:`~infomri_monai.metrics.RateDistortion`.
        ratios: the ratios that the validator sweeps.
    """

    def __init__(self, system: ReconstructionSystem, validator: SupervisedEvaluator, ratios: Sequence[float]) -> None:
        self.system = system
        self.validator = validator
        self.ratios = list(ratios)

    def attach(self, engine: Engine) -> None:
        """Register at the end of training."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Run the validator and set the lines."""
        self.validator.run(engine.state.epoch)
        metrics = self.validator.state.metrics
        lines = []
        # variance over its due: of the components, and of the magnitude
        for name, power in (("standardized_squared_error", 1), ("interval_scale", 2)):
            excess = [metrics.get(f"{name}_at_{ratio:.4f}", math.nan) ** power for ratio in self.ratios]
            if not all(0 < value < math.inf for value in excess):
                logging.getLogger(__name__).error("variance left uncalibrated: %s is %s", name, excess)
                return  # the trained model is still saved
            degree = 1 if len(set(self.ratios)) > 1 else 0
            *slope, offset = np.polyfit(np.log(self.ratios), np.log(excess), degree)
            lines.append([float(value) for value in (offset, *slope, 0.0)][:2])
        parameter = self.system.network.get_parameter("log_variance_line")
        with torch.no_grad():
            parameter.add_(torch.tensor(lines, dtype=parameter.dtype, device=parameter.device))
        logging.getLogger(__name__).info("variances calibrated on validation data: log-variances += %s", lines)


class RestoreBest:
    """Give the system the weights of the best validation back, when training ends and before anything is made of it.

    Args:
        system: the trained system.
        path: what MONAI's ``CheckpointSaver`` has kept by the key metric, ``{"system": ..., "trainer": ...}``.
    """

    def __init__(self, system: nn.Module, path: str | Path) -> None:
        self.system = system
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Register at the end of training, before the handlers that calibrate and save."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights in every process; without a validation the last ones stay, and the log says so."""
        idist.barrier()  # rank 0 has written the file
        if not self.path.exists():
            logging.getLogger(__name__).warning("no validation has kept a best model: the last weights stay.")
            return
        kept = torch.load(self.path, map_location="cpu", weights_only=True)
        self.system.load_state_dict(kept["system"])
        logging.getLogger(__name__).info("the best model by validation takes the place of the last one")


class SaveStatistics:
    """Write the training set's k-space statistics when the first epoch starts, on rank 0, for the evaluation of the entropy.

    Args:
        statistics: of the training set.
        path: ``.npz`` file.
    """

    def __init__(self, statistics: KSpaceStatistics, path: str | Path) -> None:
        self.statistics = statistics
        self.path = Path(path)
        self._written = False

    def attach(self, engine: Engine) -> None:
        """Register at the start of an epoch: a checkpoint to resume from has been accepted by then."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file once."""
        if idist.get_rank() == 0 and not self._written:
            self._written = True
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.statistics.save(self.path)


class SaveSystem:
    """Write the trained network (plain state dict) and policy when training ends, on rank 0, never half a file.

    A network with an ``inference_state`` (a task model) is written without what only its training needs.

    Args:
        system: the trained system.
        model_path: file of the network's state dict.
        policy_path: file of the policy, as :func:`~infomri_monai.sampling.save_policy` writes it.
    """

    def __init__(self, system: System, model_path: str | Path, policy_path: str | Path) -> None:
        self.system = system
        self.model_path = Path(model_path)
        self.policy_path = Path(policy_path)

    def attach(self, engine: Engine) -> None:
        """Register at the end of training."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write both files."""
        if idist.get_rank() != 0:
            return
        self.model_path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.model_path) as temporary:
            network = self.system.network
            torch.save(getattr(network, "inference_state", network.state_dict)(), temporary)
        save_policy(self.system.policy, self.policy_path)


RECONSTRUCTION_PANELS = {"PSNR [dB], mean over ratios": {"psnr": "reconstruction", "zero_filled_psnr": "zero-filled"}}


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
            try:
                with path.open(newline="", encoding="utf-8") as file:
                    rows = [
                        {name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)
                    ]
                self.rows = [row | {"epoch": int(row["epoch"])} for row in rows if row["epoch"] < engine.state.epoch]
            except (ValueError, KeyError, TypeError, csv.Error) as error:
                kind = type(error).__name__
                raise ValueError(
                    f"{path} is not the table of the training before ({kind}); take it away to resume."
                ) from error

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
            # a resumed run may draw other quantities than the one before it
            columns = dict.fromkeys(name for row in self.rows for name in row)
            write_rows(self.output_dir / "training.csv", self.rows, list(columns), missing="nan")

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


class WarmUp:
    """Let a weight (of the KL term, or beta of the bottleneck) grow linearly from 0 to its value over the first part of a training.

    The scale is a function of the iteration number alone, so that a resumed run goes on where it was.

    Args:
        loss: the loss whose ``warm_up`` is set.
        share: length of the warm-up as a share of the training; 0 has the full weight from the start.

    Raises:
        ValueError: if ``share`` is outside [0, 1].

    References:
        Bowman et al., "Generating sentences from a continuous space", CoNLL 2016.

    Example:
        >>> loss, engine = ELBOLoss(), Engine(lambda engine, batch: None)
        >>> WarmUp(loss, share=0.5).attach(engine)
        >>> engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda _: print(loss.warm_up))  # doctest: +ELLIPSIS
        <...>
        >>> _ = engine.run([0], max_epochs=8)
        0.75
    """

    def __init__(self, loss: ELBOLoss | BottleneckLoss, share: float = 0.0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie in [0, 1], got {share}.")
        self.loss = loss
        self.share = float(share)

    def attach(self, engine: Engine) -> None:
        """Register before every iteration."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the scale of this iteration."""
        total = (engine.state.max_epochs or 1) * (engine.state.epoch_length or 1)
        self.loss.warm_up = min(1.0, engine.state.iteration / (self.share * total)) if self.share else 1.0
