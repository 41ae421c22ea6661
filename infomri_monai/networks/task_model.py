"""The interface of the networks that segment from undersampled k-space, and the autoencoder blocks that they are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Optional

import torch
from monai.networks.nets.autoencoderkl import Decoder, Encoder
from torch import Tensor, nn
from torch.nn import functional as F

from infomri_monai.information.likelihood import bernoulli_entropy, categorical_entropy
from infomri_monai.networks.checkpoint import KeepsOptions
from infomri_monai.networks.gaussian import completed_by_symmetry, gaussian_channels, intensity_scale

__all__ = ["TaskModel", "TaskPass", "TaskPosterior", "autoencoder_blocks", "structures_of"]


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


def structures_of(num_classes: int, multi_label: bool) -> int:
    """Number of structures: the classes without the background, or all labels.

    Raises:
        ValueError: if there are too few classes.

    Example:
        >>> structures_of(4, multi_label=False), structures_of(3, multi_label=True)
        (3, 3)
    """
    least = 1 if multi_label else 2
    if num_classes < least:
        raise ValueError(f"num_classes must be >= {least} (multi_label={multi_label}), got {num_classes}.")
    return num_classes if multi_label else num_classes - 1


def autoencoder_blocks(
    channels: tuple[int, ...], norm_num_groups: int, non_local: bool, encoder_blocks: int, decoder_blocks: int
) -> tuple[Callable[..., Encoder], Callable[..., Decoder]]:
    """Keyword arguments of MONAI's ``autoencoderkl`` encoder and decoder, without their inputs and outputs."""
    shared: dict[str, Any] = {
        "spatial_dims": 2,
        "channels": channels,
        "norm_num_groups": norm_num_groups,
        "norm_eps": 1e-6,
        "attention_levels": (False,) * len(channels),
        "with_nonlocal_attn": non_local,
    }
    levels = len(channels)
    encoder = partial(Encoder, num_res_blocks=(encoder_blocks,) * levels, **shared)
    return encoder, partial(Decoder, num_res_blocks=(decoder_blocks,) * levels, **shared)


