"""The classification system's loss: cross-entropy, and for beta < 0 the entropy of what is measured."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from infomri_monai.arrays import takes
from infomri_monai.systems.classification import ClassificationTraining

__all__ = ["BottleneckLoss", "BottleneckTerms"]


class BottleneckTerms(NamedTuple):
    """The unweighted terms of the loss, nats per image, mean over the batch.

    Attributes:
        task: cross-entropy, -E log q(t|y); of independent labels the sum.
        kspace_entropy: marginal entropy of the measurement, H(Y|m).
    """

    task: Tensor
    kspace_entropy: Tensor


class BottleneckLoss(nn.Module):
    """Cross-entropy plus |beta| times the marginal entropy of what is measured (equations 9 and 12; decision 17).

    The marginal entropy is *minimised*: the mask keeps what the task needs and as little else as possible. beta = 0 is compressed
    learning, the task alone.

    Args:
        beta: trade-off of the paper's objective, at most 0; the entropy is a sum over positions in nats, so that useful values
            are small (on 28 x 28 images -1e-5 to -1e-3).
        multi_label: independent binary labels (binary cross-entropy each) instead of exclusive classes.

    ``warm_up`` multiplies beta and is 1 unless a :class:`~infomri_monai.handlers.WarmUp` sets it; ``latest`` holds the terms of
    the last call, for the curves.

    Raises:
        ValueError: if ``beta`` is positive (that rewards reconstruction: the segmentation bundle's system) or not finite.

    Example:
        >>> import torch
        >>> result = ClassificationTraining(torch.zeros(1, 2), torch.tensor([100.0]), torch.ones(1, 1, 2, 2), torch.ones(1))
        >>> BottleneckLoss(beta=-0.01)(result, torch.tensor([1]))  # log 2 + 0.01 * 100
        tensor(1.6931)
    """

    @takes(beta="scalar")
    def __init__(self, beta: float = -1e-4, multi_label: bool = False) -> None:
        super().__init__()
        if not -math.inf < beta <= 0:
            raise ValueError(
                f"beta must be a finite number <= 0 (this system minimises the entropy of what is measured), got {beta}; "
                "beta > 0 is the segmentation bundle's."
            )
        self.beta = float(beta)
        self.multi_label = multi_label
        self.warm_up = 1.0
        self.latest: BottleneckTerms | None = None

    @takes(target="label")
    def forward(self, result: ClassificationTraining, target: Tensor) -> Tensor:
        """The scalar loss.

        Args:
            result: a training pass.
            target: class numbers, (batch,), or 0/1 of every label, (batch, C), if ``multi_label``.

        Raises:
            ValueError: if the target's shape does not fit the logits, or beta < 0 and the system has no estimate of the entropy.
        """
        logits = result.logits
        expected = tuple(logits.shape) if self.multi_label else (logits.shape[0],)
        if tuple(target.shape) != expected:
            raise ValueError(
                f"target must have shape {expected} (multi_label={self.multi_label}), got {tuple(target.shape)}."
            )
        if self.multi_label:
            task = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none").sum(1).mean()
        else:
            task = F.cross_entropy(logits, target.long())
        terms = BottleneckTerms(task, result.kspace_entropy.mean())
        if self.beta and bool(terms.kspace_entropy.isnan()):
            raise ValueError(
                f"beta={self.beta} needs a system with an estimate of the entropy (entropy=...), got none."
            )
        self.latest = BottleneckTerms(*(term.detach() for term in terms))
        # a term of no weight is left out: without an estimate of the entropy it is NaN
        return terms.task - self.warm_up * self.beta * terms.kspace_entropy if self.beta else terms.task
