"""The answer of a task model: many segmentations, and what they say together."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["TaskPass", "TaskPosterior"]


class TaskPosterior(NamedTuple):
    """Samples of q(t|y) and their averages; C classes, S structures (C - 1 without the background; C if multi-label).

    Attributes:
        samples: structure masks of every sample, uint8, (batch, sample, S, H, W).
        majority: structure masks of the mean probabilities, their largest class or (multi-label) above one half, uint8,
            (batch, S, H, W).
        class_probabilities: mean over samples, float32, (batch, C, H, W).
        entropy: of the mean probabilities, nats (multi-label: summed over labels), (batch, 1, H, W).
        mutual_information: between the segmentation of a pixel and the sample: entropy minus the samples' mean entropy, nats,
            (batch, 1, H, W).
    """

    samples: Tensor
    majority: Tensor
    class_probabilities: Tensor
    entropy: Tensor
    mutual_information: Tensor


class TaskPass(NamedTuple):
    """What the loss needs of one training pass (Algorithm 2); a model without latent variable has latents of no channels.

    Attributes:
        logits: of the classes, (batch, C, H, W).
        prior_mean: mean of q(z|y), (batch, latent, h, w).
        prior_log_variance: its log-variance.
        posterior_mean: mean of q(z|y,t).
        posterior_log_variance: its log-variance.
        reconstruction: mean (real, imaginary) and log-variance per real component, (batch, 3, H, W), in the input's units.
        mean_logits: logits from the prior's mean, where the network decodes it.
    """

    logits: Tensor
    prior_mean: Tensor
    prior_log_variance: Tensor
    posterior_mean: Tensor
    posterior_log_variance: Tensor
    reconstruction: Tensor
    mean_logits: Tensor | None = None
