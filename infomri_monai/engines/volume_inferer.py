"""Inferer that reconstructs a whole case slice by slice, with an uncertainty for every pixel."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from ignite import distributed as idist
from monai.inferers import Inferer
from monai.utils import optional_import
from torch import Tensor

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines.slice_acquisition import (
    AcquisitionRecord,
    MeasuredSlices,
    SimulatedSlices,
    SliceAcquisition,
    centre_fit,
)
from infomri_monai.networks import channels_to_complex, complex_to_channels
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.sampling.policy import check_ratio
from infomri_monai.transforms.common import checked_mask, checked_tensor, plain

tqdm, _ = optional_import("tqdm", name="tqdm")

__all__ = ["VolumeInferer", "VolumeReconstruction"]

_LOGGER = logging.getLogger(__name__)


class VolumeReconstruction(NamedTuple):
    """What :class:`VolumeInferer` returns for one case, on the CPU; ``shape`` is (height, width[, slice]) of the source.

    Attributes:
        mean: magnitude of the posterior mean, float32, ``shape``, in the source's intensity units.
        sigma: standard deviation per real component, float32, ``shape``, same units. To first order that of the magnitude, and
            never below it (the magnitude is 1-Lipschitz, so that its variance is at most the component's).
        zero_filled: magnitude of the zero-filled image, float32, ``shape``.
        mask: measured positions of the reconstruction's k-space grid, DC at ``n // 2``, uint8, (*grid[, slice]).
        ratio: realised sampling ratio of every slice, float32, (slices,).
        record: how k-space came about.
    """

    mean: Tensor
    sigma: Tensor
    zero_filled: Tensor
    mask: Tensor
    ratio: Tensor
    record: AcquisitionRecord


class VolumeInferer(Inferer):
    """Acquire and reconstruct the slices of a case along its last axis, ``batch_size`` slices at a time.

    Only a batch of slices is ever on the network's device. A slice whose k-space is zero gives a mean and a sigma of zero.

    Args:
        policy: chooses the masks of simulated acquisitions; not used, and may be None, for measured k-space.
        measurement: the acquisition with its noise model, single coil.
        ratio: sampling ratio of simulated acquisitions, in (0, 1]; outside the policy's trained range a warning is logged.
        seed: masks and noise of a slice depend on the seed and the slice's index only, not on the batch size.
        batch_size: slices in one forward pass.
        grid_mode: what to do where an image's grid differs from the policy's. ``"adapt"`` carries the policy over by
            ``policy.for_grid``, whatever the size. ``"crop_pad"`` crops or pads the image about its centre to the policy's grid
            and fits the result back to the source's size: for images smaller than the grid or nearly as large, since what was
            cropped is not reconstructed, and mean and sigma are zero there (the record's ``offset`` and ``grid`` say where).
        amp: run the network under bfloat16 autocast.
        progress: show a bar, on rank 0.

    Raises:
        ValueError: if ``ratio`` is outside (0, 1], ``batch_size`` < 1, ``seed`` < 0, ``grid_mode`` is unknown, or "crop_pad"
            comes with a policy that has no grid of its own.

    Example:
        >>> import torch
        >>> from infomri_monai.networks import UnrolledReconstructor
        >>> from infomri_monai.sampling import VariableDensity
        >>> inferer = VolumeInferer(VariableDensity(), FourierMeasurement(), ratio=0.25, progress=False)
        >>> result = inferer(torch.rand(1, 1, 32, 24, 3), UnrolledReconstructor(phases=1, channels=4))
        >>> result.mean.shape, result.mask.shape, result.ratio
        (torch.Size([32, 24, 3]), torch.Size([32, 24, 3]), tensor([0.2500, 0.2500, 0.2500]))
    """

    def __init__(
        self,
        policy: SamplingPolicy | None,
        measurement: FourierMeasurement,
        ratio: float,
        seed: int = 0,
        batch_size: int = 8,
        grid_mode: str = "adapt",
        amp: bool = False,
        progress: bool = True,
    ) -> None:
        super().__init__()
        if check_ratio(ratio).numel() != 1:
            raise ValueError(f"ratio must be one sampling ratio, got {ratio!r}.")
        if batch_size < 1 or seed < 0:
            raise ValueError(f"batch_size must be >= 1 and seed >= 0, got {batch_size} and {seed}.")
        if grid_mode not in ("adapt", "crop_pad"):
            raise ValueError(f"grid_mode must be 'adapt' or 'crop_pad', got {grid_mode!r}.")
        if grid_mode == "crop_pad" and (policy is None or policy.grid is None):
            raise ValueError("grid_mode='crop_pad' needs a policy with a grid of its own; use 'adapt'.")
        self.policy, self.measurement = policy, measurement
        self.ratio, self.seed, self.batch_size = float(ratio), int(seed), int(batch_size)
        self.grid_mode, self.amp, self.progress = grid_mode, amp, progress
        self._policies: dict[tuple[int, ...], SamplingPolicy] = {}

    @torch.no_grad()
    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        mask: Tensor | None = None,
        domain: str = "image",
        *args: Any,
        **kwargs: Any,
    ) -> VolumeReconstruction:
        """Reconstruct one case.

        Args:
            inputs: shape (1, 1, height, width[, slice]): an image, real or complex, or (``domain="kspace"``) raw k-space,
                complex, single coil, zero where nothing was measured, to which no noise is added.
            network: ``network(zero_filled_channels, mask)`` that gives mean and log-variance as three channels, in evaluation
                mode.
            mask: 0/1, broadcasts to raw k-space; None reads it off the zeros.
            domain: ``"image"`` or ``"kspace"``.
            args: not used.
            kwargs: not used.

        Raises:
            ValueError: if the shape differs, a value is NaN or Inf, k-space is real, an image is complex where the network is
                for real-valued images, no mask on this grid can meet the ratio, or the network returns NaN or Inf.
        """
        if domain not in ("image", "kspace"):
            raise ValueError(f"domain must be 'image' or 'kspace', got {domain!r}.")
        if inputs.ndim not in (4, 5) or tuple(inputs.shape[:2]) != (1, 1):
            raise ValueError(f"{domain} must have shape (1, 1, height, width[, slice]), got {tuple(inputs.shape)}.")
        data = plain(checked_tensor(inputs[0], domain, 2, kspace=domain == "kspace"))
        data = data.to("cpu", torch.complex64 if data.is_complex() else torch.float32)
        if domain == "image" and data.is_complex() and getattr(network, "real_valued", False):
            raise ValueError("image is complex, but the network is for real-valued images: give the magnitude.")
        if domain == "kspace":
            given = None if mask is None else _slices_first(checked_mask(_aligned(plain(mask)[0], data), data, 1))
            slices: SliceAcquisition = MeasuredSlices(_slices_first(data), given)
        else:
            slices = self._simulated(_slices_first(data))
        return self._reconstruct(slices, network, tuple(data.shape[1:3]), data.ndim == 4)

    def _simulated(self, images: Tensor) -> SimulatedSlices:
        if self.policy is None:
            raise ValueError("policy must not be None for a simulated acquisition (domain='image').")
        source = tuple(images.shape[2:])
        grid = tuple(self.policy.grid or source) if self.grid_mode == "crop_pad" else source
        if grid not in self._policies:
            self._policies[grid] = self.policy.for_grid(grid)
            if self._policies[grid] is not self.policy:
                _LOGGER.info("policy carried from its grid %s to the image's %s", self.policy.grid, grid)
            self.policy.warn_where_extrapolating(self.ratio)
        if grid != source:
            _LOGGER.info("image of %s fitted to the policy's grid %s by cropping or padding", source, grid)
        policy = self._policies[grid]
        return SimulatedSlices(images, policy, self.measurement, self.ratio, self.seed, grid, self.grid_mode)

    def _reconstruct(
        self, slices: SliceAcquisition, network: Callable[..., Tensor], size: tuple[int, ...], is_volume: bool
    ) -> VolumeReconstruction:
        parts = []
        with tqdm(
            total=len(slices), desc="slices", unit="slice", disable=not self.progress or idist.get_rank() > 0
        ) as bar:
            for first in range(0, len(slices), self.batch_size):
                chosen = range(first, min(first + self.batch_size, len(slices)))
                kspace, mask = (torch.cat(part) for part in zip(*map(slices.acquire, chosen), strict=True))
                parts.append((*self._forward(network, kspace, mask), mask.to(torch.uint8)))
                bar.update(len(chosen))
        mean, sigma, zero_filled, masks = (torch.cat(part)[:, 0] for part in zip(*parts, strict=True))
        images = [centre_fit(image, size) for image in (mean, sigma, zero_filled)]
        mean, sigma, zero_filled, mask = (v.movedim(0, -1) if is_volume else v[0] for v in (*images, masks))
        return VolumeReconstruction(mean, sigma, zero_filled, mask, masks.flatten(1).float().mean(1), slices.record)

    def _forward(self, network: Callable[..., Tensor], kspace: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Magnitude of the mean, sigma and magnitude of the zero-filled image, each (batch, 1, *grid), on the CPU."""
        empty = (kspace == 0).flatten(1).all(1).reshape(-1, 1, 1, 1)
        device = (
            next((t.device for t in network.parameters()), kspace.device) if hasattr(network, "parameters") else "cpu"
        )
        zero_filled = self.measurement.adjoint(kspace, mask)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.amp):
            out = network(complex_to_channels(zero_filled).to(device), mask.to(device)).float().cpu()
        mean, sigma = channels_to_complex(out).abs(), torch.exp(0.5 * out[:, 2:3])
        if not bool(torch.isfinite(mean).all() and torch.isfinite(sigma).all()):
            raise ValueError("the network returned NaN or Inf.")
        return mean.masked_fill(empty, 0), sigma.masked_fill(empty, 0), zero_filled.abs()


def _slices_first(data: Tensor) -> Tensor:
    """(1, height, width[, slice]) as (slice, 1, height, width)."""
    return data[None] if data.ndim == 3 else data.movedim(-1, 0)


def _aligned(mask: Tensor, kspace: Tensor) -> Tensor:
    """A mask without slice axis beside k-space with one serves all slices."""
    return mask.unsqueeze(-1) if mask.ndim == 3 and kspace.ndim == 4 else mask
