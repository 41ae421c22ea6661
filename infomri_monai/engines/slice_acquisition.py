"""Where the k-space of a case's slices comes from: simulated from images, or measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines.prepare import seeded_generator
from infomri_monai.sampling import SamplingPolicy

__all__ = ["AcquisitionRecord", "MeasuredSlices", "SimulatedSlices", "SliceAcquisition", "centre_fit"]


class AcquisitionRecord(NamedTuple):
    """How the k-space of a case came about; goes to the sidecar of its files.

    Attributes:
        simulated: whether k-space was simulated from an image.
        ratio_requested: requested sampling ratio; None for measured k-space, as are the next six.
        ratio_extrapolated: whether the request lies outside the ratios that the policy was trained for; None if that is not known.
        seed: seed of masks and noise.
        noise: class of the noise model.
        noise_std: its standard deviation per real component; None if it has none.
        noise_relative_to_dc: whether that is in units of the DC magnitude of each slice, or of k-space.
        policy: class of the sampling policy.
        grid: grid of the reconstruction.
        grid_mode: "adapt", "crop_pad", or "native" for measured k-space.
        offset: index in the source of the grid's first pixel; negative where the source was padded.
    """

    simulated: bool
    ratio_requested: float | None
    ratio_extrapolated: bool | None
    seed: int | None
    noise: str | None
    noise_std: float | None
    noise_relative_to_dc: bool | None
    policy: str | None
    grid: tuple[int, ...]
    grid_mode: str
    offset: tuple[int, ...]


class SliceAcquisition(Protocol):
    """What both kinds of slices offer: their number, their record, and one slice's k-space with its mask."""

    record: AcquisitionRecord

    def __len__(self) -> int: ...

    def acquire(self, index: int, draw: int = 0) -> tuple[Tensor, Tensor]:
        """k-space, complex, and its mask, 0/1, both (1, 1, *grid), of slice ``index``; of a simulation the ``draw``-th one."""


class MeasuredSlices:
    """Raw undersampled k-space, as it was measured.

    Args:
        kspace: complex, shape (slice, 1, height, width), zero where nothing was measured.
        mask: 0/1, broadcasts to ``kspace``; None reads the mask off the zeros.

    Example:
        >>> import torch
        >>> slices = MeasuredSlices(torch.eye(4, dtype=torch.complex64)[None, None])
        >>> float(slices.acquire(0)[1].mean())
        0.25
    """

    def __init__(self, kspace: Tensor, mask: Tensor | None = None) -> None:
        self.kspace = kspace
        self.mask = mask
        grid = tuple(kspace.shape[2:])
        self.record = AcquisitionRecord(False, *(None,) * 7, grid, "native", (0,) * len(grid))

    def __len__(self) -> int:
        return self.kspace.shape[0]

    def masks(self) -> Tensor:
        """Where k-space was measured, bool, in its shape."""
        return self.kspace != 0 if self.mask is None else self.mask.expand_as(self.kspace) != 0

    def acquire(self, index: int, draw: int = 0) -> tuple[Tensor, Tensor]:
        """k-space, zero outside the mask, and the mask; there is no other draw."""
        kspace = self.kspace[index : index + 1]
        if self.mask is None:
            return kspace, (kspace != 0).float()
        mask = self.mask.expand_as(self.kspace)[index : index + 1].float()
        return kspace * mask, mask


class SimulatedSlices:
    """Slices of an image, acquired with a sampling policy.

    A draw depends on nothing but the seed, the slice's index and the number of the draw. It is made on the policy's device (the
    mask) and on the CPU (the noise), so that another device of the network gives the same acquisition.

    Args:
        images: real or complex, shape (slice, 1, height, width).
        policy: policy for the grid.
        measurement: the acquisition.
        ratio: requested sampling ratio.
        seed: non-negative integer.
        grid: in-plane size to crop or pad the images to about their centre.
        grid_mode: name of the rule that gave the grid, for the record.
    """

    def __init__(
        self,
        images: Tensor,
        policy: SamplingPolicy,
        measurement: FourierMeasurement,
        ratio: float,
        seed: int,
        grid: Sequence[int],
        grid_mode: str,
    ) -> None:
        self.images, self.policy, self.measurement = images, policy, measurement
        noise = measurement.noise
        offset = tuple(n // 2 - m // 2 for n, m in zip(images.shape[2:], grid, strict=True))
        self.record = AcquisitionRecord(
            simulated=True,
            ratio_requested=ratio,
            ratio_extrapolated=policy.extrapolates(ratio),
            seed=seed,
            noise=None if noise is None else type(noise).__name__,
            noise_std=getattr(noise, "noise_std", None),
            noise_relative_to_dc=getattr(noise, "relative_to_dc", None),
            policy=type(policy).__name__,
            grid=tuple(grid),
            grid_mode=grid_mode,
            offset=offset,
        )

    def __len__(self) -> int:
        return self.images.shape[0]

    def acquire(self, index: int, draw: int = 0) -> tuple[Tensor, Tensor]:
        """Draw the slice's mask and noise, and measure; every draw has a mask and noise of its own."""
        record, repeated = self.record, (draw,) if draw else ()
        source = next((t.device for t in (*self.policy.parameters(), *self.policy.buffers())), torch.device("cpu"))
        generator = seeded_generator(source, record.seed or 0, index, 0, *repeated)
        mask = self.policy([record.ratio_requested], record.grid, generator).mask.detach().cpu()
        image = centre_fit(self.images[index : index + 1], record.grid)
        kspace = self.measurement(image, mask, seeded_generator("cpu", record.seed or 0, index, 1, *repeated))
        return kspace, mask.expand(1, 1, *record.grid)


def centre_fit(image: Tensor, size: Sequence[int]) -> Tensor:
    """Crop or pad the last axes to ``size`` so that position ``n // 2`` of each stays the centre; padding is zero.

    Fitting to a larger size and back gives the image again; to a smaller one and back, the image with a border of zeros.

    Args:
        image: shape (..., *spatial).
        size: new lengths of the last axes.

    Returns:
        The image itself where the size is the same already, else a new tensor (..., *size).

    Example:
        >>> import torch
        >>> centre_fit(torch.arange(1.0, 6), [3]), centre_fit(torch.ones(2), [5])
        (tensor([2., 3., 4.]), tensor([0., 1., 1., 0., 0.]))
    """
    if tuple(image.shape[image.ndim - len(size) :]) == tuple(size):
        return image
    padding: list[int] = []  # negative crops
    for n, m in zip(reversed(image.shape), reversed(size), strict=False):
        padding += [m // 2 - n // 2, (m - m // 2) - (n - n // 2)]
    return functional.pad(image, padding)
