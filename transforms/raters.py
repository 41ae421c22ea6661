"""Labels of several raters: what marks a missing one, who is present, and the check of label values."""

from __future__ import annotations

import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor, get_track_meta
from monai.utils import convert_to_tensor
from torch import Tensor

from infomri_monai.transforms.common import plain

__all__ = ["MISSING_RATER", "check_label", "present_raters"]

#: what fills the slot of a rater who did not draw this image
MISSING_RATER = -1


def check_label(label: NdarrayOrTensor, num_classes: int, allow_missing: bool = False, name: str = "label") -> Tensor:
    """Convert a label map to a tensor (a MetaTensor where MONAI tracks metadata) and check its values.

    Args:
        label: integers or booleans, any shape.
        num_classes: values must lie in [0, num_classes - 1]; 2 for the 0/1 channels of a multi-label map.
        allow_missing: accept ``MISSING_RATER`` as well.
        name: what the label is, for error messages.

    Returns:
        The tensor, dtype and device kept.

    Raises:
        ValueError: if the label is no array, empty or not of an integer type, or a value is outside the classes.

    Example:
        >>> import torch
        >>> check_label(torch.tensor([0, 3]), num_classes=3)
        Traceback (most recent call last):
        ValueError: label must hold values in [0, 2], got values from 0 to 3.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, background included, got {num_classes!r}.")
    track_meta = get_track_meta()
    tensor = label if track_meta and isinstance(label, MetaTensor) else convert_to_tensor(label, track_meta=track_meta)
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a numpy array or a tensor, got {type(label).__name__}.")
    if tensor.is_floating_point() or tensor.is_complex():
        raise ValueError(
            f"{name} must be of an integer type or bool, got {tensor.dtype}; LoadImaged(dtype=...) or CastToTyped "
            "makes integers of it."
        )
    if tensor.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(tensor.shape)}.")
    values = plain(tensor)
    low, high = (int(v) for v in torch.aminmax(values.to(torch.int64)))
    lowest = MISSING_RATER if allow_missing else 0
    if low < lowest or high >= num_classes:
        raise ValueError(f"{name} must hold values in [{lowest}, {num_classes - 1}], got values from {low} to {high}.")
    return tensor


def present_raters(label: Tensor) -> Tensor:
    """Which raters drew the image.

    Args:
        label: shape (rater, ...); the slot of a missing rater holds ``MISSING_RATER`` everywhere.

    Returns:
        Booleans, shape (rater,).

    Raises:
        ValueError: if a slot holds negative values without being ``MISSING_RATER`` everywhere.

    Example:
        >>> import torch
        >>> present_raters(torch.tensor([[[0, 1]], [[-1, -1]]]))
        tensor([ True, False])
    """
    slots = plain(label).flatten(1)
    missing = (slots == MISSING_RATER).all(1)
    if ((slots < 0).any(1) & ~missing).any():
        raise ValueError(f"a rater's label must be free of negative values, or {MISSING_RATER} everywhere if missing.")
    return ~missing
