"""Area under the ROC curve of several classes, and of resampled images all at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_roc_auc
from torch import Tensor

from infomri_monai.metrics.bootstrap import Estimate, Floats, SubjectBootstrap, number_subjects

__all__ = ["auroc_estimates", "class_auroc", "weighted_auroc"]


def class_auroc(scores: Tensor, targets: Tensor) -> Tensor:
    """Area under the ROC curve of every class against the rest, ties counted half, by ``monai.metrics.compute_roc_auc``.

    MONAI's is not asked about a class that is absent, or all there is: it would warn, which some callers make an error. Labels
    are handed to it as integers: after a tie it adds up in the labels' type, and float32 is off by some 1e-7.

    Args:
        scores: the higher, the rather of the class, (n, C).
        targets: zeros and ones, (n, C).

    Returns:
        In [0, 1], float64, (C,); NaN where all targets are the same.

    References:
        Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve", 1982.

    Example:
        >>> import torch
        >>> class_auroc(torch.tensor([[0.1], [0.4], [0.4], [0.8]]), torch.tensor([[0], [0], [1], [1]]))
        tensor([0.8750], dtype=torch.float64)
    """
    both = targets.amin(0) < targets.amax(0)
    areas = [
        float(compute_roc_auc(scores[:, c], targets[:, c].long())) if both[c] else float("nan")  # type: ignore[arg-type]
        for c in range(targets.shape[1])
    ]
    return torch.tensor(areas, dtype=torch.float64)


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

    References:
        Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other", 1947.

    Example:
        >>> scores, positive = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True])
        >>> weighted_auroc(scores, positive, np.array([[1.0, 1, 1, 1], [0, 1, 2, 1], [1, 1, 0, 0]])).round(3)
        array([0.875, 0.667,   nan])
    """
    order = np.argsort(scores[~positive], kind="stable")
    ordered = scores[~positive][order]
    below = np.zeros((len(weights), len(ordered) + 1))  # weight of the first negatives
    np.cumsum(weights[:, np.flatnonzero(~positive)[order]], axis=1, out=below[:, 1:])
    above, at_most = (np.searchsorted(ordered, scores[positive], side) for side in ("left", "right"))
    of_positives = weights[:, positive]
    wins = np.einsum("rp,rp->r", of_positives, below[:, above] + below[:, at_most]) / 2
    pairs = of_positives.sum(1) * below[:, -1]
    return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


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
