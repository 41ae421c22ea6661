"""Train a system until its validation stops improving, and give it back with the best weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from monai.data import DataLoader
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.utils import CommonKeys
from torch import Tensor, nn
from torch.utils.data import Dataset

from infomri_monai.audit.scene import Budget, Course, size
from infomri_monai.engines.hardware import AutocastInferer
from infomri_monai.handlers.progress import Progress
from infomri_monai.metrics.cumulative import mean_over_images

__all__ = ["KeepBest", "MeanOverImages", "check_finite", "train_until_no_better"]

#: prediction and label to one value per image
PerImage = Callable[[Any, Tensor], Tensor]


def check_finite(values: Tensor, name: str, where: str) -> None:
    """Refuse predictions that hold NaN or Inf: a metric that leaves NaN out would pass over them.

    Args:
        values: one prediction or value per image, (batch, ...), real or complex.
        name: of the network.
        where: it happened, for the error.

    Raises:
        RuntimeError: if a value is not finite.
    """
    bad = ~torch.isfinite(values).flatten(1).all(1) if values.ndim > 1 else ~torch.isfinite(values)
    if bool(bad.any()):
        raise RuntimeError(
            f"{name}: non-finite prediction for {int(bad.sum())} of a batch of {len(bad)} {where}; the training diverged, or the "
            "network cannot take such images."
        )


class MeanOverImages:
    """Ignite handler: means over an epoch's images of some quantities, in ``engine.state.metrics``.

    Args:
        quantities: name -> function of prediction and label that returns one value per image. The first must be finite for every
            image; of the others NaN (an all-zero image) is left out.
        name: of the training, for the error.

    Raises:
        RuntimeError: when called, if the first quantity of an image is not finite.
    """

    def __init__(self, quantities: Mapping[str, PerImage], name: str) -> None:
        self.quantities, self.name = dict(quantities), name
        self._values: dict[str, list[Tensor]] = {}

    def attach(self, engine: Engine) -> None:
        """Register: forget at an epoch's start, collect, publish at its end."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._values.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._publish)

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        for place, (name, function) in enumerate(self.quantities.items()):
            values = function(output[CommonKeys.PRED], output[CommonKeys.LABEL]).detach()
            if place == 0:
                check_finite(values, self.name, "in a validation")
            self._values.setdefault(name, []).append(values.double())

    def _publish(self, engine: Engine) -> None:
        engine.state.metrics |= {name: float(mean_over_images(torch.cat(v))) for name, v in self._values.items()}


class KeepBest:
    """Handler of a validator: keeps the weights with the lowest value of a metric, and the course of all metrics.

    Args:
        network: the network in training.
        trainer: tells the gradient step.
        metric: name of the metric; the validator must have it when this handler is called.
        name: of the training, for the log.
    """

    def __init__(self, network: nn.Module, trainer: Engine, metric: str, name: str) -> None:
        self.network, self.trainer = network, trainer
        self.metric, self.name = metric, name
        self.best, self.best_step = math.inf, 0
        self.state: dict[str, Tensor] = {}
        self.history: dict[str, list[float]] = {}

    def attach(self, engine: Engine) -> None:
        """Register at the end of a validation."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Note the validation; copy the weights if they are the best so far."""
        metrics, step = engine.state.metrics, self.trainer.state.iteration
        for key, value in {"step": step, **metrics}.items():
            self.history.setdefault(key, []).append(value)
        if metrics[self.metric] < self.best:
            self.best, self.best_step = metrics[self.metric], step
            self.state = {key: tensor.detach().cpu().clone() for key, tensor in self.network.state_dict().items()}
        shown = ", ".join(f"{key} {value:.5g}" for key, value in metrics.items())
        logging.getLogger(__name__).info("%s: step %d, validation %s", self.name, step, shown)


def train_until_no_better(
    system: nn.Module,
    network: nn.Module,
    loss: Callable[[Any, Tensor], Tensor],
    quantities: Mapping[str, PerImage],
    data: Sequence[Dataset],
    prepare: Sequence[Any],
    budget: Budget,
    name: str,
) -> Course:
    """Train ``network`` inside ``system`` with Adam until the first of the ``quantities`` stops falling on validation data.

    Args:
        system: what MONAI's engines call.
        network: the part whose parameters are trained; on return it holds the weights of the best validation.
        loss: of the system's result and the label, a scalar.
        quantities: what is measured in a validation; the first decides.
        data: training and validation data.
        prepare: batch preparations of training and validation, which follow the engines they are attached to.
        budget: the limits.
        name: for the log.

    Raises:
        RuntimeError: if a gradient is not finite, or a prediction in a validation is not.
    """
    validator = _validator(system, data[1], prepare[1], MeanOverImages(quantities, name), budget)
    handlers = [prepare[0], ValidationHandler(1, validator, exec_at_start=True), Progress(name, validator)]
    trainer = _trainer(system, network, loss, data[0], prepare[0], handlers, budget)
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda _: _clip_gradient(network, name))
    metric = next(iter(quantities))
    keep = KeepBest(network, trainer, metric, name)
    keep.attach(validator)
    # MONAI's EarlyStopHandler passes an argument that Ignite has deprecated
    stop = EarlyStopping(budget.patience, lambda engine: -engine.state.metrics[metric], trainer)
    validator.add_event_handler(Events.EPOCH_COMPLETED, stop)
    trainer.run()
    network.load_state_dict(keep.state)
    return Course(trainer.state.iteration, keep.best_step, stop.counter >= budget.patience, keep.history)


def _validator(
    system: nn.Module, data: Dataset, prepare: Any, measure: MeanOverImages, budget: Budget
) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=budget.device,
        val_data_loader=DataLoader(data, batch_size=budget.batch_size, num_workers=budget.num_workers),
        network=system,
        prepare_batch=prepare,
        inferer=AutocastInferer(False),
        val_handlers=[prepare, measure],
        decollate=False,
    )


def _trainer(
    system: nn.Module,
    network: nn.Module,
    loss: Callable[[Any, Tensor], Tensor],
    data: Dataset,
    prepare: Any,
    handlers: list[Any],
    budget: Budget,
) -> SupervisedTrainer:
    """A trainer whose epochs are the intervals between validations."""
    loader = DataLoader(
        data,
        shuffle=True,
        generator=torch.Generator().manual_seed(budget.seed),
        drop_last=size(data) > budget.batch_size,
        batch_size=budget.batch_size,
        num_workers=budget.num_workers,
    )
    interval, validations = budget.schedule(len(loader))
    return SupervisedTrainer(
        device=budget.device,
        max_epochs=validations,
        epoch_length=interval,
        train_data_loader=loader,
        network=system,
        optimizer=torch.optim.Adam(network.parameters(), budget.learning_rate),
        loss_function=loss,
        prepare_batch=prepare,
        inferer=AutocastInferer(budget.mixed_precision),
        train_handlers=handlers,
        decollate=False,
    )


def _clip_gradient(network: nn.Module, name: str) -> None:
    norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    if not bool(torch.isfinite(norm)):
        raise RuntimeError(f"{name}: non-finite gradient; the training diverged. Lower its learning rate.")
