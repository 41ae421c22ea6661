"""The attackers of an audit: each is trained to reconstruct from the defender's measurements, and tested."""

from __future__ import annotations

import copy
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infomri_monai.audit.linear import LINEAR, LinearMMSE, linear_attack
from infomri_monai.audit.scene import Budget, Course, PrepareListedRatios, Scene
from infomri_monai.audit.store import AuditStore, Finished
from infomri_monai.audit.training import (
    TEST,
    VALIDATION,
    Maker,
    Trials,
    built,
    check_finite,
    run_on_test_data,
    train_until_no_better,
)
from infomri_monai.engines.prepare import PrepareRatioSweep
from infomri_monai.losses.gaussian import MeanSquaredErrorLoss
from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.image_quality import psnr
from infomri_monai.metrics.rate_distortion import RateDistortion, RateDistortionRow, RateDistortionTable
from infomri_monai.networks.checkpoint import load_network
from infomri_monai.systems.reconstruction import ReconstructionResult, ReconstructionSystem

__all__ = [
    "AttackOutcome",
    "AttackerReport",
    "AuditAttacks",
    "check_attacker",
    "evaluate_attacker",
    "squared_error",
    "train_attacker",
]

_OF_THE_VARIANCE = ("standardized_squared_error", "correlation", "pooled_correlation", "coverage")


class AttackOutcome(NamedTuple):
    """The test of an attacker.

    Attributes:
        rows: one row per ratio of the rate-distortion table, without what an attacker has not (its uncertainty).
        images: ``ratio``, (ratios,), and ``psnr``, ``ssim`` and ``zero_filled_psnr`` of every test image, (ratios, images).
    """

    rows: list[RateDistortionRow]
    images: dict[str, Tensor]


def squared_error(result: ReconstructionResult, target: Tensor) -> Tensor:
    """Mean squared error of every image, (batch,)."""
    error = result.mean - (target.to(result.mean.dtype) if result.mean.is_complex() else target)
    return error.abs().square().flatten(1).mean(1)


def check_attacker(
    name: str, network: nn.Module, scene: Scene, image: Tensor, ratio: float, device: torch.device
) -> None:
    """Let an untrained attacker reconstruct one image.

    Raises:
        ValueError: if the attacker takes real images only and these are complex, or it does not return three channels.
    """
    if getattr(network, "real_valued", False) and image.is_complex():
        raise ValueError(f"attackers[{name!r}] is real-valued, and the images are complex.")
    system = ReconstructionSystem(scene.policy, scene.measurement, network).to(device).eval()
    try:
        with torch.no_grad():
            result = system(image.to(device), ratio, torch.Generator(device).manual_seed(0))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"attackers[{name!r}] ({type(network).__name__}) cannot take the measurement: {error}"
        ) from error
    if result.mean.shape != image.shape or result.log_variance.shape != image.shape:
        raise ValueError(
            f"attackers[{name!r}] must return (batch, 3, H, W) (mean real, imaginary, log-variance) for an image of "
            f"{tuple(image.shape)}, its mean is {tuple(result.mean.shape)}."
        )


def train_attacker(scene: Scene, network: nn.Module, ratios: Sequence[float], budget: Budget, name: str) -> Course:
    """Train an attacker on fresh masks and noise with the mean squared error until validation stops improving.

    Args:
        scene: what it meets.
        network: as :class:`~infomri_monai.systems.ReconstructionSystem` takes it; on return in its best state.
        ratios: drawn uniformly, one per image; a validation goes through all.
        budget: the limits.
        name: for the log.
    """
    system = ReconstructionSystem(scene.policy, scene.measurement, network).to(budget.device)
    prepare = (
        PrepareListedRatios(ratios, budget.seed, scene.image_key),
        PrepareRatioSweep(ratios, budget.seed + VALIDATION, scene.image_key),
    )
    quantities = {"mse": squared_error, "psnr": lambda result, target: psnr(result.mean, target.to(result.mean.dtype))}
    loss = MeanSquaredErrorLoss()
    return train_until_no_better(system, network, loss, quantities, scene.data[:2], prepare, budget, name)


