"""Small posteriors and raters, and the naive loops over pairs that the metrics are compared with."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor


class Posterior(NamedTuple):
    """What ``SegmentationQuality`` reads of a ``SegmentationPosterior``."""

    samples: Tensor
    majority: Tensor
    class_probabilities: Tensor
    entropy: Tensor
    mask: Tensor


@st.composite
def sample_and_rater_masks(draw):
    """Masks of samples (uint8) and raters (float32, perhaps one missing) of any small shape, some of them empty or full."""
    b, k, r, s = (draw(st.integers(1, n)) for n in (3, 5, 4, 3))
    grid = draw(st.lists(st.integers(1, 11), min_size=1, max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    level = torch.rand(b, 1, s, *[1] * len(grid), generator=generator)
    samples = torch.rand(b, k, s, *grid, generator=generator) < level * draw(st.sampled_from([0.0, 0.1, 1.0, 2.0]))
    raters = (torch.rand(b, r, s, *grid, generator=generator) < level * draw(st.sampled_from([0.0, 1.0]))).float()
    if r > 1 and draw(st.booleans()):
        raters[draw(st.integers(0, b - 1)), draw(st.integers(0, r - 1))] = torch.nan
    return samples.to(torch.uint8), raters


def naive_iou(a: Tensor, b: Tensor) -> float:
    """IoU of two boolean masks; 1 if both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def naive_dice(a: Tensor, b: Tensor) -> float:
    """Dice of two boolean masks; 1 if both are empty."""
    both = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / both if both else 1.0


def present(raters: Tensor) -> list[Tensor]:
    """The raters (structure, *spatial) of one image who are there, as boolean masks."""
    return [r.bool() for r in raters if not r.isnan().any()]


def distance(a: Tensor, b: Tensor) -> float:
    """1 - IoU, averaged over structures."""
    return 1 - sum(naive_iou(x, y) for x, y in zip(a, b, strict=True)) / len(a)


def naive_energy_distance(samples: Tensor, raters: Tensor, unbiased: bool) -> float:
    """Equation 45 of one image, pair by pair."""
    first, second = list(samples.bool()), present(raters)
    if not second:
        return math.nan
    cross = sum(distance(a, b) for a in first for b in second) / (len(first) * len(second))
    return 2 * cross - naive_within(first, unbiased) - naive_within(second, unbiased)


def naive_within(masks: list[Tensor], unbiased: bool) -> float:
    """Mean distance within a set."""
    n = len(masks)
    pairs = [(i, j) for i in range(n) for j in range(n) if not (unbiased and i == j)]
    return sum(distance(masks[i], masks[j]) for i, j in pairs) / len(pairs) if pairs else 0.0


def tiny_posterior(
    images: int = 4, num_classes: int = 3, multi_label: bool = False, seed: int = 0
) -> tuple[Posterior, Tensor]:
    """Five samples of random label maps of 9 x 10 pixels, and integer labels of three raters, one of them missing once."""
    generator = torch.Generator().manual_seed(seed)
    s, grid = num_classes if multi_label else num_classes - 1, (9, 10)
    if multi_label:
        samples = (torch.rand(images, 5, s, *grid, generator=generator) < 0.4).to(torch.uint8)
        label = (torch.rand(images, 3, s, *grid, generator=generator) < 0.4).to(torch.int8)
        probabilities = samples.float().mean(1)
        majority = probabilities > 0.5
    else:
        maps = torch.randint(0, num_classes, (images, 5, *grid), generator=generator)
        label = torch.randint(0, num_classes, (images, 3, *grid), generator=generator).to(torch.int8)
        one_hot = torch.nn.functional.one_hot(maps, num_classes).movedim(-1, 2)
        samples, probabilities = one_hot[:, :, 1:].to(torch.uint8), one_hot.float().mean(1)
        majority = torch.nn.functional.one_hot(probabilities.argmax(1), num_classes).movedim(-1, 1)[:, 1:]
    label[0, 1] = -1
    entropy = torch.rand(images, 1, *grid, generator=generator)
    mask = (torch.rand(images, 1, *grid, generator=generator) < 0.3).float()
    return Posterior(samples, majority.to(torch.uint8), probabilities, entropy, mask), label
