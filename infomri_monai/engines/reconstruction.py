"""The reconstruction of a whole case, with an uncertainty for every pixel: its inferer, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from infomri_monai.engines.case import AcquiredCase, AcquisitionRecord, SliceBatch, magnitude_and_sigma
from infomri_monai.engines.case_inferer import CaseInferer
from infomri_monai.engines.prepare import device_of
from infomri_monai.networks import complex_to_channels

__all__ = ["VolumeInferer", "VolumeReconstruction"]


class VolumeReconstruction(NamedTuple):
    """What :class:`VolumeInferer` returns for one case, on the CPU; ``shape`` is (height, width[, slice]) of the source.

    Attributes:
        mean: magnitude of the posterior mean, float32, ``shape``, in the source's intensity units.
        sigma: standard deviation of that magnitude, float32, ``shape``, same units; calibrated so that ``mean`` +- 1.645 ``sigma``
            holds 90 % of the object's pixels.
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


class VolumeInferer(CaseInferer[VolumeReconstruction]):
    """Reconstruct a case, slice by slice.

    Only a batch of slices is ever on the network's device. A slice whose k-space is zero gives a mean and a sigma of zero, and
    so do pixels that "crop_pad" cropped. The network is ``network(zero_filled_channels, mask)``, which gives the mean's two parts
    and the log-variances of component and magnitude as four channels. The arguments are those of
    :class:`~infomri_monai.engines.case_inferer.CaseInferer`.

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import UnrolledReconstructor
        >>> from infomri_monai.sampling import VariableDensity
        >>> inferer = VolumeInferer(VariableDensity(), FourierMeasurement(), ratio=0.25, progress=False)
        >>> result = inferer(torch.rand(1, 1, 32, 24, 3), UnrolledReconstructor(phases=1, channels=4))
        >>> result.mean.shape, result.mask.shape, result.ratio
        (torch.Size([32, 24, 3]), torch.Size([32, 24, 3]), tensor([0.2500, 0.2500, 0.2500]))
    """

    def infer(self, case: AcquiredCase, network: Callable[..., Tensor]) -> VolumeReconstruction:
        """Reconstruct every slice."""
        parts = [(*self._forward(network, batch), batch.mask.to(torch.uint8)) for batch in case]
        *images, masks = (torch.cat(part)[:, 0] for part in zip(*parts, strict=True))
        mean, sigma, zero_filled = (case.whole(image) for image in images)
        mask, ratio = case.whole(masks, fit=False), masks.flatten(1).float().mean(1)
        return VolumeReconstruction(mean, sigma, zero_filled, mask, ratio, case.record)

    def _forward(self, network: Callable[..., Tensor], batch: SliceBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Magnitude of the mean, sigma and magnitude of the zero-filled image, each (batch, 1, *grid), on the CPU."""
        device = device_of(network)
        with self.autocast(device):
            out = network(complex_to_channels(batch.zero_filled).to(device), batch.mask.to(device))
        return *magnitude_and_sigma(out, batch.empty), batch.zero_filled.abs()
