"""The segmentation system's loss: the negative evidence lower bound, weighted by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infomri_monai.arrays import as_label
from infomri_monai.information.likelihood import gaussian_kl
from infomri_monai.losses.gaussian import GaussianNLLLoss
from infomri_monai.systems.segmentation import SegmentationTraining

__all__ = ["ELBOLoss", "ELBOTerms", "SegmentationTarget"]

WEIGHTS = {"task": 1.0, "kl": 50.0, "reconstruction": 1.0, "mean_task": 0.0}


class SegmentationTarget(NamedTuple):
    """What a segmentation is trained towards.

    Attributes:
        image: real or complex, (batch, 1, H, W).
        label: structure masks of one rater, 0/1, (batch, S, H, W).
    """

    image: Tensor
    label: Tensor


class ELBOTerms(NamedTuple):
    """The unweighted terms of the loss, nats per image, mean over the batch.

    Attributes:
        task: negative log-likelihood of the segmentation, -E log q(t|z), summed over pixels.
        kl: KL(q(z|y,t) || q(z|y)), summed over latents.
        reconstruction: negative log-likelihood of the image, -log q(x|y), summed over pixels.
        mean_task: negative log-likelihood of the segmentation, -log q(t|z), at the prior's mean z = mu(y); 0 with no weight.
    """

    task: Tensor
    kl: Tensor
    reconstruction: Tensor
    mean_task: Tensor


class ELBOLoss(nn.Module):
    """Negative ELBO with weights (equations 20, 44 and 48), sums over pixels and latents, mean over the batch (decision 18).

    Args:
        multi_label: independent binary labels (binary cross-entropy each) instead of exclusive classes (categorical).
        weights: of ``task``, ``kl``, ``reconstruction`` and ``mean_task``; a missing one keeps the paper's (1, 50, 1, 0). The last
            is the second likelihood of Sohn et al., which sees no label: at the prior's mean, so that it asks nothing of
            the prior's variance. It needs a network that decodes the mean.
        variance_weighting: of the image's likelihood, see :class:`GaussianNLLLoss`; 0 is equation (42).

    ``warm_up`` multiplies the weight of the KL term and is 1 unless a :class:`~infomri_monai.handlers.WarmUp` sets it;
    ``latest`` holds the terms of the last call, for the curves.

    Raises:
        ValueError: if a weight is unknown or negative.

    References:
        Higgins et al., "beta-VAE", ICLR 2017 (the weight of the KL). Bowman et al., "Generating sentences from a continuous
        space", CoNLL 2016 (its warm-up). Sohn et al., "Learning structured output representation using deep conditional
        generative models", NIPS 2015, equation 6 (the hybrid objective).

    Example:
        >>> import torch
        >>> x, z = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)
        >>> result = SegmentationTraining(torch.zeros(1, 2, 2, 2), z, z, z + 2, z, x, x, x, torch.ones(1))
        >>> loss = ELBOLoss(weights={"kl": 10.0})
        >>> loss(result, SegmentationTarget(x, x))  # 4 log 2 + 10 * 2 + 0
        tensor(22.7726)
    """

    def __init__(
        self, multi_label: bool = False, weights: Mapping[str, float] | None = None, variance_weighting: float = 0.0
    ) -> None:
        super().__init__()
        given = dict(weights or {})
        for name, value in given.items():
            if name not in WEIGHTS or not 0 <= float(value) < float("inf"):
                raise ValueError(f"weights must name {', '.join(WEIGHTS)}, each >= 0, got {name}={value!r}.")
        self.weights = WEIGHTS | {name: float(value) for name, value in given.items()}
        self.multi_label = multi_label
        self.image_likelihood = GaussianNLLLoss("sum_pixels", variance_weighting)
        self.warm_up = 1.0
        self.latest: ELBOTerms | None = None

    def terms(self, result: SegmentationTraining, target: SegmentationTarget) -> ELBOTerms:
        """The terms, unweighted.

        Raises:
            ValueError: if the label's grid or number of structures does not fit the logits, or ``mean_task`` has a weight and
                the network did not decode the mean.
        """
        mean_task = torch.zeros((), device=result.logits.device)
        if self.weights["mean_task"] > 0:
            if result.mean_logits is None:
                raise ValueError("weights['mean_task'] > 0 needs a network with decode_mean=True, got one without.")
            mean_task = self._task(result.mean_logits, target.label)
        return ELBOTerms(
            self._task(result.logits, target.label),
            gaussian_kl(
                result.posterior_mean, result.posterior_log_variance, result.prior_mean, result.prior_log_variance
            ),
            self.image_likelihood(result, target.image),
            mean_task,
        )

    def forward(self, result: SegmentationTraining, target: SegmentationTarget) -> Tensor:
        """The scalar loss."""
        terms = self.terms(result, target)
        self.latest = ELBOTerms(*(term.detach() for term in terms))
        weights = self.weights | {"kl": self.warm_up * self.weights["kl"]}
        return torch.stack([weights[name] * term for name, term in terms._asdict().items()]).sum()

    def _task(self, logits: Tensor, label: Tensor) -> Tensor:
        structures = logits.shape[1] if self.multi_label else logits.shape[1] - 1
        label = as_label(label, "label")
        expected = (logits.shape[0], structures, *logits.shape[2:])
        if tuple(label.shape) != expected:
            raise ValueError(f"label must have shape {expected} to fit the logits, got {tuple(label.shape)}.")
        if self.multi_label:
            nll = F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype), reduction="none")
            return nll.flatten(1).sum(1).mean()
        classes = torch.arange(1, logits.shape[1], device=label.device).reshape(-1, 1, 1)
        index = (label.long() * classes).sum(1)
        return F.cross_entropy(logits, index, reduction="none").flatten(1).sum(1).mean()
