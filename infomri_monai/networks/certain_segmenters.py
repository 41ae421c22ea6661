"""Task models without a latent variable, whose only segmentation is the most probable one.

The deterministic counterpart of the latent segmenter, and two stages: a reconstruction, then a segmentation of its magnitude.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from infomri_monai.networks.gaussian import intensity_scale
from infomri_monai.networks.task_model import (
    TaskModel,
    TaskPass,
    TaskPosterior,
    autoencoder_blocks,
    encoder_input,
    image_channels,
    start_at_frequencies,
)

__all__ = ["CertainModel", "DeterministicSegmenter", "ReconstructThenSegment"]


class CertainModel(TaskModel):
    """Pixel-wise class probabilities and one segmentation (final: subclasses implement :meth:`logits` and the rest).

    The paper compares deterministic methods so: as a distribution with all its mass on the predicted segmentation (IV-B1).

    Args:
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels instead of exclusive classes.
        real_valued: images are real, so that k-space is conjugate symmetric.
    """

    def __init__(self, num_classes: int, multi_label: bool, real_valued: bool) -> None:
        super().__init__(num_classes, multi_label, 1, 0, real_valued)

    @abstractmethod
    def logits(self, zero_filled: Tensor) -> Tensor:
        """Class logits, float32, (batch, C, H, W), of the zero-filled image, (batch, 2, H, W)."""

    def forward(self, zero_filled: Tensor) -> Tensor:
        """Class probabilities (C channels), their entropy in nats, and a mutual information of zero: (batch, C + 2, H, W)."""
        probabilities = self.probabilities(self.logits(zero_filled))
        entropy = self.pixel_entropy(probabilities)
        return torch.cat([probabilities, entropy, torch.zeros_like(entropy)], dim=1)

    @torch.jit.unused
    def posterior(
        self, zero_filled: Tensor, samples: int, generator: torch.Generator | None = None, shared_noise: bool = False
    ) -> TaskPosterior:
        """One segmentation, the most probable one, whatever ``samples`` asks for (at least 1)."""
        self.check_samples(samples)
        probabilities = self.probabilities(self.logits(zero_filled))
        masks, entropy = self.structure_masks(probabilities), self.pixel_entropy(probabilities)
        return TaskPosterior(masks.unsqueeze(1), masks, probabilities, entropy, torch.zeros_like(entropy))


class DeterministicSegmenter(CertainModel):
    """Pixel-wise class probabilities from the zero-filled image, no latent variable (equation 24 with z = mu(y)).

    What :class:`LatentSegmenter` keeps for inference, of the same size: one encoder, the task decoder, the auxiliary
    reconstruction. Its one segmentation is the most probable one, as the paper's deterministic methods are compared.

    Args:
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels instead of exclusive classes.
        channels: as in :class:`LatentSegmenter`, and so the next five.
        latent_channels: channels between encoder and decoders.
        encoder_blocks: residual blocks of every encoder level.
        decoder_blocks: residual blocks of every decoder level.
        norm_num_groups: groups of the group normalisation.
        non_local: self-attention in the middle.
        class_frequencies: share of every class in the training set, where the untrained network starts; None: all alike.
        real_valued: images are real: k-space is completed by conjugate symmetry before it is encoded.
        magnitude_input: also show the encoders the magnitude of the zero-filled image; the paper's see its two parts alone.
        log_variance_bounds: soft bounds of the reconstruction's log-variance.

    Example:
        >>> import torch
        >>> DeterministicSegmenter(channels=(8, 8)).eval()(torch.rand(1, 2, 16, 16)).shape
        torch.Size([1, 4, 16, 16])
    """

    def __init__(
        self,
        num_classes: int = 2,
        multi_label: bool = False,
        channels: Sequence[int] = (16, 32, 64),
        latent_channels: int = 8,
        encoder_blocks: int = 1,
        decoder_blocks: int = 1,
        norm_num_groups: int = 8,
        non_local: bool = False,
        class_frequencies: Sequence[float] | None = None,
        real_valued: bool = False,
        magnitude_input: bool = True,
        log_variance_bounds: tuple[float, float] = (-9.2, 1.6),
    ) -> None:
        super().__init__(num_classes, multi_label, real_valued)
        self.magnitude_input = magnitude_input
        channels = tuple(channels)
        encoder, decoder = autoencoder_blocks(channels, norm_num_groups, non_local, encoder_blocks, decoder_blocks)
        self.encoder = encoder(in_channels=2 + magnitude_input, out_channels=2 * latent_channels)
        self.latent_head = nn.Conv2d(2 * latent_channels, latent_channels, 1)
        self.task_decoder = decoder(in_channels=latent_channels, out_channels=num_classes)
        self.reconstruction_decoder = decoder(in_channels=latent_channels, out_channels=3)
        start_at_frequencies(self.task_decoder, class_frequencies, multi_label)
        self.multiple = 2 ** (len(channels) - 1)
        self.bounds = (float(log_variance_bounds[0]), float(log_variance_bounds[1]))

    def logits(self, zero_filled: Tensor) -> Tensor:
        """Class logits of the zero-filled image."""
        return self._logits(self._features(zero_filled), zero_filled)

    def training_pass(
        self, zero_filled: Tensor, label: Tensor, generator: torch.Generator | None = None, mask: Tensor | None = None
    ) -> TaskPass:
        """Logits and reconstruction; the latents have no channels, so that their KL is 0."""
        features = self._features(zero_filled, mask)
        none = features.new_zeros(features.shape[0], 0, 1, 1)
        logits = self._logits(features, zero_filled)
        return TaskPass(logits, none, none, none, none, self._image(features, zero_filled))

    def reconstruct(self, zero_filled: Tensor) -> Tensor:
        """The auxiliary reconstruction (equation 22), (batch, 3, H, W)."""
        return self._image(self._features(zero_filled), zero_filled)

    def _features(self, zero_filled: Tensor, mask: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        return self.latent_head(
            self.encoder(encoder_input(self.completed(zero_filled, mask), self.multiple, self.magnitude_input))
        )

    def _logits(self, features: Tensor, like: Tensor) -> Tensor:
        return self.task_decoder(features)[:, :, : like.shape[2], : like.shape[3]].float()

    def _image(self, features: Tensor, zero_filled: Tensor) -> Tensor:
        return image_channels(self.reconstruction_decoder(features), zero_filled, self.bounds, self.real_valued)


class ReconstructThenSegment(CertainModel):
    """The paper's "UNet-RS": reconstruct, then segment the magnitude (appendix B, TradPat-UNet-RS and LOUPE-UNet-RS).

    Trained in two runs: first the reconstructor alone (loss weights 0, 0, 1), then the segmenter on what the frozen reconstructor
    makes (weights 1, 0, 0).

    Args:
        reconstructor: ``reconstructor(zero_filled) -> (mean, log-variances)`` as three or four channels.
        segmenter: from a magnitude image (1 channel, largest value of the zero-filled image 1) to logits of C channels.
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels instead of exclusive classes.
        stage: which of the two is trained, ``"reconstruction"`` or ``"segmentation"``; the other one is fixed.

    Raises:
        ValueError: if ``stage`` is unknown, or there are too few classes.

    Example:
        >>> import torch
        >>> from monai.networks.nets import BasicUNet
        >>> from infomri_monai.networks import GaussianUNet
        >>> features = (4, 4, 4, 4, 4, 4)
        >>> unet = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=features)
        >>> ReconstructThenSegment(GaussianUNet(features=features), unet).eval()(torch.rand(1, 2, 32, 32)).shape
        torch.Size([1, 4, 32, 32])
    """

    def __init__(
        self,
        reconstructor: nn.Module,
        segmenter: nn.Module,
        num_classes: int = 2,
        multi_label: bool = False,
        stage: str = "segmentation",
    ) -> None:
        super().__init__(num_classes, multi_label, bool(getattr(reconstructor, "real_valued", False)))
        if stage not in ("reconstruction", "segmentation"):
            raise ValueError(f"stage must be 'reconstruction' or 'segmentation', got {stage!r}.")
        self.stage = stage
        self.reconstructor, self.segmenter = reconstructor, segmenter
        # only the other one: the trained one may hold parameters that are not trained by the likelihood (log_variance_line)
        (segmenter if stage == "reconstruction" else reconstructor).requires_grad_(False)

    def logits(self, zero_filled: Tensor) -> Tensor:
        """Class logits of the reconstruction's magnitude."""
        return self._logits(self.reconstructor(zero_filled), zero_filled)

    def training_pass(
        self, zero_filled: Tensor, label: Tensor, generator: torch.Generator | None = None, mask: Tensor | None = None
    ) -> TaskPass:
        """Logits (all zero while the reconstructor is trained) and reconstruction; the latents have no channels: their KL is 0."""
        reconstruction = self.reconstructor(zero_filled, mask)
        batch, _, height, width = zero_filled.shape
        none = reconstruction.new_zeros(batch, 0, 1, 1)
        logits = reconstruction.new_zeros(batch, self.num_classes, height, width)
        if self.stage == "segmentation":
            logits = self._logits(reconstruction, zero_filled)
        return TaskPass(logits, none, none, none, none, reconstruction)

    def reconstruct(self, zero_filled: Tensor) -> Tensor:
        """The first stage's reconstruction, (batch, 3 or 4, H, W)."""
        reconstruction: Tensor = self.reconstructor(zero_filled)
        return reconstruction

    def _logits(self, reconstruction: Tensor, zero_filled: Tensor) -> Tensor:
        unit = reconstruction[:, :2] / intensity_scale(zero_filled)
        # a tiny offset keeps the gradient of the magnitude finite at zero
        logits: Tensor = self.segmenter(torch.sqrt(unit.square().sum(1, keepdim=True) + 1e-12))
        return logits.float()
