"""The attackers of an audit: which networks are trained for which ratios, kept, and taken up again.

Also here: The attribute probe of an audit: whether there can be one, its trainings, its report.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from infomri_monai.audit.attack import AttackOutcome, Scene, check_attacker, evaluate_attacker, train_attacker
from infomri_monai.audit.probe import (
    ProbeReport,
    ProbeRow,
    attribute_values,
    evaluate_probe,
    small_classifier,
    train_probe,
)
from infomri_monai.audit.report import AttackerReport
from infomri_monai.audit.scene import Budget, Course, seeded
from infomri_monai.audit.store import AuditStore, Finished, checksum_of_module, checksum_of_values, fingerprint
from infomri_monai.metrics.rate_distortion import RateDistortionTable
from infomri_monai.networks.checkpoint import load_network
from infomri_monai.networks.classifier import ImageClassifier
from infomri_monai.sampling.policy import FrozenPolicy
from infomri_monai.sampling.uniform import UniformRandom

__all__ = ["AuditAttacks", "AuditProbe", "Maker", "built"]

#: a network, or a function that makes one
Maker = nn.Module | Callable[[], nn.Module]


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


class AuditAttacks:
    """Trains and tests attackers, one network for all ratios or one per ratio.

    Args:
        scene: what every attacker meets.
        attackers: name -> network or function that makes one.
        ratios: ascending.
        budget: of every attacker, but for the learning rate.
        learning_rate: one for all or one per attacker.
        per_ratio: one network per ratio.
        store: keeps what is finished.
        common: fingerprint of policy, measurement and data.

    Raises:
        ValueError: if there is no attacker, a name is no file name, learning rates do not fit the names, or a network cannot take
            the measurement.
    """

    def __init__(
        self,
        scene: Scene,
        attackers: Mapping[str, Maker],
        ratios: Sequence[float],
        budget: Budget,
        learning_rate: float | Mapping[str, float],
        per_ratio: bool,
        store: AuditStore,
        common: str,
    ) -> None:
        self.scene, self.ratios, self.store, self.common = scene, list(ratios), store, common
        _check_names(attackers)
        rates = learning_rate if isinstance(learning_rate, Mapping) else dict.fromkeys(attackers, learning_rate)
        if set(rates) != set(attackers):
            raise ValueError(f"learning_rate must name the attackers {sorted(attackers)}, got {sorted(rates)}.")
        self.budgets = {name: budget._replace(learning_rate=float(rates[name])).check() for name in attackers}
        self.networks = {name: built(maker, f"attackers[{name!r}]", budget.seed) for name, maker in attackers.items()}
        image = scene.data.check(scene.policy, scene.image_key)
        for name, network in self.networks.items():
            check_attacker(name, network, scene, image, self.ratios[0], budget.device)
        groups = [(ratio,) for ratio in self.ratios] if per_ratio else [tuple(self.ratios)]
        self.trials = {
            f"{name}_at_{group[0]:.4f}" if per_ratio else name: (name, group)
            for name in self.networks
            for group in groups
        }
        self.done: dict[str, tuple[Course, AttackOutcome]] = {}

    def run(self, trial: str) -> None:
        """Train and test one network, or take it from an earlier run."""
        name, ratios = self.trials[trial]
        budget, network = self.budgets[name], copy.deepcopy(self.networks[name])
        wanted = fingerprint(
            common=self.common, network=checksum_of_module(network), ratios=ratios, budget=budget.decisive()
        )
        if (found := self.store.finished(trial, wanted)) is not None:
            self.done[trial] = found.course, found.outcome()
            return
        course = train_attacker(self.scene, network, ratios, budget, trial)
        outcome = evaluate_attacker(self.scene, network, ratios, budget, trial)
        logging.getLogger(__name__).info("\n%s", RateDistortionTable(trial, outcome.rows))
        settings = {"fingerprint": wanted, "attacker": name, "ratios": ratios}
        finished = Finished(course, [row._asdict() for row in outcome.rows], outcome.images)
        self.store.save(trial, network, settings, finished)
        self.done[trial] = course, outcome

    def outcomes(self) -> dict[str, AttackOutcome]:
        """The tests by attacker, ratios ascending."""
        return {
            name: _merged([self.done[t][1] for t, (n, _) in self.trials.items() if n == name]) for name in self.networks
        }

    def reports(self) -> list[AttackerReport]:
        """What the report says of every attacker."""
        outcomes = self.outcomes()
        return [
            AttackerReport(
                name=name,
                network=type(network).__name__,
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                learning_rate=self.budgets[name].learning_rate,
                courses=[(ratios, self.done[trial][0]) for trial, (n, ratios) in self.trials.items() if n == name],
                rows=outcomes[name].rows,
            )
            for name, network in self.networks.items()
        ]

    def trained(self, ratio: float) -> dict[str, nn.Module]:
        """The trained attackers for one of the ratios."""
        return {
            name: load_network(copy.deepcopy(self.networks[name]), self.store.weights(trial))
            for trial, (name, ratios) in self.trials.items()
            if min(abs(ratio - own) for own in ratios) < 1e-6
        }


def _merged(outcomes: Sequence[AttackOutcome]) -> AttackOutcome:
    """The tests of one attacker's networks as one."""
    images = {key: torch.cat([outcome.images[key] for outcome in outcomes]) for key in outcomes[0].images}
    return AttackOutcome([row for outcome in outcomes for row in outcome.rows], images)


