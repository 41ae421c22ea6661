"""The rule by which readers divide cases where the publisher has not: named parts, one seed or contiguous blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["check_split", "split_cases"]

Case = TypeVar("Case")


def check_split(split: str, accepted: Iterable[str] = ("train", "validation", "test")) -> str:
    """Return ``split`` if it is one of the accepted names.

    Args:
        split: the name given.
        accepted: the names there are.

    Raises:
        ValueError: if it is not.

    Example:
        >>> check_split("val")
        Traceback (most recent call last):
        ValueError: split must be one of ('train', 'validation', 'test'), got 'val'.
    """
    if split not in (names := tuple(accepted)):
        raise ValueError(f"split must be one of {names}, got {split!r}.")
    return split


def split_cases(cases: Sequence[Case], parts: Mapping[str, float], seed: int | None = None) -> dict[str, list[Case]]:
    """Divide cases into named parts; the same cases, fractions and seed give the same parts on every machine.

    Args:
        cases: what is divided, one a patient where patients are known, in a reproducible order (sorted names).
        parts: name and fraction of each part, in order; the fractions sum to 1. Part i ends at
            ``round(n (f_1 + ... + f_i))``.
        seed: the parts take the cases in the order of the SHA-256 digest of "seed index"; None leaves them as they are, so that
            the parts are contiguous blocks (for slices of which neighbours may share a patient).

    Returns:
        The cases of each part in their original order. Disjoint, and together all of them.

    Raises:
        ValueError: if a fraction is negative, they do not sum to 1, or ``seed`` is negative.

    Example:
        >>> split_cases("abcdefghij", {"train": 0.8, "validation": 0.2})["validation"]
        ['i', 'j']
        >>> split_cases("abcdefghij", {"train": 0.8, "validation": 0.2}, seed=0)["validation"]
        ['d', 'j']
    """
    if any(f < 0 for f in parts.values()) or abs(sum(parts.values()) - 1) > 1e-6:
        raise ValueError(f"parts must be fractions of at least 0 that sum to 1, got {dict(parts)}.")
    if seed is not None and seed < 0:
        raise ValueError(f"seed must be None or not negative, got {seed}.")
    number = len(cases)
    order = list(range(number))
    if seed is not None:  # a digest, because NumPy's random streams may change between versions
        order.sort(key=lambda i: hashlib.sha256(f"{seed} {i}".encode()).digest())
    ends = np.rint(np.cumsum(list(parts.values())) * number).astype(int)
    starts = [0, *ends[:-1]]
    taken = (sorted(order[start:end]) for start, end in zip(starts, ends, strict=True))
    return {name: [cases[i] for i in chosen] for name, chosen in zip(parts, taken, strict=True)}
