"""The slices of one case, acquired a batch at a time, and put together again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from ignite import distributed as idist
from monai.utils import optional_import
from torch import Tensor

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines.slice_acquisition import AcquisitionRecord, SliceAcquisition, centre_fit
from infomri_monai.networks import channels_to_complex

tqdm, _ = optional_import("tqdm", name="tqdm")

__all__ = ["AcquiredCase", "SliceBatch", "magnitude_and_sigma", "network_device"]


class SliceBatch(NamedTuple):
    """Some slices of a case, on the CPU.

    Attributes:
        first: index of the first one.
        zero_filled: complex zero-filled images, (batch, 1, *grid).
        mask: 0/1 masks, float, (batch, 1, *grid).
        empty: whether k-space is zero, bool, (batch, 1, 1, 1).
    """

    first: int
    zero_filled: Tensor
    mask: Tensor
    empty: Tensor


class AcquiredCase:
    """The slices of one case: iterating acquires them, a batch at a time, and shows a bar.

    Args:
        slices: the slices' k-space.
        measurement: the acquisition.
        size: in-plane size of the source.
        is_volume: whether the source has a slice axis.
        batch_size: slices in one batch.
        progress: show the bar, on rank 0.
    """

    def __init__(
        self,
        slices: SliceAcquisition,
        measurement: FourierMeasurement,
        size: tuple[int, ...],
        is_volume: bool,
        batch_size: int,
        progress: bool,
    ) -> None:
        self.slices, self.measurement, self.size, self.is_volume = slices, measurement, size, is_volume
        self.batch_size, self.progress = batch_size, progress

    @property
    def record(self) -> AcquisitionRecord:
        """How k-space came about."""
        return self.slices.record

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[SliceBatch]:
        return (batch for (batch,) in self.ensemble(1))

    def ensemble(self, masks: int) -> Iterator[tuple[SliceBatch, ...]]:
        """Acquire every slice several times, each time with a mask and noise of its own.

        Args:
            masks: number of acquisitions; only a simulation has more than one. The first is that of iterating.

        Yields:
            The same slices in each of the acquisitions.

        Raises:
            ValueError: if ``masks`` > 1 and k-space was measured.
        """
        if masks > 1 and not self.record.simulated:
            raise ValueError(
                f"masks must be 1 for measured k-space, which was acquired once, with one mask, got masks={masks}."
            )
        hidden = not self.progress or idist.get_rank() > 0
        with tqdm(total=len(self), desc="slices", unit="slice", disable=hidden) as bar:
            for first in range(0, len(self), self.batch_size):
                chosen = range(first, min(first + self.batch_size, len(self)))
                yield tuple(self._acquired(chosen, draw) for draw in range(masks))
                bar.update(len(chosen))

    def whole(self, slices: Tensor, fit: bool = True) -> Tensor:
        """The slices of a map put together.

        Args:
            slices: shape (slice, *leading, *grid).
            fit: crop or pad with zeros from the grid to the source's size.

        Returns:
            Shape (*leading, height, width[, slice]).
        """
        fitted = centre_fit(slices, self.size) if fit else slices
        return fitted.movedim(0, -1) if self.is_volume else fitted[0]

    def _acquired(self, chosen: range, draw: int) -> SliceBatch:
        pairs = [self.slices.acquire(index, draw) for index in chosen]
        kspace, mask = (torch.cat(part) for part in zip(*pairs, strict=True))
        empty = (kspace == 0).flatten(1).all(1).reshape(-1, 1, 1, 1)
        return SliceBatch(chosen.start, self.measurement.adjoint(kspace, mask), mask, empty)


def network_device(network: Any) -> torch.device:
    """The device of a network's parameters; the CPU for a function or a network without parameters."""
    parameters = network.parameters() if hasattr(network, "parameters") else ()
    return next((tensor.device for tensor in parameters), torch.device("cpu"))


def magnitude_and_sigma(channels: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    """From a reconstructor's three channels to two images; zero where k-space was.

    Args:
        channels: real and imaginary part of the mean and log-variance, (batch, 3, *grid), any device and float type.
        empty: bool, (batch, 1, 1, 1), on the CPU.

    Returns:
        Magnitude of the mean and standard deviation per real component, float32, (batch, 1, *grid), on the CPU.

    Raises:
        ValueError: if one is NaN or Inf.

    Example:
        >>> import torch
        >>> mean, sigma = magnitude_and_sigma(torch.tensor([3.0, 4.0, 0.0]).reshape(1, 3, 1, 1), torch.zeros(1, 1, 1, 1) > 0)
        >>> float(mean), float(sigma)
        (5.0, 1.0)
    """
    out = channels.float().cpu()
    mean, sigma = channels_to_complex(out).abs(), torch.exp(0.5 * out[:, 2:3])
    if not bool(torch.isfinite(mean).all() and torch.isfinite(sigma).all()):
        raise ValueError("the network returned NaN or Inf.")
    return mean.masked_fill(empty, 0), sigma.masked_fill(empty, 0)
