"""The inferer of an evaluation: segmentations drawn from the posterior, instead of a training pass."""

from __future__ import annotations

from typing import Any

from monai.inferers import Inferer
from torch import Tensor

from infomri_monai.engines.hardware import MixedPrecision
from infomri_monai.systems import SegmentationPosterior

__all__ = ["PosteriorInferer"]


class PosteriorInferer(Inferer):
    """Call ``system.infer`` with a number of samples.

    Args:
        samples: segmentations of every image, at least 1 (the paper's evaluation draws 32).
        amp: bfloat16 autocast, a bool or the training's :class:`~infomri_monai.engines.MixedPrecision`.

    Raises:
        ValueError: if ``samples`` < 1 or ``amp`` is neither.

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import LatentSegmenter
        >>> from infomri_monai.sampling import UniformRandom
        >>> from infomri_monai.systems import SegmentationSystem
        >>> system = SegmentationSystem(UniformRandom(), FourierMeasurement(), LatentSegmenter(channels=(8, 8)))
        >>> PosteriorInferer(samples=4)(torch.rand(1, 1, 16, 16), system, 0.25).samples.shape
        torch.Size([1, 4, 1, 16, 16])
    """

    def __init__(self, samples: int = 32, amp: bool | MixedPrecision = False) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be >= 1, got {samples}.")
        self.samples = samples
        self.precision = amp if isinstance(amp, MixedPrecision) else MixedPrecision(amp)

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> SegmentationPosterior:
        """Return ``network.infer(inputs, ratio, samples, generator)`` of a :class:`~infomri_monai.systems.SegmentationSystem`."""
        with self.precision.autocast(inputs.device):
            result: SegmentationPosterior = network.infer(inputs, *args, samples=self.samples, **kwargs)
        return result
