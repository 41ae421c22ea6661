"""Area under the ROC curve of several classes, as a cumulative metric with intervals over resampled subjects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_roc_auc
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.metrics.bootstrap import Estimate, Floats, SubjectBootstrap, number_subjects
from infomri_monai.metrics.classification import class_names, probabilities_and_targets
from infomri_monai.metrics.cumulative import RatioMetric

__all__ = ["ClassAUROC", "RocCurve", "auroc_estimates", "class_auroc", "roc_curve", "weighted_auroc"]


@takes(scores="real", targets="label")
def class_auroc(scores: Tensor, targets: Tensor) -> Tensor:
    """Area under the ROC curve of every class against the rest, ties counted half, by ``monai.metrics.compute_roc_auc``.

    MONAI's is not asked about a class that is absent, or all there is: it would warn, which some callers make an error. Labels
    are handed to it as integers: after a tie it adds up in the labels' type, and float32 is off by some 1e-7.

    Args:
        scores: the higher, the rather of the class, (n, C).
        targets: zeros and ones, (n, C).

    Returns:
        In [0, 1], float64, (C,); NaN where all targets are the same.

    Raises:
        ValueError: if a score is not finite.

    References:
        Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve", 1982.

    Example:
        >>> import torch
        >>> class_auroc(torch.tensor([[0.1], [0.4], [0.4], [0.8]]), torch.tensor([[0], [0], [1], [1]]))
        tensor([0.8750], dtype=torch.float64)
    """
    scores = scores.detach().cpu()
    _check_scores(scores.numpy())
    both = targets.amin(0) < targets.amax(0)
    areas = [
        float(compute_roc_auc(scores[:, c], targets[:, c].long())) if both[c] else float("nan")  # type: ignore[arg-type]
        for c in range(targets.shape[1])
    ]
    return torch.tensor(areas, dtype=torch.float64)


def _check_scores(scores: npt.NDArray[Any]) -> None:
    if not np.isfinite(scores).all():
        raise ValueError(
            f"scores must be finite, got {int((~np.isfinite(scores)).sum())} of {scores.size} that are not."
        )


def weighted_auroc(scores: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """The area when every image counts several times, for many countings at once.

    ``monai.metrics.compute_roc_auc`` knows no weights; its loop over images would run once for every resample.

    Args:
        scores: the higher, the rather positive, (n,).
        positive: whether an image is, (n,).
        weights: how often every image counts, (resamples, n).

    Returns:
        Probability that a positive one scores higher than a negative one, ties counted half, (resamples,); NaN where either
        has no weight.

    Raises:
        ValueError: if a score is not finite.

    References:
        Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other", 1947.

    Example:
        >>> scores, positive = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True])
        >>> weighted_auroc(scores, positive, np.array([[1.0, 1, 1, 1], [0, 1, 2, 1], [1, 1, 0, 0]])).round(3)
        array([0.875, 0.667,   nan])
    """
    _check_scores(scores)
    order = np.argsort(scores[~positive], kind="stable")
    ordered = scores[~positive][order]
    below = np.zeros((len(weights), len(ordered) + 1))  # weight of the first negatives
    np.cumsum(weights[:, np.flatnonzero(~positive)[order]], axis=1, out=below[:, 1:])
    above, at_most = (np.searchsorted(ordered, scores[positive], side) for side in ("left", "right"))
    of_positives = weights[:, positive]
    wins = np.einsum("rp,rp->r", of_positives, below[:, above] + below[:, at_most]) / 2
    pairs = of_positives.sum(1) * below[:, -1]
    return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


class RocCurve(NamedTuple):
    """Rates as the threshold falls; positive is a score of at least the threshold.

    Attributes:
        false_positive: 1 - specificity, (points,), from 0 to 1.
        true_positive: sensitivity, (points,), from 0 to 1.
    """

    false_positive: Tensor
    true_positive: Tensor


def roc_curve(scores: Tensor, targets: Tensor) -> RocCurve:
    """The curve's corners, one for every different score, and (0, 0).

    MONAI computes the area under it only.

    Args:
        scores: the higher, the rather positive, (n,).
        targets: zeros and ones, (n,), of which there are both.

    Returns:
        Both rates, float64.

    Raises:
        ValueError: if shapes differ, all targets are the same, or a score is not finite.

    Example:
        >>> import torch
        >>> roc_curve(torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([1, 1, 0, 0])).true_positive
        tensor([0.0000, 0.5000, 1.0000, 1.0000], dtype=torch.float64)
    """
    positive = targets > 0
    if scores.shape != targets.shape or scores.ndim != 1 or bool(positive.all()) or not bool(positive.any()):
        raise ValueError(
            f"scores and targets must be (n,), with positive and negative targets, got {tuple(scores.shape)} and "
            f"{tuple(targets.shape)} with {int(positive.sum())} positive."
        )
    _check_scores(scores.detach().cpu().numpy())
    order = scores.argsort(descending=True, stable=True)
    ordered, hits = scores[order], positive[order].double()
    last = torch.ones_like(ordered, dtype=torch.bool)  # of the images of one score
    last[:-1] = ordered[1:] != ordered[:-1]
    rates = [torch.cat([hits.new_zeros(1), (h.cumsum(0) / h.sum())[last]]) for h in (1 - hits, hits)]
    return RocCurve(*rates)


def auroc_estimates(scores: Tensor, targets: Tensor, volume: Tensor, bootstrap: SubjectBootstrap) -> list[Estimate]:
    """Area of every class and, last, their mean, each with its interval.

    Args:
        scores: the higher, the rather of the class, (n, C).
        targets: zeros and ones, (n, C).
        volume: label of the subject of every image, (n,); negative: the image is a subject of its own.
        bootstrap: draws the subjects.

    Returns:
        C + 1 estimates. The mean is NaN if one of the areas is, as MONAI's; its interval, like a class's, is over the resamples
        that define it.

    Example:
        >>> import torch
        >>> scores, targets = torch.linspace(0, 1, 20).unsqueeze(1), (torch.arange(20).unsqueeze(1) % 11 > 5).float()
        >>> one, mean = auroc_estimates(scores, targets, torch.full((20,), -1.0), SubjectBootstrap())
        >>> one == mean, [round(number, 2) for number in one]
        (True, [0.69, 0.42, 0.9])
    """
    s, t = scores.cpu().double(), targets.cpu()
    areas = class_auroc(s, t)
    numbers, positive = s.numpy(), t.numpy() > 0
    subjects = number_subjects(volume.cpu().double().numpy(), np.concatenate([numbers, positive], 1))

    def statistic(weights: Floats) -> Floats:
        columns = [weighted_auroc(numbers[:, c], positive[:, c], weights) for c in range(numbers.shape[1])]
        return np.stack([*columns, np.mean(columns, axis=0)], 1)

    ends = bootstrap.interval(statistic, subjects)
    values = [*areas.tolist(), areas.mean().item()]
    ends[:, np.isnan(values)] = np.nan
    return [Estimate(value, *end) for value, end in zip(values, ends.T.tolist(), strict=True)]


class ClassAUROC(RatioMetric):
    """Area under the ROC curve of every class or label, and their mean; keeps probabilities and targets of every image.

    Of two classes that exclude each other only the second is scored: the first has the same area. Several are scored one
    against the rest. The area is that of ``monai.metrics.ROCAUCMetric(average="macro")`` given targets, which knows neither
    ratios nor intervals and scores both of two classes. NaN, and a warning in the log, where a class is absent or all there is.

    Args:
        num_classes: classes, at least 2, or (multi-label) labels.
        names: of the classes or labels, for the log; None numbers them.
        multi_label: labels are independent of each other.
        bootstrap: draws the subjects of the intervals; None: 1000 times.

    Raises:
        ValueError: if ``num_classes`` is too small or ``names`` are not as many.

    Example:
        >>> import torch
        >>> metric, lesion = ClassAUROC(2), torch.tensor([0.1, 0.4, 0.4, 0.8])
        >>> _ = metric(torch.stack([1 - lesion, lesion], 1), torch.tensor([0, 0, 1, 1]), ratio=0.25)
        >>> metric.aggregate(), metric.estimates()[0.25]["class_1"].value
        (tensor(0.8750, dtype=torch.float64), 0.875)
    """

    unit = "1"

    def __init__(
        self,
        num_classes: int,
        names: Sequence[str] | None = None,
        multi_label: bool = False,
        bootstrap: SubjectBootstrap | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.multi_label = num_classes, multi_label
        self._first = 1 if num_classes == 2 and not multi_label else 0
        self.names = class_names(names, num_classes, multi_label)[self._first :]
        self.bootstrap = bootstrap or SubjectBootstrap()
        kind = "labels" if multi_label else "classes, each against the rest"
        what = f"of {self.names[0]}" if len(self.names) == 1 else f"mean over {kind}"
        self.convention = f"area under the ROC curve, ties half, {what}"

    def statistics(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Probabilities and targets of the scored classes, shape (batch, 2, scored)."""
        both = torch.stack(probabilities_and_targets(y_pred, y, self.multi_label), 1)
        if both.shape[2] != self.num_classes:
            raise ValueError(f"probabilities must be of {self.num_classes} classes or labels, got {both.shape[2]}.")
        return both[:, :, self._first :]

    def summary(self, statistics: Tensor, volume: Tensor) -> Tensor:
        """Mean area."""
        self._warn(statistics[:, 1])
        return class_auroc(*statistics.unbind(1)).mean()

    def estimates(self) -> dict[float, dict[str, Estimate]]:
        """Area with its interval, by ratio in ascending order, then by name; the mean's name is empty.

        Raises:
            ValueError: if there are no images.
        """
        statistics, ratio, volume = self._gathered()
        self._warn(statistics[:, 1])
        found = {}
        for s, at in self._groups(ratio).items():
            scores, targets = statistics[at].unbind(1)
            estimates = auroc_estimates(scores, targets, volume[at], self.bootstrap)
            found[s] = dict(zip((*self.names, ""), estimates, strict=True))
        return found

    def _warn(self, targets: Tensor) -> None:
        absent = [n for n, low, high in zip(self.names, targets.amin(0), targets.amax(0), strict=True) if low == high]
        if absent:
            said = f"{len(targets)} images all have or all lack {', '.join(absent)}"
            logging.getLogger(__name__).warning("AUROC is not defined: %s", said)
