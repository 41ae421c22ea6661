"""The attribute probe of an audit: can a second, private label be told from the defender's measurements?"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from monai.networks.nets import ResNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from infomri_monai.audit.scene import CERTAIN, Budget, Course, PrepareListedRatios, Scene, raw_entries, size
from infomri_monai.audit.store import AuditStore, Finished, checksum_of_values
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
from infomri_monai.engines.prepare import PrepareLabels, PrepareRatioSweep
from infomri_monai.metrics.tables import RatioTable
from infomri_monai.networks.classifier import ImageClassifier
from infomri_monai.sampling.policy import FrozenPolicy
from infomri_monai.sampling.uniform import UniformRandom
from infomri_monai.systems.classification import ClassificationSystem, ClassificationTraining

__all__ = [
    "AuditProbe",
    "ProbeReport",
    "ProbeRow",
    "ProbeTable",
    "attribute_values",
    "evaluate_probe",
    "small_classifier",
    "train_probe",
]


class ProbeRow(NamedTuple):
    """The probe at one ratio; errors are standard errors over the test images.

    Attributes:
        ratio: requested sampled positions / all positions.
        accuracy: share of test images whose attribute was told.
        accuracy_error: its standard error.
        balanced_accuracy: mean over the attribute's values of the share told; a guess has 1 / number of values.
        balanced_error: its standard error.
        majority_rate: accuracy of always saying the training data's most frequent value.
        chance: 1 / number of values in the test data.
        images: number of test images.
    """

    ratio: float
    accuracy: float
    accuracy_error: float
    balanced_accuracy: float
    balanced_error: float
    majority_rate: float
    chance: float
    images: int

    @property
    def told(self) -> bool:
        """Whether accuracy or balanced accuracy is above a guess by more than its 95 % interval.

        Example:
            >>> ProbeRow(0.25, 0.9, 0.02, 0.75, 0.05, 0.9, 0.5, 200).told  # as the majority, but the rare value is told
            True
        """
        above = self.accuracy - self.majority_rate > CERTAIN * self.accuracy_error
        return above or self.balanced_accuracy - self.chance > CERTAIN * self.balanced_error


class ProbeTable(RatioTable[ProbeRow]):
    """The probe's rows.

    Example:
        >>> print(ProbeTable("probe", [ProbeRow(0.25, 0.9, 0.02, 0.85, 0.03, 0.7, 0.5, 200)]))
        probe
         ratio  accuracy  std. error  balanced  std. error  majority  chance  images
         asked      test        test  accuracy        test      rate    test
        ------  --------  ----------  --------  ----------  --------  ------  ------
        0.2500    0.9000      0.0200    0.8500      0.0300    0.7000  0.5000     200
    """

    fields: ClassVar = {
        "ratio": ("ratio", "asked", ".4f"),
        "accuracy": ("accuracy", "test", ".4f"),
        "accuracy_error": ("std. error", "test", ".4f"),
        "balanced_accuracy": ("balanced", "accuracy", ".4f"),
        "balanced_error": ("std. error", "test", ".4f"),
        "majority_rate": ("majority", "rate", ".4f"),
        "chance": ("chance", "test", ".4f"),
        "images": ("images", "", "d"),
    }


def attribute_values(data: Dataset, key: str) -> np.ndarray | None:
    """The attribute of every entry, (entries,); None if an entry has none.

    Raises:
        ValueError: if a value is not one whole number >= 0 (of any type: also a bool, or a float without a fraction).
    """
    entries = raw_entries(data)
    if size(data) and key not in entries[0]:
        entries = data  # a transform may make it
    values = []
    for index in range(size(data)):
        if key not in (entry := entries[index]):
            return None
        value = np.asarray(entry[key])
        number = float(value) if value.ndim == 0 and value.dtype.kind in "biuf" else math.nan
        if not (number.is_integer() and number >= 0):  # neither NaN nor infinity is an integer
            raise ValueError(f"{key} must be a class number >= 0 for the probe, a scalar, got {entry[key]!r}.")
        values.append(int(number))
    return np.array(values)


def small_classifier(num_classes: int) -> ImageClassifier:
    """A small ResNet (0.7 M parameters) on the zero-filled image.

    Example:
        >>> small_classifier(3).eval()(torch.rand(1, 2, 32, 32)).shape
        torch.Size([1, 4])
    """
    backbone = ResNet(
        "basic",
        layers=[1, 1, 1, 1],
        block_inplanes=[16, 32, 64, 128],
        spatial_dims=2,
        n_input_channels=2,
        conv1_t_size=3,
        conv1_t_stride=1,
        no_max_pool=True,
        num_classes=num_classes,
    )
    return ImageClassifier(backbone, num_classes)


def train_probe(
    scene: Scene, network: ImageClassifier, key: str, ratios: Sequence[float], budget: Budget, name: str
) -> Course:
    """Train a classifier of the attribute on fresh masks and noise until the validation's cross-entropy stops falling."""
    system = ClassificationSystem(scene.policy, scene.measurement, network).to(budget.device)
    prepare = [
        PrepareLabels(draw, network.num_classes, label_key=key)
        for draw in (
            PrepareListedRatios(ratios, budget.seed, scene.image_key),
            PrepareRatioSweep(ratios, budget.seed + VALIDATION, scene.image_key),
        )
    ]
    quantities = {
        "cross_entropy": lambda result, label: F.cross_entropy(result.logits, label.long(), reduction="none"),
        "accuracy": lambda result, label: (result.logits.argmax(1) == label).float(),
    }
    return train_until_no_better(system, network, _loss, quantities, scene.data[:2], prepare, budget, name)


