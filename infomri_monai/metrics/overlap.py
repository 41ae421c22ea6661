"""Overlap of many masks, a model's and the raters': IoU and Dice of all pairs, energy distance, diversity.

All pairs are intersected at once, by a product of a matrix of bits: exact, and many times faster than loops over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.utils.type_conversion import convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor, nan

from infomri_monai.arrays import takes

__all__ = [
    "MaskCounts",
    "check_mask_sets",
    "dice_to_raters",
    "energy_distance",
    "energy_distance_by_count",
    "intersections",
    "mask_pixels",
    "mean_within",
    "pairwise_dice",
    "pairwise_iou",
    "present",
    "sample_diversity",
]

#: words of a product held at once: 256 KiB, which a processor's cache holds
_BLOCK = 2**15


class MaskCounts(NamedTuple):
    """Pixels that the masks of one structure share.

    Attributes:
        counts: int64, (batch, structure, N, N); the diagonal holds the masks' own pixels; 0 for a missing mask.
        missing: which masks are missing, boolean, (batch, structure, N).
    """

    counts: Tensor
    missing: Tensor


def check_mask_sets(*sets: Tensor) -> None:
    """Check that sets of masks fit each other.

    Raises:
        ValueError: if a set has fewer than 4 axes (batch, N, structure, *spatial), no mask or no pixel, or differs from the
            first in batch, structures or grid.
    """
    first = sets[0]
    for masks in sets:
        if masks.ndim < 4 or masks.numel() == 0:
            raise ValueError(
                f"masks must have shape (batch, N, structure, *spatial) and none of it 0, got {tuple(masks.shape)}."
            )
        if (masks.shape[0], masks.shape[2:]) != (first.shape[0], first.shape[2:]):
            raise ValueError(
                "sets of masks must agree in everything but their number (second axis), got shapes "
                f"{tuple(first.shape)} and {tuple(masks.shape)}."
            )


@takes(sets="label")
def intersections(*sets: Tensor) -> MaskCounts:
    """Pixels in common of all pairs of masks, of all sets together.

    Args:
        sets: 0-1 masks, bool, integer or float, each (batch, N_i, structure, *spatial); a missing mask is NaN everywhere.

    Returns:
        The counts of the N = N_1 + N_2 + ... masks, on the first set's device.

    Raises:
        ValueError: if shapes do not fit, a value is neither 0, 1 nor NaN, or a mask is NaN in some pixels only.

    Example:
        >>> import torch
        >>> intersections(torch.tensor([[1, 1, 0], [0, 1, 1]]).reshape(1, 2, 1, 3)).counts
        tensor([[[[2, 1],
                  [1, 2]]]])
    """
    check_mask_sets(*sets)
    packed, missing = zip(*(_pack(masks) for masks in sets), strict=True)
    bits = np.concatenate(packed, axis=1).swapaxes(1, 2)
    counts = np.stack([_gram(matrix) for matrix in bits.reshape(-1, *bits.shape[2:])])
    device = sets[0].device
    return MaskCounts(
        torch.from_numpy(counts.reshape(*bits.shape[:2], *counts.shape[1:])).to(device),
        torch.cat([m.to(device) for m in missing], 1).transpose(1, 2),
    )


def present(samples: Tensor) -> Tensor:
    """The samples, of which none may be missing: a model always has one, and NaN says that it diverged."""
    if samples.is_floating_point() and bool(samples.isnan().any()):
        bad, count = int(samples.isnan().flatten(2).any(2).sum()), samples.shape[0] * samples.shape[1]
        raise ValueError(
            f"samples must be present, got NaN in {bad} of {count} (a rater may be missing, a sample may not)."
        )
    return samples


@takes(masks="label")
def mask_pixels(masks: Tensor) -> Tensor:
    """Number of pixels inside every mask.

    Args:
        masks: 0-1 masks, (batch, N, structure, *spatial); a missing one is NaN everywhere.

    Returns:
        float64, (batch, N, structure); NaN for missing masks.

    Raises:
        ValueError: as :func:`intersections`.

    Example:
        >>> import torch
        >>> mask_pixels(torch.tensor([[1, 1, 0], [0, 0, 0]]).reshape(1, 2, 1, 3))[0, :, 0]
        tensor([2., 0.], dtype=torch.float64)
    """
    check_mask_sets(masks)
    packed, missing = _pack(masks)
    pixels = torch.from_numpy(np.bitwise_count(packed).sum(-1, dtype=np.float64)).to(missing.device)
    return pixels.masked_fill(missing, torch.nan)


def _pack(masks: Tensor) -> tuple[NDArray[np.uint64], Tensor]:
    """Masks as bits, (batch, N, structure, words), and which are missing, (batch, N, structure)."""
    flat = convert_to_tensor(masks, track_meta=False).detach().flatten(3)
    binary = (flat if flat.dtype == torch.uint8 else flat.bool()).cpu().numpy()
    in_bytes = np.packbits(binary, axis=-1)
    if in_bytes.shape[-1] % 8:
        in_bytes = np.pad(in_bytes, ((0, 0),) * 3 + ((0, -in_bytes.shape[-1] % 8),))
    packed = in_bytes.view(np.uint64)
    missing = _missing(flat, packed)
    if missing.any():
        packed[missing.cpu().numpy()] = 0
    return packed, missing


def _missing(flat: Tensor, packed: NDArray[np.uint64]) -> Tensor:
    """Which masks are NaN, after a check that all others hold 0 and 1 only."""
    if not flat.is_floating_point():
        missing = torch.zeros_like(flat[..., 0], dtype=torch.bool)
        valid = flat.dtype == torch.bool or (flat.amax() <= 1 and (flat.dtype == torch.uint8 or flat.amin() >= 0))
    else:
        low, high = flat.amin(-1), flat.amax(-1)  # NaN if a pixel is
        exact = torch.float32 if flat.shape[-1] <= 2**24 else torch.float64  # float32 is several times faster
        pixels = torch.from_numpy(np.bitwise_count(packed).sum(-1, dtype=np.int64)).to(flat.device)
        missing = low.isnan()
        valid = ((low >= 0) & (high <= 1) & (flat.sum(-1, dtype=exact) == pixels) | missing).all()
    if not valid:
        given = flat[~flat.isnan()] if flat.is_floating_point() else flat
        raise ValueError(
            f"masks must hold 0 and 1 only, got values from {given.min().item():g} to {given.max().item():g}; threshold "
            "probabilities first."
        )
    if missing.any() and not flat[missing].isnan().all():
        some = int((flat[missing].isnan().sum(-1) < flat.shape[-1]).sum())
        raise ValueError(f"masks: a missing one must be NaN in every pixel, got {some} with NaN in some pixels only.")
    return missing


def _gram(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Population counts of the ANDs of all rows, (N, words) to (N, N)."""
    union, common = np.bitwise_or.reduce(bits), np.bitwise_and.reduce(bits)
    agreed = union == common
    disputed = bits.compress(~agreed, axis=1)
    n = len(bits)
    counts = np.empty((n, n), np.int64)
    rows = max(1, _BLOCK // max(1, disputed.size))
    for i in range(0, n, rows):  # a block of rows at a time; the product is symmetric
        block = np.bitwise_count(disputed[i : i + rows, None] & disputed[i:]).sum(-1, dtype=np.uint32)
        counts[i : i + rows, i:], counts[i:, i : i + rows] = block, block.T
    return counts + np.bitwise_count(union[agreed]).sum(dtype=np.int64)


@takes(sets="label")
def pairwise_iou(*sets: Tensor) -> Tensor:
    """Intersection over union of every mask with every mask; 1 if both are empty, 0 if one is (decision 20).

    Args:
        sets: 0-1 masks, each (batch, N_i, structure, *spatial), e.g. a model's samples and the raters' masks; a missing
            rater is NaN everywhere.

    Returns:
        float32, (batch, structure, N, N), N = N_1 + N_2 + ...; the sets follow each other along both last axes, so
        ``[..., :N_1, N_1:]`` compares the first set with the others. NaN in the rows and columns of missing masks.

    Raises:
        ValueError: if shapes do not fit, or a value is neither 0, 1 nor NaN.

    References:
        Jaccard, "Étude comparative de la distribution florale dans une portion des Alpes et du Jura", 1901.

    Example:
        >>> import torch
        >>> masks = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]]).reshape(1, 3, 1, 3)
        >>> pairwise_iou(masks)[0, 0]
        tensor([[1.0000, 0.3333, 0.0000],
                [0.3333, 1.0000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    common, both, missing = _shared_pixels(*sets)
    union = both - common
    return (common / union).masked_fill(union == 0, 1).masked_fill(missing, nan)


@takes(sets="label")
def pairwise_dice(*sets: Tensor) -> Tensor:
    """Dice coefficient of every mask with every mask; 1 if both are empty, 0 if one is.

    Args:
        sets: as :func:`pairwise_iou`.

    Returns:
        As :func:`pairwise_iou`.

    Raises:
        ValueError: as :func:`pairwise_iou`.

    References:
        Dice, "Measures of the amount of ecologic association between species", 1945.

    Example:
        >>> import torch
        >>> pairwise_dice(torch.tensor([[1, 1, 0], [0, 1, 1]]).reshape(1, 2, 1, 3))[0, 0]
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])
    """
    common, both, missing = _shared_pixels(*sets)
    return (2 * common / both).masked_fill(both == 0, 1).masked_fill(missing, nan)


def _shared_pixels(*sets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels in common and sum of both masks' pixels of every pair, and whether one of them is missing."""
    counts, missing = intersections(*sets)
    size = counts.diagonal(dim1=-2, dim2=-1)
    return counts, size.unsqueeze(-1) + size.unsqueeze(-2), missing.unsqueeze(-1) | missing.unsqueeze(-2)


