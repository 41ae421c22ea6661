"""A task model whose samples are known: thresholds of the image, so that a loop over the image is the oracle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from infomri_monai.networks import TaskPosterior


class ThresholdNetwork(nn.Module):
    """Sample k finds the first structure above ``thresholds[k]``, the second above ``thresholds[k] + step``.

    The second replaces the first where classes exclude each other, and lies within it where they do not.

    Args:
        multi_label: whether they do not.
        thresholds: of the samples; at halves, so that images of whole numbers meet no rounding.
        step: from the first structure to the second.
    """

    structures = 2

    def __init__(self, multi_label=False, thresholds=(4.5, 6.5, 9.5, 3.5, 5.5), step=10.0):
        super().__init__()
        self.multi_label, self.thresholds, self.step = multi_label, thresholds, step

    def structures_of(self, image: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Masks, bool, of the k-th sample."""
        outer, inner = image > self.thresholds[k], image > self.thresholds[k] + self.step
        return (outer if self.multi_label else outer & ~inner), inner

    def posterior(self, zero_filled, samples, generator=None, shared_noise=False):
        """The known samples of the magnitude and their averages."""
        image = torch.complex(zero_filled[:, 0].float(), zero_filled[:, 1].float()).abs()
        masks = torch.stack([torch.stack(self.structures_of(image, k), 1) for k in range(samples)], 1)
        means = masks.float().mean(1)
        if self.multi_label:
            entropy = (torch.special.entr(means) + torch.special.entr(1 - means)).sum(1, keepdim=True)
            return TaskPosterior(masks.to(torch.uint8), (means > 0.5).to(torch.uint8), means, entropy, entropy)
        means = torch.cat([1 - means.sum(1, keepdim=True), means], 1)
        majority = means.argmax(1, keepdim=True) == torch.tensor([1, 2]).reshape(1, 2, 1, 1)
        entropy = torch.special.entr(means).sum(1, keepdim=True)
        return TaskPosterior(masks.to(torch.uint8), majority.to(torch.uint8), means, entropy, entropy)

    def reconstruct(self, zero_filled):
        """The zero-filled image, with a standard deviation of 1."""
        return torch.cat([zero_filled, torch.zeros_like(zero_filled[:, :1])], 1)
