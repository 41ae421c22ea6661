"""Percentile bootstrap over subjects: how much a number would vary with other test subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["Estimate", "SubjectBootstrap", "mean_estimate", "number_subjects"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: numbers of a block of resamples: 2 MB, for the processor's cache
_BLOCK = 2**18


class Estimate(NamedTuple):
    """A number and its interval; NaN for what is not defined.

    Attributes:
        value: over all images.
        lower: lower end of the interval.
        upper: upper end of the interval.
    """

    value: float
    lower: float = float("nan")
    upper: float = float("nan")


def number_subjects(volume: Floats, measured: Floats) -> Integers:
    """Which subject every image belongs to, so that neither batches nor ranks change what a seed draws.

    Args:
        volume: label of each image's subject, (n,); a negative one is of an image that is a subject of its own.
        measured: what was measured of every image, (n, ...).

    Returns:
        Numbers 0, 1, ... without a gap, (n,): subjects in the order of their labels, then the images without one in the order
        of what was measured.

    Example:
        >>> number_subjects(np.array([7.0, 3, 7, -1]), np.zeros(4)).tolist()
        [1, 0, 1, 2]
    """
    columns = measured.reshape(len(measured), -1).T
    order = np.lexsort((*columns[::-1], np.where(volume < 0, np.inf, volume)))
    ordered = volume[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]) | (ordered[1:] < 0)
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers


class SubjectBootstrap:
    """Draws as many subjects as there are, with replacement, each with all its images (a cluster bootstrap).

    Every call draws the same subjects: intervals of several ratios and measures are paired.

    Args:
        resamples: how often subjects are drawn; 0 gives no interval.
        seed: of the draws.
        level: share of the resamples inside the interval, in (0, 1).

    Raises:
        ValueError: if ``resamples`` < 0, ``seed`` < 0, or ``level`` is out of range.

    References:
        Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13 (percentile interval).
        Field and Welsh, "Bootstrapping clustered data", 2007 (clusters).

    Example:
        >>> values = np.arange(10.0)
        >>> mean = lambda weights: (weights @ values / weights.sum(1))[:, None]
        >>> SubjectBootstrap(seed=1).interval(mean, np.arange(10)).round(1).tolist()
        [[2.7], [6.3]]
    """

    def __init__(self, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> None:
        if resamples < 0 or seed < 0:
            raise ValueError(f"bootstrap (resamples) and seed must be at least 0, got {resamples} and {seed}.")
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1), got {level}.")
        self.resamples, self.seed, self.level = resamples, seed, level

    @property
    def convention(self) -> str:
        """One line for tables; empty without resamples."""
        if not self.resamples:
            return ""
        return f"in brackets: {self.level:.0%} percentile bootstrap over subjects, {self.resamples} resamples, seed {self.seed}"

    def weights(self, subjects: Integers) -> Iterator[Floats]:
        """How often every image was drawn, in blocks of resamples, (block, n); see :func:`number_subjects`."""
        generator, count = np.random.default_rng(self.seed), int(subjects.max()) + 1
        block = max(1, _BLOCK // len(subjects))
        for start in range(0, self.resamples, block):
            size = min(block, self.resamples - start)
            drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
            times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
            yield times[:, subjects].astype(np.float64)

    def interval(self, statistic: Callable[[Floats], Floats], subjects: Integers) -> Floats:
        """Both ends of the interval of several numbers.

        Args:
            statistic: from the images' weights, (resamples, n), to the numbers of every resample, (resamples, numbers); NaN
                where one is not defined.
            subjects: of every image, (n,), from :func:`number_subjects`.

        Returns:
            Lower and upper ends, (2, numbers), over the resamples in which a number is defined; NaN if those are fewer than half,
            there is a single subject, or nothing is drawn.
        """
        numbers = statistic(np.ones((1, len(subjects)))).shape[1]
        if not self.resamples or subjects.max() == 0:
            return np.full((2, numbers), np.nan)
        values = np.concatenate([statistic(weights) for weights in self.weights(subjects)])
        ends = [(1 - self.level) / 2, (1 + self.level) / 2]
        columns = [column[~np.isnan(column)] for column in values.T]
        undefined = np.full(2, np.nan)
        return np.stack([np.quantile(c, ends) if 2 * len(c) >= self.resamples else undefined for c in columns], 1)


def mean_estimate(values: Tensor, volume: Tensor, bootstrap: SubjectBootstrap) -> Estimate:
    """Mean over images, with the interval of other subjects: a subject of many images weighs as many.

    Args:
        values: of every image, (n,) or (n, 1); where one is NaN there is neither mean nor interval.
        volume: label of the subject of every image, (n,); negative: the image is a subject of its own.
        bootstrap: draws the subjects.

    Example:
        >>> import torch
        >>> mean_estimate(torch.ones(4), torch.tensor([0.0, 0, 1, 1]), SubjectBootstrap())
        Estimate(value=1.0, lower=1.0, upper=1.0)
    """
    numbers = values.reshape(-1).cpu().double().numpy()
    if np.isnan(numbers).any():
        return Estimate(float("nan"))
    subjects = number_subjects(volume.cpu().double().numpy(), numbers)
    ends = bootstrap.interval(lambda weights: (weights @ numbers / weights.sum(1))[:, None], subjects)
    return Estimate(float(numbers.mean()), *ends[:, 0].tolist())