def evaluate_attacker(
    scene: Scene, network: nn.Module, ratios: Sequence[float], budget: Budget, name: str
) -> AttackOutcome:
    """Test a trained attacker at every ratio; every attacker with these ratios sees the same measurements.

    Raises:
        RuntimeError: if a reconstruction is not finite.
    """
    prepare = PrepareRatioSweep(ratios, budget.seed + TEST, scene.image_key)
    quality = RateDistortion(name)

    def collect(result: ReconstructionResult, image: Tensor) -> None:
        check_finite(result.mean, name, "in the test")
        quality.update(result, image, prepare.ratios.repeat_interleave(len(image) // len(prepare.ratios)))

    run_on_test_data(scene, ReconstructionSystem(scene.policy, scene.measurement, network), prepare, budget, collect)
    return _outcome(quality)


def _outcome(quality: RateDistortion) -> AttackOutcome:
    """Rows, and the values of every image by ratio."""
    rows = quality.table().rows
    ratios = torch.tensor([row.ratio for row in rows])
    images = {"ratio": ratios}
    for key in ("psnr", "ssim", "zero_filled_psnr"):
        metric = quality.metrics[key]
        assert isinstance(metric, PerImageMetric)
        of_image, values = metric.image_labels()[0].cpu(), metric.by_image().cpu()
        images[key] = torch.stack([values[torch.isclose(of_image, ratio.double(), atol=1e-6)] for ratio in ratios])
    unknown: dict[str, Any] = dict.fromkeys(_OF_THE_VARIANCE, float("nan"))
    return AttackOutcome([row._replace(**unknown) for row in rows], images)


class AttackerReport(NamedTuple):
    """One attacker.

    Attributes:
        name: its name.
        network: class of its network.
        parameters: number of its parameters.
        learning_rate: of its training.
        courses: one training, or one per ratio: the ratios it served and how it went; none of the attack in closed form.
        rows: its test at every ratio.
    """

    name: str
    network: str
    parameters: int
    learning_rate: float
    courses: list[tuple[tuple[float, ...], Course]]
    rows: list[RateDistortionRow]

    def words(self) -> list[str]:
        """One sentence per training."""
        known = f"{self.network}, {self.parameters:,} parameters, Adam {self.learning_rate:g}"
        return [f"**{self.name}** ({known}): {course.words(ratios)}" for ratios, course in self.courses]


class AuditAttacks(Trials):
    """Trains and tests attackers, one network for all ratios or one per ratio.

    Args:
        scene: what every attacker meets.
        ratios: ascending.
        budget: of every attacker, but for the learning rate.
        store: keeps what is finished.
        attackers: name -> network or function that makes one.
        learning_rate: one for all or one per attacker.
        per_ratio: one network per ratio.

    Raises:
        ValueError: if there is no attacker, a name is no file name, learning rates do not fit the names, or a network cannot take
            the measurement.
    """

    def __init__(
        self,
        scene: Scene,
        ratios: Sequence[float],
        budget: Budget,
        store: AuditStore,
        attackers: Mapping[str, Maker],
        learning_rate: float | Mapping[str, float],
        per_ratio: bool,
    ) -> None:
        super().__init__(scene, ratios, budget, store)
        _check_names(attackers)
        rates = learning_rate if isinstance(learning_rate, Mapping) else dict.fromkeys(attackers, learning_rate)
        if set(rates) != set(attackers):
            raise ValueError(f"learning_rate must name the attackers {sorted(attackers)}, got {sorted(rates)}.")
        self.budgets = {name: budget._replace(learning_rate=float(rates[name])).check() for name in attackers}
        self.networks = {name: built(maker, f"attackers[{name!r}]", budget.seed) for name, maker in attackers.items()}
        for name, network in self.networks.items():
            check_attacker(name, network, scene, scene.image(), self.ratios[0], budget.device)
        groups = [(ratio,) for ratio in self.ratios] if per_ratio else [tuple(self.ratios)]
        self.groups = groups
        self.linear: LinearMMSE | None = None
        self.linear_test: AttackOutcome | None = None
        self.trials = {
            f"{name}_at_{group[0]:.4f}" if per_ratio else name: (name, group)
            for name in self.networks
            for group in groups
        }

    def prepared(self, trial: str) -> tuple[nn.Module, Budget, dict[str, Any], dict[str, Any]]:
        """As :class:`~infomri_monai.audit.training.Trials` asks."""
        name, ratios = self.trials[trial]
        decisive = {"ratios": ratios}
        budget = self.budgets[name].for_ratios(len(ratios))
        return copy.deepcopy(self.networks[name]), budget, decisive, {"attacker": name, **decisive}

    def trained_and_tested(self, trial: str, network: nn.Module, budget: Budget) -> Finished:
        """Train one attacker and test it."""
        ratios = self.trials[trial][1]
        course = train_attacker(self.scene, network, ratios, budget, trial)
        outcome = evaluate_attacker(self.scene, network, ratios, budget, trial)
        logging.getLogger(__name__).info("\n%s", RateDistortionTable(trial, outcome.rows))
        return Finished(course, [row._asdict() for row in outcome.rows], outcome.images)

    def attack_linearly(self) -> None:
        """Make and test the attack in closed form, at the measurements that the others are tested at; of a single coil."""
        if self.scene.measurement.coil_maps is None:
            self.linear = linear_attack(self.scene, self.ratios, self.budget)
            tests = [evaluate_attacker(self.scene, self.linear, group, self.budget, LINEAR) for group in self.groups]
            self.linear_test = _merged(tests)

    def outcomes(self) -> dict[str, AttackOutcome]:
        """The tests by attacker, ratios ascending; the attack in closed form is the last."""
        found = {}
        for name in self.networks:
            tests = [self.done[trial] for trial, (own, _) in self.trials.items() if own == name]
            found[name] = _merged(
                [AttackOutcome([RateDistortionRow(**row) for row in t.rows], t.images) for t in tests]
            )
        return found if self.linear_test is None else {**found, LINEAR: self.linear_test}

    def reports(self) -> list[AttackerReport]:
        """What the report says of every attacker."""
        outcomes = self.outcomes()
        closed = AttackerReport(LINEAR, "closed form", 0, math.nan, [], outcomes[LINEAR].rows) if self.linear else None
        trained = [
            AttackerReport(
                name=name,
                network=type(network).__name__,
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                learning_rate=self.budgets[name].learning_rate,
                courses=[(ratios, self.done[trial].course) for trial, (n, ratios) in self.trials.items() if n == name],
                rows=outcomes[name].rows,
            )
            for name, network in self.networks.items()
        ]
        return [*trained, closed] if closed else trained

    def trained(self, ratio: float) -> dict[str, nn.Module]:
        """The attackers for one of the ratios."""
        found: dict[str, nn.Module] = {
            name: load_network(copy.deepcopy(self.networks[name]), self.store.weights(trial))
            for trial, (name, ratios) in self.trials.items()
            if min(abs(ratio - own) for own in ratios) < 1e-6
        }
        return {**found, LINEAR: self.linear} if self.linear else found


def _merged(tests: Sequence[AttackOutcome]) -> AttackOutcome:
    """The tests of one attacker's networks as one."""
    images = {key: torch.cat([test.images[key] for test in tests]) for key in tests[0].images}
    return AttackOutcome([row for test in tests for row in test.rows], images)


def _check_names(attackers: Mapping[str, Maker]) -> None:
    if not attackers:
        raise ValueError("attackers is empty; an audit without an attacker says nothing.")
    taken = ("attribute_probe", "attribute_probe_fully_sampled", "zero-filled")
    for name in attackers:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or name in taken:
            raise ValueError(
                f"attackers: {name!r} is no name for an attacker; use letters, digits, '_', '.' and '-', and none of {taken}."
            )
