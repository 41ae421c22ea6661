"""Handlers of the training run: gradient clipping, variance calibration, the trained system's files."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedEvaluator
from torch import nn

from infomri_monai.metrics import atomic_path
from infomri_monai.sampling import save_policy
from infomri_monai.systems import ReconstructionSystem

__all__ = ["CalibrateVariance", "ClipGradientNorm", "SaveSystem"]


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
        """Clip in place."""
        nn.utils.clip_grad_norm_(self.parameters, self.max_norm)


class CalibrateVariance:
    """Set the one temperature of the network's variance on validation data, when training ends.

    The temperature is the validation set's mean standardised squared error, averaged over the swept ratios; dividing by it makes
    that mean exactly one. It never sees test data.

    Args:
        system: the trained system; its network's ``log_variance_offset`` is set.
        validator: an evaluator on validation data with a :class:`RateDistortionHandler`.
    """

    def __init__(self, system: ReconstructionSystem, validator: SupervisedEvaluator) -> None:
        self.system = system
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        """Register at the end of training."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Run the validator and set the offset."""
        self.validator.run(engine.state.epoch)
        temperature = self.validator.state.metrics["standardized_squared_error"]
        if not (math.isfinite(temperature) and temperature > 0):
            raise RuntimeError(f"cannot calibrate the variance: mean standardised squared error is {temperature}.")
        with torch.no_grad():
            self.system.network.get_buffer("log_variance_offset").add_(math.log(temperature))
        logging.getLogger(__name__).info("variance temperature set to %.3f on validation data", temperature)


class SaveSystem:
    """Write the trained network (plain state dict) and policy when training ends, on rank 0, never half a file.

    Args:
        system: the trained system.
        model_path: file of the network's state dict.
        policy_path: file of the policy, as :func:`~infomri_monai.sampling.save_policy` writes it.
    """

    def __init__(self, system: ReconstructionSystem, model_path: str | Path, policy_path: str | Path) -> None:
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
            torch.save(self.system.network.state_dict(), temporary)
        save_policy(self.system.policy, self.policy_path)
