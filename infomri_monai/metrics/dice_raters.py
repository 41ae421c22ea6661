"""Dice of a model's segmentations with several raters, under both conventions of decision 21."""

from __future__ import annotations

from torch import Tensor

from infomri_monai.metrics.cumulative import PerImageMetric
from infomri_monai.metrics.overlap import pairwise_dice

__all__ = ["RaterDice", "dice_to_raters"]


def dice_to_raters(masks: Tensor, raters: Tensor) -> Tensor:
    """Mean Dice over all pairs of a mask and a rater, for every structure; 1 if both are empty, 0 if one is.

    Args:
        masks: 0-1 masks, the samples' (batch, sample, structure, *spatial) or the majority's (batch, structure, *spatial).
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.

    Returns:
        In [0, 1], (batch, structure); NaN where all raters are missing.

    Raises:
        ValueError: if shapes do not fit, or a value is neither 0, 1 nor NaN.

    Example:
        >>> import torch
        >>> raters = torch.tensor([[1, 1, 0], [0, 1, 1]]).reshape(1, 2, 1, 3)
        >>> dice_to_raters(raters[:, 0], raters)
        tensor([[0.7500]])
    """
    masks = masks.unsqueeze(1) if masks.ndim == raters.ndim - 1 else masks
    k = masks.shape[1]
    return pairwise_dice(masks, raters)[..., :k, k:].nanmean((-2, -1))


class RaterDice(PerImageMetric):
    """Mean over raters (and samples), structures and images of the Dice coefficient; see :func:`dice_to_raters`.

    ``y`` holds the raters' masks, (batch, rater, structure, *spatial).

    Args:
        prediction: what ``y_pred`` is: ``"majority"``, the masks (batch, structure, *spatial) of the mean probabilities, or
            ``"samples"``, (batch, sample, structure, *spatial).
        structure: index of the one structure that counts; None for all.

    Raises:
        ValueError: if ``prediction`` is unknown.

    Example:
        >>> import torch
        >>> metric, masks = RaterDice("samples"), torch.ones(1, 3, 1, 4, 4)
        >>> _ = metric(masks, masks[:, :2])
        >>> metric.aggregate()
        tensor(1.)
    """

    unit = "1"

    def __init__(self, prediction: str = "majority", structure: int | None = None) -> None:
        super().__init__()
        if prediction not in ("majority", "samples"):
            raise ValueError(f"prediction must be 'majority' or 'samples', got {prediction!r}.")
        self.prediction = prediction
        self.structure = structure
        which = "the majority mask" if prediction == "majority" else "every sample"
        over = "raters" if prediction == "majority" else "samples and raters"
        structures = ", structures" if structure is None else ""
        self.convention = f"Dice of {which} with every rater, both empty: 1, mean over {over}{structures}, then images"

    def values(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Dice of every image, shape (batch,)."""
        axes = y.ndim - 1 if self.prediction == "majority" else y.ndim
        if y_pred.ndim != axes:
            raise ValueError(
                f"y_pred must have {axes} axes, {self.prediction} of the shape that fits y {tuple(y.shape)}, got "
                f"{tuple(y_pred.shape)}."
            )
        if self.structure is not None:
            one = slice(self.structure, self.structure + 1)
            y_pred, y = y_pred[:, one] if self.prediction == "majority" else y_pred[:, :, one], y[:, :, one]
        return dice_to_raters(y_pred, y).nanmean(1)
