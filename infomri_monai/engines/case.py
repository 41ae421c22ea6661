"""One case: how it is handed to the engine, how its slices' k-space comes about, and how they are put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from ignite import distributed as idist
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from monai.utils import optional_import
from torch import Tensor
from torch.nn import functional

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.acquisition.measurement import apply_mask
from infomri_monai.engines.prepare import device_of, seeded_generator
from infomri_monai.networks import channels_to_complex, magnitude_log_variance
from infomri_monai.sampling import SamplingPolicy

tqdm, _ = optional_import("tqdm", name="tqdm")

__all__ = [
    "AcquiredCase",
    "AcquisitionRecord",
    "CaseFailure",
    "MeasuredSlices",
    "PrepareCase",
    "SimulatedSlices",
    "SliceAcquisition",
    "SliceBatch",
    "TolerantInferer",
    "centre_fit",
    "magnitude_and_sigma",
]


class CaseFailure(NamedTuple):
    """Takes the place of the prediction of a case that failed.

    Attributes:
        reason: the error's type and message, without the file's name.
    """

    reason: str


class PrepareCase(PrepareBatch):
    """From a batch of one case of :class:`~infomri_monai.data.CaseDataset` to the arguments of the inferer.

    The case stays on the CPU; the inferer moves a few slices at a time.

    Raises:
        ValueError: when called, if the batch holds more than one case (cases differ in size).

    Example:
        >>> import torch
        >>> batch = {"kspace": torch.ones(1, 1, 8, 8, dtype=torch.complex64), "failure": [""]}
        >>> PrepareCase()(batch)[3]
        {'domain': 'kspace', 'mask': None, 'failure': ''}
    """

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, None, tuple[()], dict[str, Any]]:
        """Return (inputs, None, (), keyword arguments of the inferer)."""
        domain = "kspace" if "kspace" in batchdata else "image"
        inputs = batchdata[domain]
        if inputs.shape[0] != 1:
            raise ValueError(f"the data loader's batch_size must be 1, one case, got {inputs.shape[0]}.")
        failure = batchdata.get("failure", [""])[0]
        told = {"domain": domain, "mask": batchdata.get("mask"), "failure": failure}
        if "centre_checked" in batchdata:  # by the reader, which has seen the single coils
            told["centre_checked"] = bool(batchdata["centre_checked"][0])
        return inputs, None, (), told


class TolerantInferer(Inferer):
    """Run another inferer and turn its errors into a :class:`CaseFailure`.

    Args:
        inferer: the inferer that does the work. Its ValueError and RuntimeError (PyTorch's, out of memory among them) are the
            case's; anything else is a defect of the program and passes.

    Example:
        >>> from monai.inferers import SimpleInferer
        >>> import torch
        >>> TolerantInferer(SimpleInferer())(torch.ones(1, 3), torch.nn.Linear(3, 1), failure="ValueError: NaN")
        CaseFailure(reason='ValueError: NaN')
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Any, *args: Any, failure: str = "", **kwargs: Any) -> Any:
        """Return the inferer's result, or the failure of reading (``failure``) or of the inferer."""
        if failure:
            return CaseFailure(failure)
        try:
            return self.inferer(inputs, network, *args, **kwargs)
        except (ValueError, RuntimeError) as error:
            return CaseFailure(f"{type(error).__name__}: {error}")


class AcquisitionRecord(NamedTuple):
    """How the k-space of a case came about; goes to the sidecar of its files.

    Attributes:
        simulated: whether k-space was simulated from an image.
        ratio_requested: requested sampling ratio; None for measured k-space, as are the next six.
        ratio_extrapolated: whether the request lies outside the ratios that the policy was trained for; None if that is not known.
        seed: seed of masks and noise.
        noise: class of the noise model.
        noise_std: its standard deviation per real component; None if it has none.
        noise_reference: what that is relative to in each slice: "peak" (largest magnitude), "dc", or "absolute".
        policy: class of the sampling policy.
        grid: grid of the reconstruction.
        grid_mode: "adapt", "crop_pad", or "native" for measured k-space.
        offset: index in the source of the grid's first pixel; negative where the source was padded.
        grid_extrapolated: whether an axis is more than twice, or less than half, as long as the policy was trained for, so that
            mean and sigma are extrapolated; None if that is not known.
    """

    simulated: bool
    ratio_requested: float | None
    ratio_extrapolated: bool | None
    seed: int | None
    noise: str | None
    noise_std: float | None
    noise_reference: str | None
    policy: str | None
    grid: tuple[int, ...]
    grid_mode: str
    offset: tuple[int, ...]
    grid_extrapolated: bool | None = None


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
            return kspace + 0, (kspace != 0).float()  # a file may hold -0
        mask = self.mask.expand_as(self.kspace)[index : index + 1].float()
        return apply_mask(kspace, mask), mask


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
            noise_reference=getattr(noise, "reference", None),
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
        generator = seeded_generator(device_of(self.policy), record.seed or 0, index, 0, *repeated)
        mask = self.policy([record.ratio_requested], record.grid, generator).mask.detach().cpu()
        image = centre_fit(self.images[index : index + 1], record.grid)
        if not image.any():  # nothing that noise is a share of, nothing to warn of
            return self.measurement.fully_sampled(image), mask.expand(1, 1, *record.grid)
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


@dataclass
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

    slices: SliceAcquisition
    measurement: FourierMeasurement
    size: tuple[int, ...]
    is_volume: bool
    batch_size: int
    progress: bool

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
        # None: hidden where there is no terminal, so that no bar goes into a log
        with tqdm(total=len(self), desc="slices", unit="slice", leave=False, disable=hidden or None) as bar:
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


def magnitude_and_sigma(channels: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    """From a reconstructor's channels to a magnitude and its standard deviation; zero where k-space was.

    Args:
        channels: real and imaginary part of the mean, log-variance per real component and of the magnitude, (batch, 4, *grid), any
            device and float type; of three channels see :func:`~infomri_monai.networks.magnitude_log_variance`.
        empty: bool, (batch, 1, 1, 1), on the CPU.

    Returns:
        Magnitude of the mean and standard deviation of the magnitude, float32, (batch, 1, *grid), on the CPU.

    Raises:
        ValueError: if one is NaN or Inf.

    Example:
        >>> import torch
        >>> out, empty = torch.tensor([3.0, 4.0, 9.0, 0.0]).reshape(1, 4, 1, 1), torch.zeros(1, 1, 1, 1) > 0
        >>> mean, sigma = magnitude_and_sigma(out, empty)
        >>> float(mean), float(sigma)
        (5.0, 1.0)
    """
    out = channels.float().cpu()
    mean, sigma = channels_to_complex(out).abs(), torch.exp(0.5 * magnitude_log_variance(out))
    if not bool(torch.isfinite(mean).all() and torch.isfinite(sigma).all()):
        raise ValueError("the network returned NaN or Inf.")
    return mean.masked_fill(empty, 0), sigma.masked_fill(empty, 0)
