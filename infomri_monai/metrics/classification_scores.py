"""How good class probabilities are, image by image: pure functions over a batch.

Every function takes the probabilities of C classes or labels, (batch, C), and class numbers, (batch,), or, with
``multi_label``, zeros and ones, (batch, C). It raises ValueError as
:func:`~infomri_monai.metrics.class_labels.probabilities_and_targets`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from infomri_monai.metrics.class_labels import probabilities_and_targets
from infomri_monai.metrics.probability_calibration import calibration_bins

__all__ = [
    "SMALLEST_PROBABILITY",
    "class_accuracy",
    "class_brier_score",
    "class_calibration_bins",
    "class_negative_log_likelihood",
    "exact_match",
]

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