class TaskModel(KeepsOptions, ABC):
    """A network that answers a segmentation task from the zero-filled image (final: subclasses implement the abstract methods).

    Args:
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels instead of exclusive classes.
        samples: number of samples that ``forward`` averages.
        seed: seed of their noise.
        real_valued: images are real, so that k-space is conjugate symmetric and every sample also measures its partner.

    Raises:
        ValueError: if there are too few classes, ``samples`` < 1 or ``seed`` < 0.
    """

    def __init__(self, num_classes: int, multi_label: bool, samples: int, seed: int, real_valued: bool = False) -> None:
        super().__init__()
        self.real_valued = real_valued
        self.structures = structures_of(num_classes, multi_label)
        self.check_samples(samples)
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}.")
        self.num_classes, self.multi_label = num_classes, multi_label
        self.samples, self.seed = int(samples), int(seed)
        self.keep_option("real_valued", real_valued)
        self.keep_option("multi_label", multi_label)

    @abstractmethod
    def training_pass(
        self, zero_filled: Tensor, label: Tensor, generator: torch.Generator | None = None, mask: Tensor | None = None
    ) -> TaskPass:
        """What the loss needs of ``zero_filled`` (batch, 2, H, W) and the structure masks ``label`` (batch, S, H, W).

        ``mask`` is needed for the policy's gradient where the network completes k-space of real-valued images; None recovers it.
        """

    @abstractmethod
    def posterior(
        self, zero_filled: Tensor, samples: int, generator: torch.Generator | None = None, shared_noise: bool = False
    ) -> TaskPosterior:
        """Draw segmentations and average them."""

    @abstractmethod
    def reconstruct(self, zero_filled: Tensor) -> Tensor:
        """Mean (real, imaginary) and log-variance of the image, (batch, 3, H, W), in the input's units."""

    def completed(self, zero_filled: Tensor, mask: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """The zero-filled image; of real-valued images that of k-space completed by symmetry, whose imaginary part is zero."""
        if not self.real_valued:
            return zero_filled
        return completed_by_symmetry(zero_filled, mask)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Class probabilities, float32, of logits whose third axis from the end holds the classes."""
        if self.multi_label:
            return torch.sigmoid(logits.float())
        return torch.softmax(logits.float(), dim=-3)

    def pixel_entropy(self, probabilities: Tensor) -> Tensor:
        """Entropy per pixel in nats of probabilities (..., C, H, W): (..., 1, H, W)."""
        if self.multi_label:
            return bernoulli_entropy(probabilities).sum(-3, keepdim=True)
        return categorical_entropy(probabilities, -3).unsqueeze(-3)

    def structure_masks(self, probabilities: Tensor) -> Tensor:
        """Masks of the most probable segmentation, uint8, (..., S, H, W)."""
        if self.multi_label:
            return (probabilities > 0.5).to(torch.uint8)
        best = probabilities.max(-3, keepdim=True).indices  # argmax is 20 times slower along a middle axis
        classes = torch.arange(1, self.num_classes, device=probabilities.device).reshape(-1, 1, 1)
        return (best == classes).to(torch.uint8)

    def averages(self, total: Tensor, entropy: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean class probabilities, their entropy and the mutual information, nats, from sums over samples.

        Args:
            total: sum of the class probabilities, (batch, C, H, W).
            entropy: sum of their entropies, (batch, 1, H, W).
            samples: how many were summed.
        """
        probabilities = total / samples
        uncertainty = self.pixel_entropy(probabilities)
        return probabilities, uncertainty, (uncertainty - entropy / samples).clamp(min=0.0)

    def check_samples(self, samples: int) -> None:
        """Refuse less than one sample."""
        if samples < 1:
            raise ValueError(f"samples must be >= 1, got {samples}.")


def encoder_input(zero_filled: Tensor, multiple: int, magnitude: bool) -> Tensor:
    """Real part, imaginary part and (``magnitude``) magnitude of the zero-filled image, largest magnitude 1, padded to multiples.

    The magnitude is what tissue contrast is about; a convolution would have to learn to square and add, for every phase.
    """
    unit = zero_filled / intensity_scale(zero_filled)
    if magnitude:  # a tiny offset keeps its gradient finite at zero
        unit = torch.cat([unit, torch.sqrt(unit.square().sum(1, keepdim=True) + 1e-12)], dim=1)
    return pad_to_multiple(unit, multiple)


def image_channels(out: Tensor, like: Tensor, bounds: tuple[float, float], real_valued: bool) -> Tensor:
    """Mean (real, imaginary) and log-variance of the image from a reconstruction decoder's three channels.

    Args:
        out: what the decoder returned, (batch, 3, H, W) or padded.
        like: the zero-filled image, (batch, 2, H, W), whose size and intensity the result has.
        bounds: soft bounds of the log-variance, for an image with maximum 1.
        real_valued: the imaginary mean is zero.
    """
    out = out[:, :, : like.shape[2], : like.shape[3]].float()
    mean = torch.cat([out[:, :1], torch.zeros_like(out[:, :1])], dim=1) if real_valued else out[:, :2]
    line, everywhere = torch.zeros(1, 2, device=out.device), torch.ones_like(like[:, :1])
    return gaussian_channels(mean, out[:, 2:3], intensity_scale(like), bounds, line, everywhere)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Zeros at the end of the last two axes until their lengths are multiples."""
    below = (multiple - image.shape[-2] % multiple) % multiple
    right = (multiple - image.shape[-1] % multiple) % multiple
    return F.pad(image, [0, right, 0, below])


def start_at_frequencies(decoder: Decoder, frequencies: Sequence[float] | None, multi_label: bool) -> None:
    """Let a task decoder answer, before training, with how often every class occurs.

    Its last convolution starts at zero and its bias at the logits of the frequencies, so that training does not begin by learning
    that most pixels are background (Lin et al., "Focal loss for dense object detection", ICCV 2017, section 4.1).

    Args:
        decoder: the task decoder.
        frequencies: share of every class, as :func:`~infomri_monai.data.class_frequencies` counts them; None: all alike.
        multi_label: independent binary labels.

    Raises:
        ValueError: if there are not as many frequencies as classes, or one is not in (0, 1).
    """
    for parameter in decoder.blocks[-1].parameters():
        nn.init.zeros_(parameter)
    if frequencies is None:
        return
    bias = list(decoder.blocks[-1].parameters())[-1]
    shares = torch.tensor([float(share) for share in frequencies])
    if shares.numel() != bias.numel() or not bool(((shares > 0) & (shares < 1)).all()):
        raise ValueError(f"class_frequencies must be {bias.numel()} shares in (0, 1), got {list(frequencies)}.")
    with torch.no_grad():
        bias.copy_(torch.logit(shares) if multi_label else torch.log(shares))
