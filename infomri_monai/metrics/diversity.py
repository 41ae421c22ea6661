"""How much a model's segmentations of one measurement differ; no rater is needed."""

from __future__ import annotations

from torch import Tensor

from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.energy_distance import mean_within
from infomri_monai.metrics.overlap import pairwise_iou

__all__ = ["MeanEntropy", "SampleDiversity", "sample_diversity"]


def sample_diversity(samples: Tensor) -> Tensor:
    """Mean over the pairs of different samples of 1 - IoU, IoU averaged over structures (1 where both are empty).

    Args:
        samples: 0-1 masks, (batch, sample, structure, *spatial).

    Returns:
        In [0, 1], (batch,); 0 for a single sample, which has nothing to differ from.

    Raises:
        ValueError: if the shape does not fit, or a value is neither 0 nor 1.

    Example:
        >>> import torch
        >>> sample_diversity(torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]).reshape(1, 3, 1, 4))
        tensor([0.6667])
    """
    return mean_within(1 - pairwise_iou(samples), unbiased=True).nanmean(1)


class SampleDiversity(PerImageMetric):
    """Mean over images of :func:`sample_diversity`; ``y_pred`` and ``y`` are both the samples, a metric needs two.

    Example:
        >>> import torch
        >>> metric, samples = SampleDiversity(), torch.ones(1, 3, 1, 4, 4)
        >>> _ = metric(samples, samples)
        >>> metric.aggregate()
        tensor(0.)
    """

    unit = "1"
    convention = "mean 1 - IoU over pairs of different samples, both empty: IoU 1, mean over structures, then images"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Diversity of every image, shape (batch,)."""
        return sample_diversity(y_pred)


class MeanEntropy(PerImageMetric):
    """Mean over pixels and images of a map of predictive entropies; ``y_pred`` and ``y`` are both the map.

    The map is (batch, 1, *spatial) in nats, e.g. a ``TaskPosterior``'s ``entropy``.

    Example:
        >>> import torch
        >>> metric, entropy = MeanEntropy(), torch.tensor([0.0, 0.5]).reshape(1, 1, 1, 2)
        >>> _ = metric(entropy, entropy)
        >>> metric.aggregate()
        tensor(0.2500)
    """

    unit = "nat"
    convention = "entropy of the mean class probabilities of a pixel, mean over pixels, then images"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Mean entropy of every image, shape (batch,)."""
        return y_pred.flatten(1).mean(1)
