"""The inferer of an evaluation: the system's inference instead of its training pass."""

from __future__ import annotations

from typing import Any

from monai.inferers import Inferer
from torch import Tensor

from infomri_monai.engines.case_inferer import check_at_least
from infomri_monai.engines.hardware import MixedPrecision

__all__ = ["SystemInferer"]


class SystemInferer(Inferer):
    """Call ``system.infer`` with a number of samples (segmentation) or of masks (classification).

    Args:
        amp: bfloat16 autocast, a bool or the training's :class:`~infomri_monai.engines.MixedPrecision`.
        counts: ``samples`` of every image of a :class:`~infomri_monai.systems.SegmentationSystem` (the paper's evaluation draws
            32), or ``masks``, and so acquisitions, of every image of a :class:`~infomri_monai.systems.ClassificationSystem`; none
            leaves it to the system.

    Raises:
        ValueError: if a count is no whole number or < 1, or ``amp`` is neither.

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import LatentSegmenter
        >>> from infomri_monai.sampling import UniformRandom
        >>> from infomri_monai.systems import SegmentationSystem
        >>> system = SegmentationSystem(UniformRandom(), FourierMeasurement(), LatentSegmenter(channels=(8, 8)))
        >>> SystemInferer(samples=4)(torch.rand(1, 1, 16, 16), system, 0.25).samples.shape
        torch.Size([1, 4, 1, 16, 16])
    """

    def __init__(self, amp: bool | MixedPrecision = False, **counts: int) -> None:
        super().__init__()
        check_at_least(1, **counts)
        self.counts = counts
        self.precision = MixedPrecision.of(amp, "amp")

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Return ``network.infer(inputs, ratio, generator=generator)`` with the counts."""
        with self.precision.autocast(inputs.device):
            return network.infer(inputs, *args, **self.counts, **kwargs)
