"""How often every class occurs in a data set, where a classifier's biases start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["class_frequencies"]


def class_frequencies(
    data: Iterable[Mapping[str, Any]], num_classes: int, multi_label: bool = False, label_key: str = "label"
) -> list[float]:
    """Share of every class, over all pixels of all images and raters; a missing rater (-1) does not count.

    Args:
        data: entries with a label, (R, *spatial) of class numbers, or (R, label, *spatial) of 0 and 1 if ``multi_label``. Or one
            label an image: a class number, or (label,) of 0 and 1 if ``multi_label``; it counts as a pixel does.
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels.
        label_key: key of the label.

    Returns:
        ``num_classes`` shares, each at least one pixel in ten million, so that its logarithm is finite. Of exclusive classes they
        sum to 1.

    Raises:
        ValueError: if there is no labelled pixel, or a label holds another class or another number of labels.

    Example:
        >>> class_frequencies([{"label": np.array([[[0, 0, 0, 1]]])}], num_classes=2)
        [0.75, 0.25]
        >>> class_frequencies([{"label": 1}, {"label": 0}, {"label": 1}, {"label": 1}], num_classes=2)
        [0.25, 0.75]
    """
    counts, pixels = np.zeros(num_classes), 0
    for entry in data:
        label = np.asarray(entry[label_key])
        if label.size and label.max() >= (2 if multi_label else num_classes):
            raise ValueError(f"{label_key} must lie below {2 if multi_label else num_classes}, got {label.max()}.")
        if multi_label:
            known = label >= 0
            per_label = np.atleast_2d(label)  # (label,) is that of one rater of one pixel
            if per_label.shape[1] != num_classes:
                raise ValueError(f"{label_key} must hold {num_classes} labels (num_classes), got shape {label.shape}.")
            counts += (per_label == 1).sum(axis=(0, *range(2, per_label.ndim)))
            pixels += int(known.sum()) // num_classes
        else:
            counts += np.bincount(label[label >= 0].ravel(), minlength=num_classes)
            pixels += int((label >= 0).sum())
    if not pixels:
        raise ValueError(f"data must hold at least one labelled pixel under {label_key!r}.")
    return [float(share) for share in np.clip(counts / pixels, 1e-7, 1 - 1e-7)]
