"""Accuracy, calibration and likelihood of class probabilities as cumulative metrics.

``y_pred`` holds the probabilities of C classes or labels, (batch, C); ``y`` class numbers, (batch,), or, with ``multi_label``,
zeros and ones, (batch, C). Give ``ratio=`` for values by sampling ratio.

Also here: What every classification metric reads: class probabilities and labels, checked, and the names of classes.
How good class probabilities are, image by image: pure functions over a batch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from infomri_monai.metrics.bootstrap import Estimate, SubjectBootstrap, mean_estimate
from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.probability import BinnedCalibration, calibration_bins

__all__ = [
    "SMALLEST_PROBABILITY",
    "ClassAccuracy",
    "ClassBrierScore",
    "ClassCalibrationError",
    "ClassLikelihood",
    "ExactMatch",
    "ImageMean",
    "class_accuracy",
    "class_brier_score",
    "class_calibration_bins",
    "class_field",
    "class_names",
    "class_negative_log_likelihood",
    "class_targets",
    "exact_match",
    "probabilities_and_targets",
]

#: how far the classes' probabilities may be from adding up to 1: half precision is off by 1e-3
_SUM_TOLERANCE = 1e-2


def class_field(name: str) -> str:
    """A class's name as part of a column's name.

    Example:
        >>> class_field("ACL sprain")
        'acl_sprain'
    """
    return re.sub(r"\W+", "_", name.strip().lower())


def class_names(names: Sequence[str] | None, num_classes: int, multi_label: bool = False) -> tuple[str, ...]:
    """One name for every class or label, each of which makes a column of its own.

    Args:
        names: the names; None numbers them from 0, as labels do.
        num_classes: classes, at least 2, or (multi-label) labels, at least 1.
        multi_label: whether they are independent labels.

    Returns:
        The names.

    Raises:
        ValueError: if ``num_classes`` is too small, ``names`` is a single string or not as many, two of them give one column,
            or one gives none or that of an interval's end.

    Example:
        >>> class_names(None, 2), class_names(["no lesion", "lesion"], 2)
        (('class_0', 'class_1'), ('no lesion', 'lesion'))
    """
    if num_classes < (1 if multi_label else 2):
        raise ValueError(f"num_classes must be at least 2 (multi-label: 1), got {num_classes}.")
    if names is None:
        return tuple(f"{'label' if multi_label else 'class'}_{i}" for i in range(num_classes))
    fields = {class_field(name) for name in names}
    if isinstance(names, str) or len(names) != num_classes or len(fields) < num_classes or "" in fields:
        raise ValueError(f"labels must be different names, one for each of {num_classes}, got {names!r}.")
    for field in fields:
        stem, _, end = field.rpartition("_")
        if field in ("lower", "upper") or (end in ("lower", "upper") and stem in fields):
            raise ValueError(f"labels must not be called like an interval's end, got {field!r} in {list(names)}.")
    return tuple(names)


def class_targets(labels: Tensor, num_classes: int, multi_label: bool = False) -> Tensor:
    """Labels as 0-1 targets, one column for every class or label.

    Args:
        labels: class numbers 0 to C - 1, (batch,); or (multi-label) zeros and ones, (batch, C).
        num_classes: C.
        multi_label: labels are independent of each other.

    Returns:
        Zeros and ones, float32, (batch, C).

    Raises:
        ValueError: if the shape does not fit or a value is no class.

    Example:
        >>> import torch
        >>> class_targets(torch.tensor([2, 0]), 3)
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    expected = "(batch, C) zeros and ones" if multi_label else f"(batch,) class numbers 0 to {num_classes - 1}"
    fits = labels.ndim == 2 and labels.shape[1] == num_classes if multi_label else labels.ndim == 1
    if not fits:
        raise ValueError(f"labels must be {expected}, C = {num_classes}, got shape {tuple(labels.shape)}.")
    allowed = torch.arange(2 if multi_label else num_classes, device=labels.device, dtype=torch.float64)
    known = torch.isin(labels.double(), allowed)
    if not known.all():
        raise ValueError(f"labels must be {expected}, got {labels[~known].unique().tolist()}.")
    return labels.float() if multi_label else torch.nn.functional.one_hot(labels.long(), num_classes).float()


def probabilities_and_targets(
    probabilities: Tensor, labels: Tensor, multi_label: bool = False
) -> tuple[Tensor, Tensor]:
    """Check a batch of predictions against its labels.

    Args:
        probabilities: of the classes or labels, in [0, 1], (batch, C); of classes they add up to 1.
        labels: as :func:`class_targets`.
        multi_label: labels are independent of each other.

    Returns:
        Probabilities and 0-1 targets, float32, (batch, C), on the device of the probabilities.

    Raises:
        ValueError: if shapes do not fit, a probability is outside [0, 1], classes do not add up to 1, or a label is no class.

    Example:
        >>> import torch
        >>> probabilities_and_targets(torch.tensor([[0.3, 0.7]]), torch.tensor([0]))
        (tensor([[0.3000, 0.7000]]), tensor([[1., 0.]]))
    """
    p: Tensor = convert_to_tensor(probabilities, track_meta=False).float()
    if p.ndim != 2 or p.numel() == 0 or len(p) != len(labels):
        raise ValueError(
            f"probabilities must have shape (batch, C) and labels as many rows, got {tuple(p.shape)} and "
            f"{tuple(labels.shape)}."
        )
    low, high = p.aminmax()
    if not (low >= 0 and high <= 1 + 1e-5):
        raise ValueError(f"probabilities must lie in [0, 1], got {low.item():.6g} to {high.item():.6g}.")
    off = (p.sum(1) - 1).abs().max().item()
    if not multi_label and off > _SUM_TOLERANCE:
        raise ValueError(f"probabilities of the classes must add up to 1, got sums that are off by up to {off:.6g}.")
    labels = convert_to_tensor(labels, track_meta=False).to(p.device)
    return p.clamp(max=1), class_targets(labels, p.shape[1], multi_label)


