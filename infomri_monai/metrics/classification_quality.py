"""Everything the classification table needs, accumulated over batches and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from infomri_monai.metrics.bootstrap import SubjectBootstrap
from infomri_monai.metrics.class_auroc import ClassAUROC
from infomri_monai.metrics.class_labels import class_field, class_names
from infomri_monai.metrics.classification_metrics import (
    ClassAccuracy,
    ClassBrierScore,
    ClassCalibrationError,
    ClassLikelihood,
    ExactMatch,
    ImageMean,
)
from infomri_monai.metrics.classification_table import ClassificationRow, ClassificationTable
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.probability_calibration import ReliabilityDiagram
from infomri_monai.metrics.rate_distortion import MaskRatio

__all__ = ["Classification", "ClassificationQuality"]


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
