"""The classification table: accuracy, AUROC, calibration and what the measurement tells, one row per sampling ratio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.metrics.auroc import ClassAUROC
from infomri_monai.metrics.bootstrap import Estimate, SubjectBootstrap
from infomri_monai.metrics.classification import (
    class_accuracy,
    class_brier_score,
    class_calibration_bins,
    class_field,
    class_names,
    class_negative_log_likelihood,
    exact_match,
)
from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.probability import BinnedCalibration, ReliabilityDiagram
from infomri_monai.metrics.rate_distortion import mask_ratio
from infomri_monai.metrics.tables import Column, RatioTable, TableCollector

__all__ = ["ClassificationQuality", "ClassificationRow", "ClassificationTable"]

_NAN = float("nan")

#: more classes than this have their areas in the files only
_SHOWN_CLASSES = 4


class ClassificationRow(NamedTuple):
    """One sampling ratio; NaN for what was not measured. Every value but areas and ``ece`` is a mean over images.

    Attributes:
        ratio: requested sampled positions / all positions.
        realised_ratio: mean ratio of the masks.
        accuracy: share of images whose most probable class is right; multi-label: of labels that are right at 0.5.
        exact_match: multi-label: share of images all of whose labels are right at 0.5.
        auroc: area under the ROC curve: of class 1 of two, else the mean over classes or labels.
        class_auroc: the same of every class or label, by name.
        ece: expected calibration error over all images together.
        brier: Brier score, added over classes; multi-label: mean over labels.
        nll: negative log-likelihood, nats.
        entropy: predictive entropy, nats.
        mutual_information: between label and mask, nats.
        kspace_entropy: entropy of what was measured, (36)/(37), nats.
        images: number of images.
        subjects: number of subjects; NaN if it is not known which images are of one.
    """

    ratio: float
    realised_ratio: float = _NAN
    accuracy: Estimate = Estimate(_NAN)
    exact_match: float = _NAN
    auroc: Estimate = Estimate(_NAN)
    class_auroc: Mapping[str, Estimate] = MappingProxyType({})
    ece: float = _NAN
    brier: float = _NAN
    nll: float = _NAN
    entropy: float = _NAN
    mutual_information: float = _NAN
    kspace_entropy: float = _NAN
    images: int = 0
    subjects: float = _NAN

    @property
    def acceleration(self) -> float:
        """All positions / requested sampled positions."""
        return 1 / self.ratio


def _with_interval(field: str, column: Column) -> dict[str, Column]:
    """A column and its interval's ends, which the text shows in the column itself."""
    header, unit, _ = column
    return {
        field: column,
        f"{field}_lower": (header, f"{unit}, lower", ""),
        f"{field}_upper": (header, f"{unit}, upper", ""),
    }


class ClassificationTable(RatioTable[ClassificationRow]):
    """Rows in ascending ratio under headers that name unit and convention; in brackets, intervals.

    In the files an interval's ends have columns of their own, ``<field>_lower`` and ``<field>_upper``. Areas of more than four
    classes are in the files only.

    Args:
        method: what was evaluated; the table's title.
        rows: rows in any order, one per ratio.
        conventions: lines printed below the table and written to the JSON file, by field.

    Raises:
        ValueError: if two rows have one ratio.

    Example:
        >>> row = ClassificationRow(0.25, accuracy=Estimate(0.9, 0.85, 0.94), auroc=Estimate(0.96), nll=0.31, images=60)
        >>> print(ClassificationTable("demo", [row]))
        demo
         accel.   ratio                 accuracy   AUROC     NLL  images
        1/ratio   asked                            class     nat
        -------  ------  -----------------------  ------  ------  ------
              4  0.2500  0.9000 [0.8500, 0.9400]  0.9600  0.3100      60
    """

    def columns(self) -> dict[str, Column]:
        """Every field in order; a class that any row knows has its own."""
        names = dict.fromkeys(name for row in self.rows for name in row.class_auroc)
        style = ".4f" if len(names) <= _SHOWN_CLASSES else ""
        classes: dict[str, Column] = {}
        for name in names:
            classes |= _with_interval(f"auroc_{class_field(name)}", (name, "AUROC", style))
        return {
            "acceleration": ("accel.", "1/ratio", ".4g"),
            "ratio": ("ratio", "asked", ".4f"),
            "realised_ratio": ("ratio", "realised", ".4f"),
            **_with_interval("accuracy", ("accuracy", "", ".4f")),
            "exact_match": ("exact", "match", ".4f"),
            **_with_interval("auroc", ("AUROC", "mean" if names else "class", ".4f")),
            **classes,
            "ece": ("ECE", "pooled", ".4f"),
            "brier": ("Brier", "", ".4f"),
            "nll": ("NLL", "nat", ".4f"),
            "entropy": ("entropy", "nat", ".4f"),
            "mutual_information": ("I(label;mask)", "nat", ".4f"),
            "kspace_entropy": ("H(k-space)", "nat", ".1f"),
            "images": ("images", "", "d"),
            "subjects": ("subjects", "", ".0f"),
        }

    def extra(self, row: ClassificationRow) -> dict[str, float]:
        """Estimates and their ends."""
        intervals = {"accuracy": row.accuracy, "auroc": row.auroc}
        intervals |= {f"auroc_{class_field(name)}": estimate for name, estimate in row.class_auroc.items()}
        ends = zip(("", "_lower", "_upper"), range(3), strict=True)
        return {f"{field}{end}": estimate[i] for end, i in ends for field, estimate in intervals.items()}