#: float32's smallest normal number; an outcome that was called impossible costs 87.3 nats instead of infinitely many
SMALLEST_PROBABILITY = 1.1754943508222875e-38


def class_accuracy(probabilities: Tensor, labels: Tensor, multi_label: bool = False) -> Tensor:
    """Whether the most probable class is the label, or (multi-label) the share of labels that are right at 0.5.

    Args:
        probabilities: of the classes or labels, (batch, C). Of classes that are equally probable the first counts.
        labels: class numbers, (batch,), or zeros and ones, (batch, C).
        multi_label: labels are independent of each other; one is predicted if its probability is above 0.5.

    Returns:
        In [0, 1], (batch,).

    Example:
        >>> import torch
        >>> class_accuracy(torch.tensor([[0.3, 0.7], [0.6, 0.4]]), torch.tensor([1, 1]))
        tensor([1., 0.])
    """
    p, t = probabilities_and_targets(probabilities, labels, multi_label)
    right = (p > 0.5) == (t > 0) if multi_label else (p.argmax(1) == t.argmax(1)).unsqueeze(1)
    return right.float().mean(1)


def exact_match(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Whether all labels are right at 0.5; of independent labels only.

    Args:
        probabilities: of the labels, (batch, C).
        labels: zeros and ones, (batch, C).

    Returns:
        0 or 1, (batch,).

    Example:
        >>> import torch
        >>> exact_match(torch.tensor([[0.3, 0.7], [0.6, 0.4]]), torch.tensor([[0, 1], [0, 0]]))
        tensor([1., 0.])
    """
    return (class_accuracy(probabilities, labels, multi_label=True) == 1).float()


def class_brier_score(probabilities: Tensor, labels: Tensor, multi_label: bool = False) -> Tensor:
    """Sum over classes of (p - t)^2, as Brier defined it, or (multi-label) the mean over labels.

    Of two classes it is twice the (p - t)^2 of one of them, which others call the Brier score.

    Args:
        probabilities: of the classes or labels, (batch, C).
        labels: class numbers, (batch,), or zeros and ones, (batch, C).
        multi_label: labels are independent of each other.

    Returns:
        In [0, 2], or (multi-label) in [0, 1], (batch,).

    References:
        Brier, "Verification of forecasts expressed in terms of probability", 1950, equation 2.

    Example:
        >>> import torch
        >>> class_brier_score(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([1, 0]))
        tensor([0.5000, 2.0000])
    """
    p, t = probabilities_and_targets(probabilities, labels, multi_label)
    squares = (p - t).square()
    return squares.mean(1) if multi_label else squares.sum(1)


def class_negative_log_likelihood(probabilities: Tensor, labels: Tensor, multi_label: bool = False) -> Tensor:
    """Minus the logarithm of the probability that the labels were given.

    Independent labels add up, as do their entropies: the mean is the mean entropy where probabilities are frequencies.

    Args:
        probabilities: of the classes or labels, (batch, C); none counts as less than :data:`SMALLEST_PROBABILITY`.
        labels: class numbers, (batch,), or zeros and ones, (batch, C).
        multi_label: labels are independent of each other.

    Returns:
        Nats, at most 87.3 of a class or label, (batch,).

    Example:
        >>> import torch
        >>> class_negative_log_likelihood(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([0, 0]))
        tensor([ 0.6931, 87.3365])
    """
    p, t = probabilities_and_targets(probabilities, labels, multi_label)
    given = torch.where(t > 0, p.double(), 1 - p.double()) if multi_label else (p * t).sum(1, keepdim=True).double()
    return -given.clamp(min=SMALLEST_PROBABILITY).log().sum(1).to(p.dtype)


def class_calibration_bins(probabilities: Tensor, labels: Tensor, multi_label: bool = False, bins: int = 10) -> Tensor:
    """What the calibration error and the diagram are made of; sums of several images may be added.

    Of classes, the confidence is the highest probability and the target whether that class is right. Of independent labels, it
    is every label's probability and the label itself, labels pooled.

    Args:
        probabilities: of the classes or labels, (batch, C).
        labels: class numbers, (batch,), or zeros and ones, (batch, C).
        multi_label: labels are independent of each other.
        bins: number of bins of equal width, (lower, upper] with 0 in the first.

    Returns:
        Predictions, sum of confidences and sum of targets, float64, (batch, bins, 3).

    References:
        Guo et al., "On calibration of modern neural networks", 2017, equation 3.

    Example:
        >>> import torch
        >>> class_calibration_bins(torch.tensor([[0.2, 0.8]]), torch.tensor([0]), bins=2)[0]
        tensor([[0.0000, 0.0000, 0.0000],
                [1.0000, 0.8000, 0.0000]], dtype=torch.float64)
    """
    p, t = probabilities_and_targets(probabilities, labels, multi_label)
    if not multi_label:
        p, best = p.max(1, keepdim=True)
        t = t.gather(1, best)
    return calibration_bins(p.unsqueeze(2), t.reshape(len(p), 1, -1, 1), bins)


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
