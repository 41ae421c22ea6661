"""The attackers of an audit: which networks are trained for which ratios, kept, and taken up again."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from infomri_monai.engines.attack import AttackOutcome, Scene, check_attacker, evaluate_attacker, train_attacker
from infomri_monai.engines.audit_checksum import checksum_of_module
from infomri_monai.engines.audit_report import AttackerReport
from infomri_monai.engines.audit_store import AuditStore, Finished, fingerprint
from infomri_monai.engines.training_budget import Budget, Course, seeded
from infomri_monai.metrics.rate_distortion_table import RateDistortionTable
from infomri_monai.networks.checkpoint import load_network

__all__ = ["AuditAttacks", "Maker", "built"]

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