def _measures(multi_label: bool) -> dict[str, tuple[Callable[..., Tensor], str, str]]:
    """What is measured of probabilities and labels: function, unit, convention."""
    if multi_label:
        accuracy = (
            "share of labels that are right, predicted if their probability is above 0.5, mean over labels and images"
        )
        brier = "Brier score, squared error of a label's probability, mean over labels and images, 0 to 1; 0 is best"
    else:
        accuracy = "share of images whose most probable class is right"
        brier = "Brier score of 1950, squared errors added over all classes, mean over images, 0 to 2; 0 is best"
    added = ", added over labels" * multi_label
    likelihood = f"negative log-likelihood of an image's label{added}, mean over images, at most 87.3 nats a label"
    return {
        "accuracy": (class_accuracy, "1", accuracy),
        "brier": (class_brier_score, "1", brier),
        "nll": (class_negative_log_likelihood, "nat", likelihood),
    }


def _calibration(multi_label: bool) -> BinnedCalibration:
    what = "every label's probability against its frequency, labels pooled"
    what = what if multi_label else "the highest probability against how often that class is right"
    convention = f"expected calibration error, 10 bins of equal width over all images: {what}"
    return BinnedCalibration(partial(class_calibration_bins, multi_label=multi_label), convention)


def _known(what: str, note: str = "") -> PerImageMetric:
    """Mean over images of nats that are known already; ``y_pred`` and ``y`` are both the numbers, (batch,)."""
    return PerImageMetric(lambda nats, _: nats.float(), "nat", f"{what}, mean over images{note}", may_be_unknown=True)


