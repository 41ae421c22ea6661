"""IoU and Dice between all pairs of many masks."""

from __future__ import annotations

from torch import Tensor, nan

from infomri_monai.metrics.bit_masks import intersections

__all__ = ["pairwise_dice", "pairwise_iou"]


def pairwise_iou(*sets: Tensor) -> Tensor:
    """Intersection over union of every mask with every mask; 1 if both are empty, 0 if one is (decision 20).

    Args:
        sets: 0-1 masks, each (batch, N_i, structure, *spatial), e.g. a model's samples and the raters' masks; a missing
            rater is NaN everywhere.

    Returns:
        float32, (batch, structure, N, N), N = N_1 + N_2 + ...; the sets follow each other along both last axes, so
        ``[..., :N_1, N_1:]`` compares the first set with the others. NaN in the rows and columns of missing masks.

    Raises:
        ValueError: if shapes do not fit, or a value is neither 0, 1 nor NaN.

    References:
        Jaccard, "Étude comparative de la distribution florale dans une portion des Alpes et du Jura", 1901.

    Example:
        >>> import torch
        >>> masks = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]]).reshape(1, 3, 1, 3)
        >>> pairwise_iou(masks)[0, 0]
        tensor([[1.0000, 0.3333, 0.0000],
                [0.3333, 1.0000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    common, both, missing = _shared_pixels(*sets)
    union = both - common
    return (common / union).masked_fill(union == 0, 1).masked_fill(missing, nan)


def pairwise_dice(*sets: Tensor) -> Tensor:
    """Dice coefficient of every mask with every mask; 1 if both are empty, 0 if one is.

    Args:
        sets: as :func:`pairwise_iou`.

    Returns:
        As :func:`pairwise_iou`.

    Raises:
        ValueError: as :func:`pairwise_iou`.

    References:
        Dice, "Measures of the amount of ecologic association between species", 1945.

    Example:
        >>> import torch
        >>> pairwise_dice(torch.tensor([[1, 1, 0], [0, 1, 1]]).reshape(1, 2, 1, 3))[0, 0]
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])
    """
    common, both, missing = _shared_pixels(*sets)
    return (2 * common / both).masked_fill(both == 0, 1).masked_fill(missing, nan)


def _shared_pixels(*sets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels in common and sum of both masks' pixels of every pair, and whether one of them is missing."""
    counts, missing = intersections(*sets)
    size = counts.diagonal(dim1=-2, dim2=-1)
    return counts, size.unsqueeze(-1) + size.unsqueeze(-2), missing.unsqueeze(-1) | missing.unsqueeze(-2)