@takes(masks="label", raters="label")
def dice_to_raters(masks: Tensor, raters: Tensor) -> Tensor:
    """Mean Dice over all pairs of a mask and a rater, for every structure; 1 if both are empty, 0 if one is.

    Args:
        masks: 0-1 masks, the samples' (batch, sample, structure, *spatial) or the majority's (batch, structure, *spatial).
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.

    Returns:
        In [0, 1], (batch, structure); NaN where all raters are missing.

    Raises:
        ValueError: if shapes do not fit, or a value is neither 0, 1 nor NaN.

    Example:
        >>> import torch
        >>> raters = torch.tensor([[1, 1, 0], [0, 1, 1]]).reshape(1, 2, 1, 3)
        >>> dice_to_raters(raters[:, 0], raters)
        tensor([[0.7500]])
    """
    masks = present(masks.unsqueeze(1) if masks.ndim == raters.ndim - 1 else masks)
    k = masks.shape[1]
    return pairwise_dice(masks, raters)[..., :k, k:].nanmean((-2, -1))


@takes(samples="label", raters="label")
def energy_distance(samples: Tensor, raters: Tensor, unbiased: bool = False) -> Tensor:
    """Squared generalized energy distance 2 E d(S,Y) - E d(S,S') - E d(Y,Y') with d = 1 - IoU (equation 45, decision 20).

    IoU is averaged over structures, 1 where both masks are empty. The V-statistic averages over all pairs, an element with
    itself included; it is never negative, and falls with the number of samples. The U-statistic leaves the self pairs out; it
    does not depend on the number of samples in expectation, and may be negative. A single sample, or rater, has no other to
    compare with: its within term is 0 in both.

    Args:
        samples: 0-1 masks, (batch, sample, structure, *spatial).
        raters: 0-1 masks, (batch, rater, structure, *spatial); a missing rater is NaN everywhere and is left out.
        unbiased: U-statistic instead of V-statistic.

    Returns:
        Dimensionless, (batch,); NaN where all raters are missing. The V-statistic lies in [0, 2].

    Raises:
        ValueError: if shapes do not fit, or a value is neither 0, 1 nor NaN.

    References:
        Kohl et al., "A probabilistic U-Net for segmentation of ambiguous images", 2018, equation 4 (its square).

    Example:
        >>> import torch
        >>> samples = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]]).reshape(1, 2, 1, 4)
        >>> energy_distance(samples, samples), energy_distance(samples, samples[:, :1], unbiased=True)
        (tensor([0.]), tensor([0.]))
    """
    drawn = present(samples).shape[1]
    return _from_pairs(1 - pairwise_iou(samples, raters), drawn, drawn, unbiased)


