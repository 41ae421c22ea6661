"""How well the samples of one case agree with each other: the confidence by which cases are sent to review."""

from __future__ import annotations

import torch
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.metrics.overlap import pairwise_dice

__all__ = ["sample_agreement"]


@takes(samples="label")
def sample_agreement(samples: Tensor) -> Tensor:
    """Mean Dice over all pairs of different samples, and over structures; needs no label.

    Args:
        samples: 0-1 masks, (batch, K, structure, *spatial), K >= 2; two empty masks agree fully (Dice 1), an empty one and
            another do not (Dice 0).

    Returns:
        In [0, 1], float32, (batch,): 1 where all samples are the same.

    Raises:
        ValueError: if there is only one sample, a shape does not fit, or a value is neither 0 nor 1.

    Example:
        >>> samples = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 1, 1]]).reshape(1, 3, 1, 3)
        >>> sample_agreement(samples)  # pairs: 1, 1/2, 1/2
        tensor([0.6667])
    """
    if samples.ndim < 4 or samples.shape[1] < 2:
        raise ValueError(
            "samples must have shape (batch, K, structure, *spatial) with K >= 2: one sample has no other to agree with, got "
            f"{tuple(samples.shape)}."
        )
    first, second = torch.triu_indices(samples.shape[1], samples.shape[1], 1, device=samples.device)
    pairs = pairwise_dice(samples)[..., first, second]
    if bool(pairs.isnan().any()):
        raise ValueError("samples must hold 0 and 1 only, got NaN.")
    return pairs.mean((1, 2))
