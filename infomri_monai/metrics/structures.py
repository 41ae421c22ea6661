"""Structures of segmentations: label maps as the 0-1 masks that every metric compares, and their names, checked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from infomri_monai.arrays import takes

__all__ = ["channel_masks", "rater_masks", "structure_masks", "structure_names"]


@takes(label="label", num_classes="whole")
def structure_masks(label: Tensor, num_classes: int) -> Tensor:
    """One mask for every class but the background.

    Args:
        label: integer map, shape (batch, N, *spatial), N raters or samples, values 0 (background) to ``num_classes - 1``;
            -1 in every pixel of a missing rater.
        num_classes: number of classes C with the background, at least 2.

    Returns:
        float32, shape (batch, N, C - 1, *spatial): 1 inside the structure, 0 outside, NaN where -1 stood.

    Raises:
        ValueError: if ``num_classes`` is below 2, ``label`` has fewer than 3 axes or a value that is no class, or -1 stands in
            some pixels of a rater only.

    Example:
        >>> import torch
        >>> structure_masks(torch.tensor([[[0, 1, 2], [-1, -1, -1]]]), 3)
        tensor([[[[0., 1., 0.],
                  [0., 0., 1.]],
        <BLANKLINE>
                 [[nan, nan, nan],
                  [nan, nan, nan]]]])
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 (background and one structure), got {num_classes}.")
    _check_values(label, 3, "(batch, N, *spatial)", num_classes - 1)
    classes = torch.arange(1, num_classes, device=label.device).reshape(-1, *[1] * (label.ndim - 2))
    wide = label.unsqueeze(2)
    return (wide == classes).float().masked_fill(wide < 0, torch.nan)


@takes(label="label")
def channel_masks(label: Tensor) -> Tensor:
    """Masks of multi-label data, whose structures are independent 0-1 channels already.

    Args:
        label: shape (batch, N, structures, *spatial), values 0 and 1; -1 in every pixel of a missing rater.

    Returns:
        float32 of the same shape, NaN where -1 stood.

    Raises:
        ValueError: if ``label`` has fewer than 4 axes or another value, or -1 stands in some pixels of a rater only (of all
            structures together).

    Example:
        >>> import torch
        >>> channel_masks(torch.tensor([[[[0, 1]], [[-1, -1]]]]))
        tensor([[[[0., 1.]],
        <BLANKLINE>
                 [[nan, nan]]]])
    """
    _check_values(label, 4, "(batch, N, structures, *spatial)", 1)
    return label.float().masked_fill(label < 0, torch.nan)


def rater_masks(labels: Tensor, structures: int) -> Tensor:
    """Raters' labels in either of the forms that data and evaluators have, as masks.

    Args:
        labels: class numbers (batch, R, H, W), 0 is background, or masks (batch, R, S, H, W); -1 everywhere for a missing rater.
        structures: number of structures S.

    Returns:
        float32, (batch, R, S, H, W), NaN for a missing rater.

    Raises:
        ValueError: if the labels have another shape, a value that is no structure, or -1 in some pixels of a rater only.

    Example:
        >>> rater_masks(torch.tensor([[[[0, 1, 2]]]]), 2).tolist()
        [[[[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]]]
    """
    if labels.ndim == 4:
        return structure_masks(labels, structures + 1)
    if labels.ndim != 5 or labels.shape[2] != structures:
        raise ValueError(
            f"labels must be class numbers (batch, R, H, W) or masks (batch, R, {structures}, H, W), got {tuple(labels.shape)}."
        )
    return channel_masks(labels)


def _check_values(label: Tensor, axes: int, shape: str, largest: int) -> None:
    if label.ndim < axes:
        raise ValueError(f"label must have shape {shape}, got {tuple(label.shape)}.")
    if label.is_complex() or (label.is_floating_point() and not torch.equal(label, label.round())):
        raise ValueError(f"label must hold whole numbers, got {label.dtype} with others.")
    low, high = (int(label.amin()), int(label.amax())) if label.numel() else (0, 0)
    if low < -1 or high > largest:
        raise ValueError(f"label must lie in -1 (missing rater) to {largest}, got values from {low} to {high}.")
    if low < 0:
        gaps = (label < 0).flatten(2)
        image, rater = (part.tolist() for part in (gaps.any(2) & ~gaps.all(2)).nonzero(as_tuple=True))
        if image:
            raise ValueError(
                f"label must be -1 in every pixel of a missing rater and in none of another, got -1 in "
                f"{int(gaps[image[0], rater[0]].sum())} of {gaps.shape[2]} values of rater {rater[0]} of the batch's image "
                f"{image[0]}, the first of {len(image)} such labels; pixels that nobody labelled have no value of their own."
            )


def structure_names(names: Sequence[str] | None, number: int | None = None) -> tuple[str, ...]:
    """One name for every structure.

    Args:
        names: the names; None numbers the structures.
        number: how many structures there are; None where that is not known yet, which checks only what can be checked.

    Returns:
        The names; none if neither names nor a number is given.

    Raises:
        ValueError: if ``names`` is a single string, repeats a name, or holds more or fewer than ``number``.

    Example:
        >>> structure_names(None, 2), structure_names(["grey", "white"])
        (('structure_1', 'structure_2'), ('grey', 'white'))
        >>> structure_names(["tumour"], 2)
        Traceback (most recent call last):
        ValueError: structures must be different names, one for each of 2, got ['tumour'].
    """
    if names is None:
        return tuple(f"structure_{i}" for i in range(1, (number or 0) + 1))
    if isinstance(names, str) or len(set(names)) < len(names) or number not in (None, len(names)):
        wanted = "" if number is None else f", one for each of {number}"
        raise ValueError(f"structures must be different names{wanted}, got {names!r}.")
    return tuple(names)
