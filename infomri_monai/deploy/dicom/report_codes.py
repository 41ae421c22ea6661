"""Codes of our structured reports for what DICOM's own coding schemes have no word for."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from monai.utils import optional_import

coding, _ = optional_import("pydicom.sr.coding")

__all__ = ["NATS", "ONE", "SCHEME", "label_code", "own_code", "percentile_code", "unit"]

#: private coding scheme; its designator begins with 99, as the standard asks of private ones
SCHEME = "99INFOMRI"

_MEANINGS = {
    "AGREEMENT": "Agreement: mean pairwise Dice coefficient of the samples",
    "MEAN_ENTROPY": "Mean predictive entropy per pixel",
    "ENTROPY": "Predictive entropy",
    "MUTUAL_INFO": "Mutual information of label and mask",
    "SAMPLES": "Number of posterior samples",
    "MASKS": "Number of sampling masks",
    "RATIO": "Sampling ratio, mean over slices and masks",
    "RATIO_ALL_MASKS": "Sampling ratio of all masks together",
    "ACCELERATION": "Acceleration",
    "SIMULATED": "k-space was simulated from images",
    "REVIEW": "A person must review the segmentation",
    "MOST_PROBABLE": "Most probable label",
    "ABOVE_HALF": "Label of a probability above one half",
    "REVIEW_WORDS": "What the review decision means",
    "ACQUISITION": "Acquisition",
    "MEANING": "What the numbers mean",
    "NO_IMAGE": "Privacy",
    "SLICES": "Values of every slice",
    "WARNING": "Warning",
}

#: UCUM codes of units and their meanings
ONE, NATS = "1", "{nat}"
_UNITS = {
    ONE: "no units",
    NATS: "nat",
    "mm3": "cubic millimeter",
    "{voxels}": "voxels",
    "{nat}/{pixel}": "nat per pixel",
}


def own_code(value: str) -> Any:
    """One of our codes, ``pydicom.sr.coding.Code``.

    Example:
        >>> own_code("RATIO").meaning
        'Sampling ratio, mean over slices and masks'
    """
    return coding.Code(value, SCHEME, _MEANINGS[value])


def percentile_code(percent: int) -> Any:
    """The 5th or the 95th percentile, as the derivation of a number (SNOMED CT, in plain words)."""
    return coding.Code({5: "371888009", 95: "371889001"}[percent], "SCT", f"{percent}th percentile")


def unit(value: str) -> Any:
    """A unit of UCUM; what is in braces is an annotation of a number without unit."""
    return coding.Code(value, "UCUM", _UNITS[value])


def label_code(label: str) -> Any:
    """The code of a classifier's label: the label itself, or a hash of it where it is too long for a code or not plain ASCII.

    Args:
        label: 1 to 64 characters.

    Example:
        >>> label_code("right").value, label_code("right, behind").value
        ('right', 'd0cb410f6d5400c3')
    """
    plain = re.fullmatch(r"[A-Za-z0-9_.+-]{1,16}", label) is not None and label not in _MEANINGS
    return coding.Code(label if plain else hashlib.sha256(label.encode()).hexdigest()[:16], SCHEME, label)
