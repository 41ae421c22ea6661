"""The attribute probe of an audit: whether there can be one, its trainings, its report."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from infomri_monai.engines.attack import Scene
from infomri_monai.engines.attribute_probe import (
    ProbeRow,
    attribute_values,
    evaluate_probe,
    small_classifier,
    train_probe,
)
from infomri_monai.engines.audit_attacks import Maker, built
from infomri_monai.engines.audit_checksum import checksum_of_module, checksum_of_values
from infomri_monai.engines.audit_probe_report import ProbeReport
from infomri_monai.engines.audit_store import AuditStore, Finished, fingerprint
from infomri_monai.engines.training_budget import Budget, Course
from infomri_monai.networks.image_classifier import ImageClassifier
from infomri_monai.sampling.frozen import FrozenPolicy
from infomri_monai.sampling.uniform import UniformRandom

__all__ = ["AuditProbe"]

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
