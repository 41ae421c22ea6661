"""Generalized energy distance between a model's segmentations and the raters'."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.overlap import pairwise_iou

__all__ = ["GeneralizedEnergyDistance", "energy_distance", "energy_distance_by_count", "mean_within"]


def energy_distance(samples: Tensor, raters: Tensor, unbiased: bool = False) -> Tensor:
    """Squared generalized energy distance 2 E d(S,Y) - E d(S,S') - E d(Y,Y') with d = 1 - IoU (equation 45, decision 20).

    IoU is averaged over structures, 1 where both masks are empty. The V-statistic averages over all pairs, an element with
    itself included; it is never negative, and falls with the number of samples. The U-statistic leaves the self pairs out; it
    does not depend on the number of samples in expectation, and may be negative. A single sample, or rater, has no other to
    compare with: its within term is 0 in both.

    Args:
        samples: 0-1 masks, (batch, sample, structure, *spatial).
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.
        unbiased: U-statistic instead of V-statistic.

    Returns:
        Dimensionless, (batch,); NaN where all raters are missing. The V-statistic lies in [0, 2].

    Raises:
        ValueError: if shapes do not fit, or a value is neither 0, 1 nor NaN.

    References:
        Kohl et al., "A probabilistic U-Net for segmentation of ambiguous images", 2018, equation 4 (its square).

    Example:
        >>> import torch
        >>> samples = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]]).reshape(1, 2, 1, 4)
        >>> energy_distance(samples, samples), energy_distance(samples, samples[:, :1], unbiased=True)
        (tensor([0.]), tensor([0.]))
    """
    drawn = samples.shape[1]
    return _from_pairs(1 - pairwise_iou(samples, raters), drawn, drawn, unbiased)


def energy_distance_by_count(samples: Tensor, raters: Tensor, counts: Sequence[int]) -> dict[int, Tensor]:
    """:func:`energy_distance` (V-statistic) of the first K samples for several K, all from one comparison of the masks.

    Args:
        samples: as :func:`energy_distance`.
        raters: as :func:`energy_distance`.
        counts: numbers of samples K; those beyond the samples drawn are left out.

    Example:
        >>> import torch
        >>> samples = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]]).reshape(1, 2, 1, 4)
        >>> {k: round(float(v), 3) for k, v in energy_distance_by_count(samples, samples, (1, 2, 4)).items()}
        {1: 0.333, 2: 0.0}
    """
    distance, drawn = 1 - pairwise_iou(samples, raters), samples.shape[1]
    return {k: _from_pairs(distance, drawn, k, False) for k in counts if k <= drawn}


def _from_pairs(distance: Tensor, drawn: int, k: int, unbiased: bool) -> Tensor:
    """Energy distance of the first ``k`` of ``drawn`` samples, whose raters follow them in the matrix of distances."""
    cross = distance[..., :k, drawn:].nanmean((-2, -1))
    within = [mean_within(part, unbiased) for part in (distance[..., :k, :k], distance[..., drawn:, drawn:])]
    return (2 * cross - sum(within)).nanmean(1)


def mean_within(distance: Tensor, unbiased: bool = False) -> Tensor:
    """Mean over the pairs of one set.

    Args:
        distance: of every element to every element, 0 on the diagonal, NaN for missing elements, (..., N, N).
        unbiased: leave the self pairs out.

    Returns:
        Shape (...,); 0 for a set of one.

    Example:
        >>> import torch
        >>> distance = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
        >>> mean_within(distance), mean_within(distance, unbiased=True)
        (tensor(0.2500), tensor(0.5000))
    """
    present = (~distance.diagonal(dim1=-2, dim2=-1).isnan()).sum(-1)
    pairs = present * (present - 1 if unbiased else present)
    return distance.nansum((-2, -1)) / pairs.clamp_min(1)


class GeneralizedEnergyDistance(PerImageMetric):
    """Mean over images of the squared generalized energy distance (equation 45); see :func:`energy_distance`.

    ``y_pred`` holds the samples' masks, (batch, sample, structure, *spatial); ``y`` the raters', (batch, rater, ...).

    Args:
        unbiased: U-statistic instead of V-statistic.

    Example:
        >>> import torch
        >>> metric, masks = GeneralizedEnergyDistance(), torch.ones(1, 3, 1, 4, 4)
        >>> _ = metric(masks, 0 * masks)
        >>> metric.aggregate()
        tensor(2.)
    """

    unit = "1"

    def __init__(self, unbiased: bool = False) -> None:
        super().__init__()
        self.unbiased = unbiased
        kind = "U-statistic without self pairs" if unbiased else "V-statistic with self pairs"
        self.convention = (
            f"squared generalized energy distance (45), {kind}, d = 1 - IoU, both empty: IoU 1, mean over structures, "
            "then images; 0 is best"
        )

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Energy distance of every image, shape (batch,)."""
        return energy_distance(y_pred, y, self.unbiased)
