"""Task models without a latent variable: their only segmentation is the most probable one."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from infomri_monai.networks.task_model import TaskModel
from infomri_monai.networks.task_posterior import TaskPosterior

__all__ = ["CertainModel"]


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
        self,
        zero_filled: Tensor,
        samples: int,
        generator: torch.Generator | None = None,
        shared_noise: bool = False,
    ) -> TaskPosterior:
        """One segmentation, the most probable one, whatever ``samples`` asks for (at least 1)."""
        self.check_samples(samples)
        probabilities = self.probabilities(self.logits(zero_filled))
        masks, entropy = self.structure_masks(probabilities), self.pixel_entropy(probabilities)
        return TaskPosterior(masks.unsqueeze(1), masks, probabilities, entropy, torch.zeros_like(entropy))