def _loss(result: ClassificationTraining, label: Tensor) -> Tensor:
    return F.cross_entropy(result.logits, label.long())


def evaluate_probe(
    scene: Scene, network: ImageClassifier, key: str, ratios: Sequence[float], budget: Budget, majority: int, name: str
) -> list[ProbeRow]:
    """Test a trained probe at every ratio.

    Args:
        scene: as in training.
        network: the trained probe.
        key: the entries' key of the attribute.
        ratios: sampling ratios, ascending.
        budget: for batches, device and seed.
        majority: the training data's most frequent value.
        name: for the error.

    Raises:
        RuntimeError: if a logit is not finite.
    """
    prepare = PrepareLabels(
        PrepareRatioSweep(ratios, budget.seed + TEST, scene.image_key), network.num_classes, label_key=key
    )
    told: list[tuple[Tensor, Tensor]] = []

    def collect(result: ClassificationTraining, label: Tensor) -> None:
        check_finite(result.logits, name, "in the test")
        predicted, true = (part.reshape(len(ratios), -1).cpu() for part in (result.logits.argmax(1), label.long()))
        told.append((predicted, true))

    run_on_test_data(scene, ClassificationSystem(scene.policy, scene.measurement, network), prepare, budget, collect)
    predicted, label = (torch.cat(parts, 1).numpy() for parts in zip(*told, strict=True))
    return [_row(ratio, predicted[i], label[i], majority) for i, ratio in enumerate(ratios)]


def _row(ratio: float, predicted: np.ndarray, label: np.ndarray, majority: int) -> ProbeRow:
    right = predicted == label
    values = np.unique(label)
    recalls = [right[label == value] for value in values]
    # add one to either count, or a share of 0 or 1 would have no error
    shares = [((part.sum() + 1) / (part.size + 2), part.size) for part in (right, *recalls)]
    variances = [p * (1 - p) / n for p, n in shares]
    return ProbeRow(
        ratio=float(ratio),
        accuracy=float(right.mean()),
        accuracy_error=math.sqrt(variances[0]),
        balanced_accuracy=float(np.mean([part.mean() for part in recalls])),
        balanced_error=math.sqrt(sum(variances[1:])) / len(values),
        majority_rate=float((label == majority).mean()),
        chance=1 / len(values),
        images=int(label.size),
    )


class ProbeReport(NamedTuple):
    """The attribute probe; ``skipped`` says why there is none, else it is empty.

    Attributes:
        attribute: the entries' key.
        skipped: the reason.
        rows: the test at every ratio; empty if the reference does not learn the attribute.
        full: the reference's test, the same network trained and tested on fully sampled measurements.
        reference: the reference on validation data, which decides whether the probe is one.
        courses: what was trained and how it went.
    """

    attribute: str
    skipped: str = ""
    rows: Sequence[ProbeRow] = ()
    full: ProbeRow | None = None
    reference: ProbeRow | None = None
    courses: Sequence[tuple[str, Course]] = ()

    def words(self) -> list[str]:
        """What was and was not told."""
        if self.skipped:
            return [
                f"No attribute probe: {self.skipped} Nothing is said about other labels that the measurements may give away."
            ]
        lines = [_probe_line(row, f"At ratio {row.ratio:.4g}", self.attribute) for row in self.rows]
        if self.full is not None and self.rows:
            lines.append(_probe_line(self.full, "From fully sampled measurements", self.attribute))
        if self.reference is not None and not self.rows:
            lines.append(
                f"The probe does not learn `{self.attribute}` even from the full image: no statement. On the "
                f"{self.reference.images} validation images its balanced accuracy is {self.reference.balanced_accuracy:.3f} ± "
                f"{self.reference.balanced_error:.3f} (chance: {self.reference.chance:.3f}), its accuracy "
                f"{self.reference.accuracy:.3f} (always the most frequent value: {self.reference.majority_rate:.3f}); its failure "
                "on undersampled data would be no sign of protection."
            )
        lines += [f"Training {name}: {course.words()}" for name, course in self.courses]
        return lines


