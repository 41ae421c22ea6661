"""Simulated raters for the data lists of sets that have one expert's label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infomri_monai.transforms import SimulateRaters, check_label

__all__ = ["add_raters", "check_subset", "rater_model"]

_OPTIONS = ("bias", "amplitude", "wavelength")


def rater_model(
    raters: int, num_classes: int, options: Mapping[str, float] | None = None, seed: int = 0
) -> SimulateRaters | None:
    """The simulation that a reader's arguments ask for.

    Args:
        raters: number of raters; 1 asks for no simulation.
        num_classes: classes of the label, background included.
        options: any of "bias", "amplitude" and "wavelength" of :class:`~infomri_monai.transforms.SimulateRaters`, pixels.
        seed: any non-negative integer; another one gives other raters.

    Returns:
        The transform, or None where ``raters`` is 1.

    Raises:
        ValueError: if an option is unknown or an argument is outside its range.

    Example:
        >>> rater_model(1, num_classes=2) is None
        True
    """
    unknown = sorted(set(options or {}) - set(_OPTIONS))
    if unknown:
        raise ValueError(f"rater_options may hold {', '.join(_OPTIONS)}, got {', '.join(unknown)}.")
    model = SimulateRaters(raters, num_classes=num_classes, seed=seed, **(options or {}))
    return model if model.raters > 1 else None


def add_raters(entry: dict[str, Any], num_classes: int, model: SimulateRaters | None) -> dict[str, Any]:
    """Replace an entry's single label by raters' labels.

    Args:
        entry: "label", integers (1, height, width); "subject" and "slice", which tell the image from the others.
        num_classes: classes of the label, background included.
        model: what simulates the raters; None keeps the single label.

    Returns:
        The same dictionary with "label", uint8 (rater, height, width), and "simulated_raters", a bool.

    Raises:
        ValueError: if the label has another grid than "image", or a value outside the classes.

    Example:
        >>> entry = {"label": np.eye(8, dtype=np.uint8)[None], "image": np.eye(8)[None], "subject": 0, "slice": 0}
        >>> add_raters(entry, 2, rater_model(3, 2))["label"].shape
        (3, 8, 8)
    """
    label, where = entry["label"], f"subject {entry['subject']}, slice {entry['slice']}: label"
    if label.shape != entry["image"].shape:
        raise ValueError(f"{where} must have the image's shape {entry['image'].shape}, got {label.shape}.")
    check_label(label, num_classes, name=where)
    label = label.astype(np.uint8)
    if model is not None:
        label = np.asarray(model(label, index=(entry["subject"], entry["slice"])))
    entry.update(label=label, simulated_raters=model is not None)
    return entry


def check_subset(subset: int | None) -> int:
    """The step that keeps every ``subset``-th entry of a list; None keeps all.

    Raises:
        ValueError: unless it is None or a whole number of at least 1.

    Example:
        >>> "abcdefg"[:: check_subset(3)]
        'adg'
    """
    if subset is None:
        return 1
    if isinstance(subset, bool | Sequence) or int(subset) != subset or subset < 1:
        raise ValueError(f"subset must be None or a whole number of at least 1, got {subset!r}.")
    return int(subset)