class ClassificationQuality(TableCollector[ClassificationTable]):
    """Collects classifications of any ratios and makes the classification table.

    Args:
        method: title of the table.
        num_classes: classes, or (multi-label) labels.
        labels: names of the classes or labels, for their columns of AUROC; None numbers them. Of two classes, and of a single
            label, there is one area and no own column.
        multi_label: labels are independent of each other.
        bootstrap: how often subjects are drawn for the intervals of accuracy and AUROC; 0 gives none.
        seed: of the draws.

    Raises:
        ValueError: if ``num_classes`` is too small, ``labels`` are not as many or give a column twice, or ``bootstrap`` or
            ``seed`` is negative.

    Example:
        >>> import torch
        >>> from monai.networks.nets import resnet10
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import ImageClassifier
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> from infomri_monai.systems import ClassificationSystem
        >>> network = ImageClassifier(resnet10(spatial_dims=2, n_input_channels=2, num_classes=2))
        >>> system = ClassificationSystem(PatternGenerationNetwork((16, 16)), FourierMeasurement(), network).eval()
        >>> image, label, evaluation = torch.rand(3, 1, 16, 16), torch.tensor([0, 0, 1]), ClassificationQuality("demo")
        >>> for ratio in (0.25, 0.5):
        ...     evaluation.update(system.infer(image, ratio), label, ratio)
        >>> [(row.acceleration, row.images) for row in evaluation.table().rows]
        [(4.0, 3), (2.0, 3)]
    """

    file_name = "classification"

    def __init__(
        self,
        method: str = "InfoMRI",
        num_classes: int = 2,
        labels: Sequence[str] | None = None,
        multi_label: bool = False,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> None:
        self.num_classes, self.multi_label = num_classes, multi_label
        self.labels = class_names(labels, num_classes, multi_label)
        self.bootstrap = SubjectBootstrap(bootstrap, seed)
        self.auroc = ClassAUROC(num_classes, labels, multi_label, self.bootstrap)
        self.calibration = _calibration(multi_label)
        measured = {
            name: PerImageMetric(partial(function, multi_label=multi_label), unit, convention)
            for name, (function, unit, convention) in _measures(multi_label).items()
        }
        self.accuracy = measured["accuracy"]
        if multi_label:
            measured["exact_match"] = PerImageMetric(
                exact_match, "1", "share of images all of whose labels are right at 0.5"
            )
        self._given = {
            "realised_ratio": mask_ratio(),
            "entropy": _known(f"predictive entropy{', added over labels' * multi_label}"),
            "mutual_information": _known("mutual information of label and mask", "; 0 for one mask"),
            "kspace_entropy": _known("marginal entropy of the measured k-space (36)/(37), added over positions"),
        }
        # AUROC first, for it knows the number of classes: what does not fit leaves nothing behind
        super().__init__(method, {"auroc": self.auroc, **measured, "ece": self.calibration, **self._given})

    @takes(label="label")
    def update(self, prediction: Any, label: Tensor, ratio: Tensor | float, volume: Tensor | int | None = None) -> None:
        """Add a batch.

        Args:
            prediction: a :class:`~infomri_monai.systems.ClassificationPosterior`.
            label: class numbers, (batch,), or (multi-label) zeros and ones, (batch, C).
            ratio: requested sampling ratio, one or one per image.
            volume: non-negative label of the subject (volume) of each image, the unit that the intervals resample; None takes
                every image for a subject of its own.

        Raises:
            ValueError: if shapes do not fit, a probability is out of range, or a label is no class.
        """
        for name, metric in self.metrics.items():
            known = prediction.mask if name == "realised_ratio" else getattr(prediction, name, None)
            inputs = (known, known) if name in self._given else (prediction.probabilities, label)
            metric(*inputs, ratio=ratio, volume=volume)

    def table(self) -> ClassificationTable:
        """The table of all batches since ``reset()``, on every rank the same.

        Raises:
            ValueError: if there are none.
        """
        separate = ("accuracy", "auroc")
        columns = {name: m.by_ratio() for name, m in self.metrics.items() if name not in separate}
        accuracy, areas = self.accuracy.estimates(self.bootstrap), self.auroc.estimates()
        subjects = self.accuracy.subjects_by_ratio()
        rows = [
            ClassificationRow(
                ratio=s,
                images=images,
                subjects=subjects.get(s, float("nan")),
                accuracy=accuracy[s],
                auroc=areas[s].pop(""),
                class_auroc=areas[s] if len(areas[s]) > 1 else {},
                **{name: column[s] for name, column in columns.items()},
            )
            for s, images in self.accuracy.images_by_ratio().items()
        ]
        return ClassificationTable(self.method, rows, self._conventions(bool(subjects)), self.told())

    def diagrams(self) -> dict[float, ReliabilityDiagram]:
        """Reliability diagram of every sampling ratio, in ascending order.

        Raises:
            ValueError: if there are no images.
        """
        return self.calibration.diagrams_by_ratio()

    def _conventions(self, with_subjects: bool) -> dict[str, str]:
        conventions = {name: metric.convention for name, metric in self.metrics.items()}
        how = self.bootstrap.convention
        if how and not with_subjects:
            how += " (every image a subject of its own)"
        for name in ("accuracy", "auroc"):
            conventions[name] += f"; {how}" if how else ""
        if len(self.auroc.names) > 1:
            each = f"area under the ROC curve of one {'label' if self.multi_label else 'class against the rest'}"
            fields = [f"auroc_{class_field(name)}" for name in self.auroc.names]
            conventions |= dict.fromkeys(fields, f"{each}; {how}" if how else each)
        return conventions