def _probe_line(row: ProbeRow, where: str, attribute: str) -> str:
    told = (
        f"`{attribute}` can be inferred better than by guessing"
        if row.told
        else f"this probe did not measurably infer `{attribute}` better than a guess, which does not exclude that another one can"
    )
    return (
        f"{where} accuracy is {row.accuracy:.3f} ± {row.accuracy_error:.3f} (always the most frequent value: "
        f"{row.majority_rate:.3f}), balanced accuracy {row.balanced_accuracy:.3f} ± {row.balanced_error:.3f} (chance: "
        f"{row.chance:.3f}) on {row.images} images: {told}."
    )


_NAME, _FULL = "attribute_probe", "attribute_probe_fully_sampled"


class AuditProbe(Trials):
    """Trains and tests the probe on the policy's measurements, if it learns the attribute from fully sampled ones.

    The reference comes first: where it is not better than a guess on validation data, the probe cannot tell anything.

    Args:
        scene: what it meets.
        ratios: ascending.
        budget: the limits.
        store: keeps what is finished.
        key: the entries' key of the attribute; None for no probe.
        maker: classifier or function that makes one; None for a small ResNet.

    Raises:
        ValueError: if an attribute is no class number, or the classifier does not fit the attribute or the images.
    """

    def __init__(
        self,
        scene: Scene,
        ratios: Sequence[float],
        budget: Budget,
        store: AuditStore,
        key: str | None,
        maker: Maker | None,
    ) -> None:
        super().__init__(scene, ratios, budget, store)
        self.key = key or ""
        self.skipped, self.majority, classes = _examine(scene, key)
        if self.skipped:
            return
        network = built(maker or (lambda: small_classifier(classes)), "probe", budget.seed)
        self.network = _checked(network, classes, scene)
        self.labels = [checksum_of_values(part, self.key) for part in scene.data]
        self.trials[_FULL] = scene._replace(policy=FrozenPolicy(UniformRandom(), budget.device)), [1.0]
        self.trials[_NAME] = scene, self.ratios

    def prepared(self, trial: str) -> tuple[nn.Module, Budget, dict[str, Any], dict[str, Any]]:
        """As :class:`~infomri_monai.audit.training.Trials` asks."""
        decisive = {"ratios": self.trials[trial][1], "key": self.key, "labels": self.labels}
        budget = self.budget.for_ratios(len(self.trials[trial][1]))
        return copy.deepcopy(self.network), budget, decisive, {"attribute": self.key}

    def run(self, trial: str) -> None:
        """As any trial, but nothing is trained for the policy where the reference does not learn the attribute."""
        if trial == _FULL or self._rows(_FULL)[1].told:
            super().run(trial)

    def _rows(self, trial: str) -> list[ProbeRow]:
        return [ProbeRow(**row) for row in self.done[trial].rows] if trial in self.done else []

    def trained_and_tested(self, trial: str, network: Any, budget: Budget) -> Finished:
        """Train one probe and test it."""
        scene, ratios = self.trials[trial]
        course = train_probe(scene, network, self.key, ratios, budget, trial)
        rows = evaluate_probe(scene, network, self.key, ratios, budget, self.majority, trial)
        if trial == _FULL:
            chosen = scene._replace(data=scene.data._replace(test=scene.data.validation))
            rows += evaluate_probe(chosen, network, self.key, ratios, budget, self.majority, trial)
        return Finished(course, [row._asdict() for row in rows], {})

    def report(self) -> ProbeReport:
        """What the report says."""
        if self.skipped:
            return ProbeReport(self.key, self.skipped)
        full, reference = self._rows(_FULL)
        where = {_NAME: "on the policy's measurements", _FULL: "on fully sampled measurements"}
        courses = [(where[trial], finished.course) for trial, finished in self.done.items()]
        return ProbeReport(self.key, "", self._rows(_NAME), full, reference, courses)


def _examine(scene: Scene, key: str | None) -> tuple[str, int, int]:
    """Why there is no probe (or ""), the training data's most frequent value, and the number of classes."""
    if not key:
        return "none was asked for.", 0, 0
    values = {name: attribute_values(data, key) for name, data in scene.data._asdict().items()}
    if lacking := [name for name, found in values.items() if found is None]:
        return f"the {', '.join(lacking)} data has entries without `{key}`.", 0, 0
    known: dict[str, Any] = values
    counts = np.bincount(known["train"])
    if lacking := [name for name, found in known.items() if len(np.unique(found)) < 2]:
        return f"`{key}` has only one value in the {', '.join(lacking)} data.", 0, 0
    return "", int(counts.argmax()), int(max(found.max() for found in known.values())) + 1


def _checked(network: Any, classes: int, scene: Scene) -> ImageClassifier:
    if not isinstance(network, ImageClassifier) or network.multi_label or network.num_classes < classes:
        raise ValueError(
            f"probe must be an ImageClassifier of at least {classes} exclusive classes, the attribute's, got "
            f"{type(network).__name__} of {getattr(network, 'num_classes', 'unknown')}."
        )
    if network.real_valued and scene.image().is_complex():
        raise ValueError("probe must take complex images, as the data's are, got a real-valued network.")
    return network
