"""How good class probabilities are, image by image: accuracy, calibration and likelihood, as functions over a batch.

Probabilities are of C classes or labels, (batch, C); labels are class numbers, (batch,), or, with ``multi_label``, zeros and ones,
(batch, C).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.metrics.probability import calibration_bins

__all__ = [
    "SMALLEST_PROBABILITY",
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


@takes(probabilities="real", labels="label")
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


@takes(probabilities="real", labels="label")
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


@takes(probabilities="real", labels="label")
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


@takes(probabilities="real", labels="label")
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


@takes(probabilities="real", labels="label", bins="whole")
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
