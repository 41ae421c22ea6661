"""Handlers of the training run: gradient clipping, variance calibration, the trained system's files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedEvaluator
from torch import nn

from infomri_monai.acquisition import KSpaceStatistics
from infomri_monai.atomic import atomic_path
from infomri_monai.sampling import save_policy
from infomri_monai.systems import ReconstructionSystem, System

__all__ = ["AverageBuffers", "CalibrateVariance", "ClipGradientNorm", "OutputAsList", "RestoreBest", "SaveStatistics", "SaveSystem"]


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
    """Set the temperature of the network's variance on validation data, when training ends.

    The logarithm of the validation set's mean standardised squared error is fitted by a line in the logarithm of the sampling
    ratio (least squares over the swept ratios), and the network's log-variance is raised by it: two numbers, which are found
    on validation data and are part of the model. Test data is never seen.

    Args:
        system: the trained system; its network's ``log_variance_line`` is set.
        validator: an evaluator on validation data with a :class:`RateDistortionHandler`.
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
        """Run the validator and set the line."""
        self.validator.run(engine.state.epoch)
        metrics = self.validator.state.metrics
        errors = [metrics.get(f"standardized_squared_error_at_{ratio:.4f}", float("nan")) for ratio in self.ratios]
        if not all(0 < error < float("inf") for error in errors):
            logging.getLogger(__name__).error("variance left uncalibrated: standardised squared errors are %s", errors)
            return  # the trained model is still saved
        excess = np.log(errors)
        degree = 1 if len(set(self.ratios)) > 1 else 0
        *slope, offset = np.polyfit(np.log(self.ratios), excess, degree)
        line = torch.tensor([offset, *slope, 0.0][:2], dtype=torch.float32)
        parameter = self.system.network.get_parameter("log_variance_line")
        with torch.no_grad():
            parameter.add_(line.to(parameter.device))
        logging.getLogger(__name__).info("variance calibrated on validation data: log-variance += %s", line.tolist())


class RestoreBest:
    """Give the system the weights of the best validation back, when training ends and before anything is made of it.

    Args:
        system: the trained system.
        path: what MONAI's ``CheckpointSaver`` has kept by the key metric, ``{"system": ...}``.
    """

    def __init__(self, system: System, path: str | Path) -> None:
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
