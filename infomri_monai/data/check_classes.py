"""A check that every class, and of every label both values, occurs in a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_classes"]

Data = TypeVar("Data", bound=Sequence[Mapping[str, Any]])


def check_classes(
    data: Data, num_classes: int, multi_label: bool = False, name: str = "data", label_key: str = "label"
) -> Data:
    """Return the data of a classification task, if every class occurs among their labels.

    A class that a training split lacks is never predicted, and one that a test split lacks has no AUROC. A configuration puts
    this function around its readers; the shares of the classes are :func:`~infomri_monai.data.class_frequencies`.

    Args:
        data: entries with a label: a class number from 0, or (num_classes,) of 0 and 1 if ``multi_label``.
        num_classes: exclusive classes, at least 2; or labels if ``multi_label``, at least 1.
        multi_label: independent binary labels.
        name: the split's name in error messages, e.g. the configuration's argument "validation_data".
        label_key: key of the label.

    Returns:
        ``data``, as it is.

    Raises:
        ValueError: if there is no entry, an entry lacks its label, a label is no such number, or a class (of a label, a value) is
            absent.

    Example:
        >>> check_classes([{"label": 0}, {"label": 2}], num_classes=3, name="test_data")
        Traceback (most recent call last):
        ValueError: test_data: class 1 of 3 is absent from its 2 entries (0: 1, 2: 1).
    """
    if num_classes < (1 if multi_label else 2):
        raise ValueError(f"num_classes must be at least {1 if multi_label else 2}, got {num_classes}.")
    if not len(data):
        raise ValueError(f"{name} must hold at least one entry.")
    labels = _labels(data, (num_classes,) if multi_label else (), 2 if multi_label else num_classes, name, label_key)
    if not multi_label:
        counts = np.bincount(labels.astype(np.int64), minlength=num_classes)
        absent = [str(c) for c in np.flatnonzero(counts == 0)]
        if absent:
            found = ", ".join(f"{c}: {counts[c]}" for c in np.flatnonzero(counts))
            raise ValueError(
                f"{name}: class {', '.join(absent)} of {num_classes} is absent from its {len(data)} entries ({found})."
            )
        return data
    for value, word in ((1, "positive"), (0, "negative")):
        absent = [str(c) for c in np.flatnonzero((labels != value).all(0))]
        if absent:
            raise ValueError(
                f"{name}: label {', '.join(absent)} of {num_classes} has no {word} entry among {len(data)}."
            )
    return data


def _labels(data: Sequence[Mapping[str, Any]], shape: tuple[int, ...], below: int, name: str, key: str) -> NDArray:
    """All labels, (entry, *shape), each a whole number in [0, below)."""
    found = []
    for number, entry in enumerate(data):
        if key not in entry:
            raise ValueError(f"{name}: entry {number} lacks {key!r}.")
        label = np.asarray(entry[key])
        if label.shape != shape or label.dtype.kind not in "buif" or not np.isin(label, np.arange(below)).all():
            raise ValueError(
                f"{name}: entry {number}: {key!r} must have shape {shape} and values 0 to {below - 1}, "
                f"got shape {label.shape}: {np.array2string(label, threshold=8)}."
            )
        found.append(label)
    return np.stack(found)
