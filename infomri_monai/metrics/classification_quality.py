"""Everything the classification table needs, accumulated over batches and ranks.

Also here: The classification table: accuracy, AUROC, calibration and what the measurement tells, one row per sampling
ratio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from torch import Tensor

from infomri_monai.metrics.auroc import ClassAUROC
from infomri_monai.metrics.bootstrap import Estimate, SubjectBootstrap
from infomri_monai.metrics.classification import (
    ClassAccuracy,
    ClassBrierScore,
    ClassCalibrationError,
    ClassLikelihood,
    ExactMatch,
    ImageMean,
    class_field,
    class_names,
)
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.probability import ReliabilityDiagram
from infomri_monai.metrics.rate_distortion import MaskRatio
from infomri_monai.metrics.tables import Column, RatioTable

__all__ = ["Classification", "ClassificationQuality", "ClassificationRow", "ClassificationTable"]

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

    def record(self, row: ClassificationRow) -> dict[str, float]:
        """The row by field."""
        values = {"acceleration": row.acceleration, **row._asdict()}
        intervals: dict[str, Estimate] = {"accuracy": values.pop("accuracy"), "auroc": values.pop("auroc")}
        intervals |= {f"auroc_{class_field(n)}": estimate for n, estimate in values.pop("class_auroc").items()}
        for field, estimate in intervals.items():
            values |= {field: estimate.value, f"{field}_lower": estimate.lower, f"{field}_upper": estimate.upper}
        return {field: values.get(field, _NAN) for field in self.columns()}


class Classification(Protocol):
    """The fields of a ``ClassificationPosterior`` that are read here."""

    @property
    def probabilities(self) -> Tensor: ...
    @property
    def entropy(self) -> Tensor: ...
    @property
    def mutual_information(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...
    @property
    def kspace_entropy(self) -> Tensor: ...


class ClassificationQuality:
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

    def __init__(
        self,
        method: str,
        num_classes: int = 2,
        labels: Sequence[str] | None = None,
        multi_label: bool = False,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> None:
        self.method, self.num_classes, self.multi_label = method, num_classes, multi_label
        self.labels = class_names(labels, num_classes, multi_label)
        self.bootstrap = SubjectBootstrap(bootstrap, seed)
        self.auroc = ClassAUROC(num_classes, labels, multi_label, self.bootstrap)
        self.accuracy = ClassAccuracy(multi_label, self.bootstrap)
        self.calibration = ClassCalibrationError(multi_label)
        self.metrics: dict[str, RatioMetric] = {
            "realised_ratio": MaskRatio(),
            "accuracy": self.accuracy,
            **({"exact_match": ExactMatch()} if multi_label else {}),
            "auroc": self.auroc,
            "ece": self.calibration,
            "brier": ClassBrierScore(multi_label),
            "nll": ClassLikelihood(multi_label),
            "entropy": ImageMean("nat", f"predictive entropy{', added over labels' * multi_label}, mean over images"),
            "mutual_information": ImageMean(
                "nat", "mutual information of label and mask, mean over images; 0 for one mask"
            ),
            "kspace_entropy": ImageMean(
                "nat", "marginal entropy of the measured k-space (36)/(37), added over positions, mean over images"
            ),
        }

    def update(
        self,
        prediction: Classification,
        label: Tensor,
        ratio: Tensor | float,
        volume: Tensor | int | None = None,
    ) -> None:
        """Add a batch.

        Args:
            prediction: what the system inferred.
            label: class numbers, (batch,), or (multi-label) zeros and ones, (batch, C).
            ratio: requested sampling ratio, one or one per image.
            volume: non-negative label of the subject (volume) of each image, the unit that the intervals resample; None takes
                every image for a subject of its own.

        Raises:
            ValueError: if shapes do not fit, a probability is out of range, or a label is no class.
        """
        known = {"realised_ratio": prediction.mask, "entropy": prediction.entropy}
        known |= {"mutual_information": prediction.mutual_information, "kspace_entropy": prediction.kspace_entropy}
        # first, for it knows the number of classes: what does not fit leaves nothing behind
        for name in sorted(self.metrics, key=lambda name: name != "auroc"):
            inputs = (known[name], known[name]) if name in known else (prediction.probabilities, label)
            self.metrics[name](*inputs, ratio=ratio, volume=volume)

    def table(self) -> ClassificationTable:
        """The table of all batches since ``reset()``, on every rank the same.

        Raises:
            ValueError: if there are none.
        """
        separate = ("accuracy", "auroc")
        columns = {name: m.by_ratio() for name, m in self.metrics.items() if name not in separate}
        accuracy, areas = self.accuracy.estimates(), self.auroc.estimates()
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
        return ClassificationTable(self.method, rows, self._conventions(bool(subjects)))

    def diagrams(self) -> dict[float, ReliabilityDiagram]:
        """Reliability diagram of every sampling ratio, in ascending order.

        Raises:
            ValueError: if there are no images.
        """
        return self.calibration.diagrams_by_ratio()

    def by_image(self) -> dict[str, Tensor]:
        """Values of every image in the order seen (rank after rank), each (n,), by column.

        Beside the columns that are means over images there are ``ratio`` and ``volume`` (negative if none was given).

        Raises:
            ValueError: if there are no images.
        """
        ratio, volume = self.accuracy.image_labels()
        values = {n: m.by_image() for n, m in self.metrics.items() if isinstance(m, PerImageMetric)}
        return {"ratio": ratio, "volume": volume, **values}

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.metrics.values():
            metric.reset()

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
