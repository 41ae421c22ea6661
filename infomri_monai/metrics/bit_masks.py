"""Intersections of all pairs of many masks from one product of a matrix of bits, exact and many times faster than pair loops.

Sixty-four pixels become one word, and in the product of the (masks, pixels) matrix with its transpose AND and population count take
the place of multiplication and sum. Words that all masks agree on enter as one constant.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from monai.utils.type_conversion import convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["MaskCounts", "check_mask_sets", "intersections", "mask_pixels"]

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
        raise ValueError("masks must hold 0 and 1 only; threshold probabilities first.")
    if missing.any() and not flat[missing].isnan().all():
        raise ValueError("a missing mask must be NaN in every pixel, got one with NaN in some pixels only.")
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