def _check_names(attackers: Mapping[str, Maker]) -> None:
    if not attackers:
        raise ValueError("attackers is empty; an audit without an attacker says nothing.")
    taken = ("attribute_probe", "attribute_probe_fully_sampled", "zero-filled", "constant guess")
    for name in attackers:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or name in taken:
            raise ValueError(
                f"attackers: {name!r} is no name for an attacker; use letters, digits, '_', '.' and '-', and none of {taken}."
            )


_NAME, _FULL = "attribute_probe", "attribute_probe_fully_sampled"


class AuditProbe:
    """Trains and tests the probe on the policy's measurements and, as a reference, on fully sampled ones.

    Args:
        scene: what it meets.
        ratios: ascending.
        key: the entries' key of the attribute; None for no probe.
        maker: classifier or function that makes one; None for a small ResNet.
        budget: the limits.
        store: keeps what is finished.
        common: fingerprint of policy, measurement and data.
        fully_sampled: whether to train the reference.

    Raises:
        ValueError: if an attribute is no class number, or the classifier does not fit the attribute or the images.
    """

    def __init__(
        self,
        scene: Scene,
        ratios: Sequence[float],
        key: str | None,
        maker: Maker | None,
        budget: Budget,
        store: AuditStore,
        common: str,
        fully_sampled: bool = True,
    ) -> None:
        self.scene, self.ratios, self.budget, self.store, self.common = scene, list(ratios), budget, store, common
        self.key = key or ""
        self.skipped, self.majority, classes = _examine(scene, key)
        self.done: dict[str, tuple[Course, list[ProbeRow]]] = {}
        self.trials: dict[str, tuple[Scene, list[float]]] = {}
        if self.skipped:
            return
        network = built(maker or (lambda: small_classifier(classes)), "probe", budget.seed)
        self.network = _checked(network, classes, scene)
        self.labels = [checksum_of_values(part, self.key) for part in scene.data]
        self.trials[_NAME] = scene, self.ratios
        if fully_sampled:
            self.trials[_FULL] = scene._replace(policy=FrozenPolicy(UniformRandom(), budget.device)), [1.0]

    def run(self, trial: str) -> None:
        """Train and test one probe, or take it from an earlier run."""
        scene, ratios = self.trials[trial]
        network = copy.deepcopy(self.network)
        wanted = fingerprint(
            common=self.common,
            network=checksum_of_module(network),
            ratios=ratios,
            budget=self.budget.decisive(),
            key=self.key,
            labels=self.labels,
        )
        if (found := self.store.finished(trial, wanted)) is not None:
            self.done[trial] = found.course, [ProbeRow(**row) for row in found.rows]
            return
        course = train_probe(scene, network, self.key, ratios, self.budget, trial)
        rows = evaluate_probe(scene, network, self.key, ratios, self.budget, self.majority, trial)
        finished = Finished(course, [row._asdict() for row in rows], {})
        self.store.save(trial, network, {"fingerprint": wanted, "attribute": self.key}, finished)
        self.done[trial] = course, rows

    def report(self) -> ProbeReport:
        """What the report says."""
        if self.skipped:
            return ProbeReport(self.key, self.skipped)
        full = self.done[_FULL][1][0] if _FULL in self.done else None
        where = {_NAME: "on the policy's measurements", _FULL: "on fully sampled measurements"}
        courses = [(where[trial], course) for trial, (course, _) in self.done.items()]
        return ProbeReport(self.key, "", self.done[_NAME][1], full, courses)


def _examine(scene: Scene, key: str | None) -> tuple[str, int, int]:
    """Why there is no probe (or ""), the training data's most frequent value, and the number of classes."""
    if not key:
        return "none was asked for.", 0, 0
    values = {name: attribute_values(data, key) for name, data in scene.data._asdict().items()}
    if lacking := [name for name, found in values.items() if found is None]:
        return f"the {', '.join(lacking)} data has entries without `{key}`.", 0, 0
    known: dict[str, Any] = values
    counts = np.bincount(known["train"])
    if (counts > 0).sum() < 2 or len(np.unique(known["test"])) < 2:
        return f"`{key}` has only one value in the training or the test data.", 0, 0
    return "", int(counts.argmax()), int(max(found.max() for found in known.values())) + 1


def _checked(network: Any, classes: int, scene: Scene) -> ImageClassifier:
    if not isinstance(network, ImageClassifier) or network.multi_label or network.num_classes < classes:
        raise ValueError(
            f"probe must be an ImageClassifier of at least {classes} exclusive classes, the attribute's, got "
            f"{type(network).__name__} of {getattr(network, 'num_classes', 'unknown')}."
        )
    if network.real_valued and scene.data.check(scene.policy, scene.image_key).is_complex():
        raise ValueError("probe is real-valued, and the images are complex.")
    return network
