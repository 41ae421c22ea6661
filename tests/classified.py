"""Random classifications with labels, for the tests of their metrics and handlers."""

from __future__ import annotations

import torch
from torch import Tensor

from infomri_monai.information import bernoulli_entropy, categorical_entropy
from infomri_monai.systems import ClassificationPosterior

GRID = (6, 7)


def labels_of(images: int, classes: int, multi_label: bool = False, seed: int = 0) -> Tensor:
    """Class numbers, or zeros and ones; every class is there and absent somewhere if there are two images of each."""
    generator = torch.Generator().manual_seed(seed)
    if multi_label:
        return (torch.randperm(images, generator=generator)[:, None] % torch.arange(2, classes + 2) == 0).float()
    return torch.randperm(images, generator=generator) % classes


def posterior_of(
    label: Tensor, classes: int, seed: int = 0, members: int = 3, steps: int = 20
) -> ClassificationPosterior:
    """Probabilities that know something of the labels, in a few steps, so that there are ties."""
    generator, multi_label = torch.Generator().manual_seed(seed), label.ndim == 2
    targets = label if multi_label else torch.nn.functional.one_hot(label, classes).float()
    logits = 2 * torch.randn(len(label), members, classes, generator=generator) + targets.unsqueeze(1)
    logits = (logits * steps / 10).round() * 10 / steps
    each = logits.sigmoid() if multi_label else logits.softmax(2)
    mean = each.mean(1)
    entropy, own = (bernoulli_entropy(p).sum(-1) if multi_label else categorical_entropy(p, -1) for p in (mean, each))
    mask = (torch.rand(len(label), 1, *GRID, generator=generator) < 0.3).float()
    measured = 100 * torch.rand(len(label), generator=generator)
    return ClassificationPosterior(mean, entropy, entropy - own.mean(1), each, mask, mask.flatten(1).mean(1), measured)


def rows_of(posterior: ClassificationPosterior, at: slice | Tensor) -> ClassificationPosterior:
    """Some of the images."""
    return ClassificationPosterior(*(field[at] for field in posterior))
