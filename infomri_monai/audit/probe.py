"""The attribute probe: can a second, private label be told from the defender's measurements?

Also here: What an audit's report says of the attribute probe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.networks.nets import ResNet
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from infomri_monai.audit.attack import TEST, VALIDATION, Scene, run_on_test_data
from infomri_monai.audit.early_stopping import check_finite, train_until_no_better
from infomri_monai.audit.scene import Budget, Course, PrepareListedRatios, raw_entries, size
from infomri_monai.audit.verdict import course_words, judge_probe
from infomri_monai.engines.prepare import PrepareLabels, PrepareRatioSweep
from infomri_monai.metrics.tables import Column, RatioTable
from infomri_monai.networks.classifier import ImageClassifier
from infomri_monai.systems.classification import ClassificationSystem, ClassificationTraining

__all__ = [
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

    def columns(self) -> dict[str, Column]:
        """Every field in order."""
        return {
            "ratio": ("ratio", "asked", ".4f"),
            "accuracy": ("accuracy", "test", ".4f"),
            "accuracy_error": ("std. error", "test", ".4f"),
            "balanced_accuracy": ("balanced", "accuracy", ".4f"),
            "balanced_error": ("std. error", "test", ".4f"),
            "majority_rate": ("majority", "rate", ".4f"),
            "chance": ("chance", "test", ".4f"),
            "images": ("images", "", "d"),
        }

    def record(self, row: ProbeRow) -> dict[str, float]:
        """The row by field."""
        return row._asdict()


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
        rows: the test at every ratio.
        full: the same network trained and tested on fully sampled measurements; None if that was not asked for.
        courses: what was trained and how it went.
    """

    attribute: str
    skipped: str = ""
    rows: Sequence[ProbeRow] = ()
    full: ProbeRow | None = None
    courses: Sequence[tuple[str, Course]] = ()

    def words(self) -> list[str]:
        """What was and was not told."""
        if self.skipped:
            return [
                f"No attribute probe: {self.skipped} Nothing is said about other labels that the measurements may give away."
            ]
        lines = [_probe_line(row, f"At ratio {row.ratio:.4g}", self.attribute) for row in self.rows]
        if self.full is not None:
            lines.append(_probe_line(self.full, "From fully sampled measurements", self.attribute))
            if not _told(self.full):
                lines.append(
                    "As this probe cannot tell the attribute from complete data either, its failure on undersampled data is no "
                    "sign of protection."
                )
        lines += [f"Training {name}: {course_words(course, ())}" for name, course in self.courses]
        return lines


def _told(row: ProbeRow) -> bool:
    return judge_probe(
        row.accuracy, row.accuracy_error, row.majority_rate, row.balanced_accuracy, row.balanced_error, row.chance
    ).told


def _probe_line(row: ProbeRow, where: str, attribute: str) -> str:
    told = (
        f"`{attribute}` can be inferred better than by guessing"
        if _told(row)
        else f"this probe did not measurably infer `{attribute}` better than a guess, which does not exclude that another one can"
    )
    return (
        f"{where} accuracy is {row.accuracy:.3f} ± {row.accuracy_error:.3f} (always the most frequent value: "
        f"{row.majority_rate:.3f}), balanced accuracy {row.balanced_accuracy:.3f} ± {row.balanced_error:.3f} (chance: "
        f"{row.chance:.3f}) on {row.images} images: {told}."
    )