def energy_distance_by_count(samples: Tensor, raters: Tensor, counts: Sequence[int]) -> dict[int, Tensor]:
    """:func:`energy_distance` (V-statistic) of the first K samples for several K, all from one comparison of the masks.

    Args:
        samples: as :func:`energy_distance`.
        raters: as :func:`energy_distance`.
        counts: numbers of samples K; those beyond the samples drawn are left out.

    Example:
        >>> import torch
        >>> samples = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]]).reshape(1, 2, 1, 4)
        >>> {k: round(float(v), 3) for k, v in energy_distance_by_count(samples, samples, (1, 2, 4)).items()}
        {1: 0.333, 2: 0.0}
    """
    distance, drawn = 1 - pairwise_iou(present(samples), raters), samples.shape[1]
    return {k: _from_pairs(distance, drawn, k, False) for k in counts if k <= drawn}


def _from_pairs(distance: Tensor, drawn: int, k: int, unbiased: bool) -> Tensor:
    """Energy distance of the first ``k`` of ``drawn`` samples, whose raters follow them in the matrix of distances."""
    cross = distance[..., :k, drawn:].nanmean((-2, -1))
    within = [mean_within(part, unbiased) for part in (distance[..., :k, :k], distance[..., drawn:, drawn:])]
    return (2 * cross - sum(within)).nanmean(1)


def mean_within(distance: Tensor, unbiased: bool = False) -> Tensor:
    """Mean over the pairs of one set.

    Args:
        distance: of every element to every element, 0 on the diagonal, NaN for missing elements, (..., N, N).
        unbiased: leave the self pairs out.

    Returns:
        Shape (...,); 0 for a set of one.

    Example:
        >>> import torch
        >>> distance = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
        >>> mean_within(distance), mean_within(distance, unbiased=True)
        (tensor(0.2500), tensor(0.5000))
    """
    present = (~distance.diagonal(dim1=-2, dim2=-1).isnan()).sum(-1)
    pairs = present * (present - 1 if unbiased else present)
    return distance.nansum((-2, -1)) / pairs.clamp_min(1)


@takes(samples="label")
def sample_diversity(samples: Tensor) -> Tensor:
    """Mean over the pairs of different samples of 1 - IoU, IoU averaged over structures (1 where both are empty).

    Args:
        samples: 0-1 masks, (batch, sample, structure, *spatial).

    Returns:
        In [0, 1], (batch,); 0 for a single sample, which has nothing to differ from.

    Raises:
        ValueError: if the shape does not fit, or a value is neither 0 nor 1.

    Example:
        >>> import torch
        >>> sample_diversity(torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]).reshape(1, 3, 1, 4))
        tensor([0.6667])
    """
    return mean_within(1 - pairwise_iou(present(samples)), unbiased=True).nanmean(1)
