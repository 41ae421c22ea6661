"""Accuracy, calibration and likelihood of class probabilities as cumulative metrics.

``y_pred`` holds the probabilities of C classes or labels, (batch, C); ``y`` class numbers, (batch,), or, with ``multi_label``,
zeros and ones, (batch, C). Give ``ratio=`` for values by sampling ratio.
"""

from __future__ import annotations

from torch import Tensor

from infomri_monai.metrics.bootstrap import Estimate, SubjectBootstrap, mean_estimate
from infomri_monai.metrics.classification_scores import (
    class_accuracy,
    class_brier_score,
    class_calibration_bins,
    class_negative_log_likelihood,
    exact_match,
)
from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.probability_metrics import BinnedCalibration

__all__ = [
    "ClassAccuracy",
    "ClassBrierScore",
    "ClassCalibrationError",
    "ClassLikelihood",
    "ExactMatch",
    "ImageMean",
]


class ClassAccuracy(PerImageMetric):
    """Share of images whose most probable class is right, or (multi-label) share of labels that are right at 0.5.

    Args:
        multi_label: labels are independent of each other.
        bootstrap: draws the subjects of the intervals; None: 1000 times.

    Example:
        >>> import torch
        >>> metric = ClassAccuracy()
        >>> _ = metric(torch.tensor([[0.3, 0.7], [0.6, 0.4]]), torch.tensor([1, 1]), ratio=0.25)
        >>> metric.aggregate(), metric.estimates()
        (tensor(0.5000), {0.25: Estimate(value=0.5, lower=0.0, upper=1.0)})
    """

    unit = "1"

    def __init__(self, multi_label: bool = False, bootstrap: SubjectBootstrap | None = None) -> None:
        super().__init__()
        self.multi_label, self.bootstrap = multi_label, bootstrap or SubjectBootstrap()
        self.convention = (
            "share of labels that are right, predicted if their probability is above 0.5, mean over labels and images"
            if multi_label
            else "share of images whose most probable class is right"
        )

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Accuracy of every image, shape (batch,)."""
        return class_accuracy(y_pred, y, self.multi_label)

    def estimates(self) -> dict[float, Estimate]:
        """Accuracy with its interval, by ratio in ascending order.

        Raises:
            ValueError: if there are no images.
        """
        right, ratio, volume = self._gathered()
        return {s: mean_estimate(right[at], volume[at], self.bootstrap) for s, at in self._groups(ratio).items()}


class ExactMatch(PerImageMetric):
    """Share of images all of whose independent labels are right at 0.5.

    Example:
        >>> import torch
        >>> metric = ExactMatch()
        >>> _ = metric(torch.tensor([[0.3, 0.7], [0.6, 0.4]]), torch.tensor([[0, 1], [0, 0]]))
        >>> metric.aggregate()
        tensor(0.5000)
    """

    unit = "1"
    convention = "share of images all of whose labels are right at 0.5"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Whether all labels of an image are right, shape (batch,)."""
        return exact_match(y_pred, y)


class ClassBrierScore(PerImageMetric):
    """Mean over images of the Brier score: squared errors added over classes, or (multi-label) averaged over labels.

    Args:
        multi_label: labels are independent of each other.

    Example:
        >>> import torch
        >>> metric = ClassBrierScore()
        >>> _ = metric(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        >>> metric.aggregate()
        tensor(0.5000)
    """

    unit = "1"

    def __init__(self, multi_label: bool = False) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.convention = (
            "Brier score, squared error of a label's probability, mean over labels and images, 0 to 1; 0 is best"
            if multi_label
            else "Brier score of 1950, squared errors added over all classes, mean over images, 0 to 2; 0 is best"
        )

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Brier score of every image, shape (batch,)."""
        return class_brier_score(y_pred, y, self.multi_label)


class ClassLikelihood(PerImageMetric):
    """Mean over images of the negative log-likelihood of the labels, in nats.

    Args:
        multi_label: labels are independent of each other.

    Example:
        >>> import torch
        >>> metric = ClassLikelihood()
        >>> _ = metric(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        >>> metric.aggregate()
        tensor(0.6931)
    """

    unit = "nat"

    def __init__(self, multi_label: bool = False) -> None:
        super().__init__()
        self.multi_label = multi_label
        added = ", added over labels" if multi_label else ""
        self.convention = (
            f"negative log-likelihood of an image's label{added}, mean over images, at most 87.3 nats a label"
        )

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood of every image, nats, shape (batch,)."""
        return class_negative_log_likelihood(y_pred, y, self.multi_label)


class ClassCalibrationError(BinnedCalibration):
    """Expected calibration error of the highest probability, or (multi-label) of all labels' probabilities pooled.

    Args:
        multi_label: labels are independent of each other.
        bins: number of bins of equal width.

    Example:
        >>> import torch
        >>> metric = ClassCalibrationError()
        >>> _ = metric(torch.tensor([[0.25, 0.75], [0.75, 0.25]]), torch.tensor([1, 1]))
        >>> metric.aggregate(), metric.diagram().frequency[7]
        (tensor(0.2500), tensor(0.5000, dtype=torch.float64))
    """

    def __init__(self, multi_label: bool = False, bins: int = 10) -> None:
        super().__init__(bins)
        self.multi_label = multi_label
        what = "every label's probability against its frequency, labels pooled"
        what = what if multi_label else "the highest probability against how often that class is right"
        self.convention = f"expected calibration error, {bins} bins of equal width over all images: {what}"

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Bins of every image, shape (batch, bins, 3)."""
        return class_calibration_bins(y_pred, y, self.multi_label, self.bins)


class ImageMean(PerImageMetric):
    """Mean over images of a number that is known already; ``y_pred`` and ``y`` are both the numbers, (batch,).

    Args:
        unit: their unit.
        convention: one line that says what they are.

    Example:
        >>> import torch
        >>> metric, entropy = ImageMean("nat", "predictive entropy"), torch.tensor([0.0, 0.5])
        >>> _ = metric(entropy, entropy)
        >>> metric.aggregate()
        tensor(0.2500)
    """

    def __init__(self, unit: str, convention: str) -> None:
        super().__init__()
        self.unit, self.convention = unit, convention

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """The numbers."""
        return y_pred.float()
