"""Reconstruction: policy, measurement and a Gaussian reconstructor, trained jointly for every ratio."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from infomri_monai.acquisition.measurement import apply_mask
from infomri_monai.arrays import takes
from infomri_monai.networks.gaussian import channels_to_complex, complex_to_channels, magnitude_log_variance
from infomri_monai.systems.system import System

__all__ = ["ReconstructionResult", "ReconstructionSystem"]


class ReconstructionResult(NamedTuple):
    """What :class:`ReconstructionSystem` returns; every field has the batch as its first axis.

    Attributes:
        mean: posterior mean, (batch, 1, *spatial); real for a real-valued network, else complex.
        log_variance: log-variance per real component, (batch, 1, *spatial), in squared image units.
        zero_filled: complex zero-filled image, (batch, 1, *spatial).
        kspace: measured k-space, complex, zero where not measured, (batch, coil, *spatial).
        mask: 0/1 mask, (batch, 1, *spatial).
        probabilities: the policy's probabilities, of the mask's shape.
        ratio: realised sampling ratio, (batch,).
        magnitude_log_variance: log-variance of the mean's magnitude, of the same shape and units.
    """

    mean: Tensor
    log_variance: Tensor
    zero_filled: Tensor
    kspace: Tensor
    mask: Tensor
    probabilities: Tensor
    ratio: Tensor
    magnitude_log_variance: Tensor


class ReconstructionSystem(System):
    """One model for every sampling ratio (equations 11 and 22 with the reconstruction task alone; Algorithms 1-3).

    Args:
        policy: any sampling policy; a learned one is trained through its straight-through gradient.
        measurement: the acquisition.
        network: ``network(zero_filled_channels, mask)`` gives the mean's two parts, the log-variance per real component and that
            of the magnitude as four channels (three: see :func:`~infomri_monai.networks.magnitude_log_variance`).

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import UnrolledReconstructor
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> system = ReconstructionSystem(
        ...     PatternGenerationNetwork((16, 16)), FourierMeasurement(), UnrolledReconstructor(phases=1, channels=4)
        ... )
        >>> result = system(torch.rand(2, 1, 16, 16), [0.25, 0.5])
        >>> result.mean.shape, result.mask.shape
        (torch.Size([2, 1, 16, 16]), torch.Size([2, 1, 16, 16]))
    """

    @takes(image="number")
    def forward(
        self, image: Tensor, ratio: float | list[float] | Tensor, generator: torch.Generator | None = None
    ) -> ReconstructionResult:
        """Simulate an acquisition of ``image`` and reconstruct it.

        Args:
            image: real or complex, shape (batch, 1, *spatial).
            ratio: one sampling ratio for all, or one per image.
            generator: source of the mask's and the noise's randomness.

        Raises:
            ValueError: if ``ratio`` has neither one entry nor one per image, or as :class:`SamplingPolicy` says.
        """
        kspace, sample = self.acquire(image, ratio, generator)
        return self._reconstruct(kspace, sample.mask)._replace(probabilities=sample.probabilities)

    @takes(kspace="complex", mask="mask")
    def reconstruct(self, kspace: Tensor, mask: Tensor) -> ReconstructionResult:
        """Reconstruct measured k-space (batch, coil, *spatial) whose positions ``mask`` says (prospective use)."""
        return self._reconstruct(apply_mask(kspace, mask), mask)

    def _reconstruct(self, kspace: Tensor, mask: Tensor) -> ReconstructionResult:
        zero_filled = self.measurement.adjoint(kspace)  # k-space is masked already
        out = self.network(complex_to_channels(zero_filled), mask)
        mean = out[:, :1] if getattr(self.network, "real_valued", False) else channels_to_complex(out)
        ratio = mask.detach().flatten(1).mean(1)
        of_magnitude = magnitude_log_variance(out)
        return ReconstructionResult(mean, out[:, 2:3], zero_filled, kspace, mask, mask.detach(), ratio, of_magnitude)
