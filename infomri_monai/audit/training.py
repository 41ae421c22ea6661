"""Networks of an audit are made, trained until their validation stops improving, tested, and kept or taken up again."""

from __future__ import annotations

import copy
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.utils import CommonKeys
from torch import Tensor, nn
from torch.utils.data import Dataset

from infomri_monai.audit.scene import Budget, Course, Scene, seeded, size
from infomri_monai.audit.store import AuditStore, Finished, checksum_of_module
from infomri_monai.engines.hardware import AutocastInferer
from infomri_monai.handlers.progress import Progress
from infomri_monai.metrics.cumulative import mean_over_images

__all__ = [
    "TEST",
    "VALIDATION",
    "KeepBest",
    "Maker",
    "MeanOverImages",
    "Trials",
    "built",
    "check_finite",
    "run_on_test_data",
    "train_until_no_better",
]

#: added to the seed, so that training, validation and test draw different masks and noise
VALIDATION, TEST = 1, 2
_IMPROVEMENT, _SLOWER = 0.005, 1 / 3
#: a network, or a function that makes one
Maker = nn.Module | Callable[[], nn.Module]

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
    """Handler of a validator: keeps the weights with the lowest value of a metric, and ends a training that has stalled.

    A validation whose metric is not lower than what the last improvement reached by 0.5 % (0.02 dB of a mean squared error) is one
    in vain: it goes back to the best weights, and to the optimiser's state at them, with a third of the learning rate.
    ``patience`` of them in a row end the training.

    Args:
        network: the network in training.
        trainer: MONAI's trainer: tells the gradient step, has the optimiser, is ended.
        metric: name of the metric; the validator must have it when this handler is called.
        name: of the training, for the log.
        patience: validations in vain that end it.

    Attributes:
        stalled: validations in vain so far, in a row.
        history: the course of all metrics.
    """

    def __init__(self, network: nn.Module, trainer: Any, metric: str, name: str, patience: int) -> None:
        self.network, self.trainer = network, trainer
        self.metric, self.name, self.patience = metric, name, patience
        self.best, self.best_step = math.inf, 0
        self.reached, self.stalled = math.inf, 0
        self.state: dict[str, Tensor] = {}
        self.moments: dict[str, Any] = {}
        self.history: dict[str, list[float]] = {}

    def attach(self, engine: Engine) -> None:
        """Register at the end of a validation."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Note the validation; copy the weights if they are the best so far; slow down or end what no longer improves."""
        metrics, step = engine.state.metrics, self.trainer.state.iteration
        for key, value in {"step": step, **metrics}.items():
            self.history.setdefault(key, []).append(value)
        if metrics[self.metric] < self.best:
            self.best, self.best_step = metrics[self.metric], step
            self.state = {key: tensor.detach().cpu().clone() for key, tensor in self.network.state_dict().items()}
            self.moments = copy.deepcopy(self.trainer.optimizer.state_dict())
        shown = ", ".join(f"{key} {value:.5g}" for key, value in metrics.items())
        logging.getLogger(__name__).info("%s: step %d, validation %s", self.name, step, shown)
        self._judge(metrics[self.metric])

    def _judge(self, value: float) -> None:
        if self.reached == math.inf or value < (1 - _IMPROVEMENT) * self.reached:
            self.reached, self.stalled = value, 0
            return
        self.stalled += 1
        self.network.load_state_dict(self.state)
        slower = [_SLOWER * group["lr"] for group in self.trainer.optimizer.param_groups]
        self.trainer.optimizer.load_state_dict(
            copy.deepcopy(self.moments)
        )  # without moments its first steps are the largest
        for group, rate in zip(self.trainer.optimizer.param_groups, slower, strict=True):
            group["lr"] = rate
        if self.stalled >= self.patience:
            self.trainer.terminate()


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

    Where it stops, the learning rate falls first, see :class:`KeepBest`.

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
    keep = KeepBest(network, trainer, metric, name, budget.patience)
    keep.attach(validator)
    trainer.run()
    network.load_state_dict(keep.state)
    return Course(trainer.state.iteration, keep.best_step, keep.stalled >= budget.patience, keep.history)


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


def run_on_test_data(
    scene: Scene, system: nn.Module, prepare: Any, budget: Budget, collect: Callable[[Any, Tensor], None]
) -> None:
    """Run a system on the test data.

    Args:
        scene: has the test data.
        system: what MONAI's evaluator calls.
        prepare: batch preparation, which follows the evaluator.
        budget: for batches and device.
        collect: is given the system's result and the label of every batch.
    """
    evaluator = SupervisedEvaluator(
        device=budget.device,
        val_data_loader=DataLoader(scene.data.test, batch_size=budget.batch_size, num_workers=budget.num_workers),
        network=system.to(budget.device),
        prepare_batch=prepare,
        val_handlers=[prepare],
        decollate=False,
    )

    def pass_on(engine: Engine) -> None:
        output: Any = engine.state.output
        collect(output[CommonKeys.PRED], output[CommonKeys.LABEL])

    evaluator.add_event_handler(Events.ITERATION_COMPLETED, pass_on)
    evaluator.run()


def built(maker: Maker, name: str, seed: int) -> nn.Module:
    """A copy of a network, or what the function makes when torch's generators start from the seed and the name.

    Raises:
        ValueError: if it is neither, or the function makes no network.
    """
    if isinstance(maker, nn.Module):
        return copy.deepcopy(maker)
    if not callable(maker):
        raise ValueError(f"{name} must be a network or a function that makes one, got {type(maker).__name__}.")
    with seeded(torch.device("cpu"), seed, *name.encode()):
        network = maker()
    if not isinstance(network, nn.Module):
        raise ValueError(f"{name}: the function must make a network, got {type(network).__name__}.")
    return network


class Trials(ABC):
    """Networks of an audit, each of which is trained and tested, or taken from an earlier run of the same settings.

    Args:
        scene: what they meet.
        ratios: sampling ratios, ascending.
        budget: the limits.
        store: keeps what is finished.

    Attributes:
        trials: their names, each with what it is trained for.
        done: what has been trained and tested.
    """

    def __init__(self, scene: Scene, ratios: Sequence[float], budget: Budget, store: AuditStore) -> None:
        self.scene, self.ratios, self.budget, self.store = scene, list(ratios), budget, store
        self.trials: dict[str, Any] = {}
        self.done: dict[str, Finished] = {}

    @abstractmethod
    def prepared(self, trial: str) -> tuple[nn.Module, Budget, dict[str, Any], dict[str, Any]]:
        """The untrained network, its budget, what else decides its result, and what else its record says."""

    @abstractmethod
    def trained_and_tested(self, trial: str, network: nn.Module, budget: Budget) -> Finished:
        """Train the network and test it."""

    def run(self, trial: str) -> None:
        """Train and test one network, or take it from an earlier run."""
        network, budget, decisive, noted = self.prepared(trial)
        wanted = self.store.fingerprint(network=checksum_of_module(network), budget=budget.decisive(), **decisive)
        finished = self.store.finished(trial, wanted)
        if finished is None:
            finished = self.trained_and_tested(trial, network, budget)
            self.store.save(trial, network, {"fingerprint": wanted, **noted}, finished)
        self.done[trial] = finished
