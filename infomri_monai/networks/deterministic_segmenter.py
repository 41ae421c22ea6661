"""The deterministic counterpart: the same encoder and decoders without a latent variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from infomri_monai.networks.certain_model import CertainModel
from infomri_monai.networks.task_model import (
    autoencoder_blocks,
    encoder_input,
    image_channels,
    make_decoder,
    make_encoder,
    start_at_frequencies,
)
from infomri_monai.networks.task_posterior import TaskPass

__all__ = ["DeterministicSegmenter"]


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
        blocks = autoencoder_blocks(tuple(channels), norm_num_groups, non_local, encoder_blocks, decoder_blocks)
        self.encoder = make_encoder(2 + magnitude_input, 2 * latent_channels, blocks[0])
        self.latent_head = nn.Conv2d(2 * latent_channels, latent_channels, 1)
        self.task_decoder = make_decoder(latent_channels, num_classes, blocks[1])
        self.reconstruction_decoder = make_decoder(latent_channels, 3, blocks[1])
        start_at_frequencies(self.task_decoder, class_frequencies, multi_label)
        self.multiple = 2 ** (len(tuple(channels)) - 1)
        self.bounds = (float(log_variance_bounds[0]), float(log_variance_bounds[1]))

    def logits(self, zero_filled: Tensor) -> Tensor:
        """Class logits of the zero-filled image."""
        return self._logits(self._features(zero_filled), zero_filled)

    def training_pass(
        self,
        zero_filled: Tensor,
        label: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
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
