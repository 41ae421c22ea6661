"""The inferer of a classification's evaluation: class probabilities averaged over masks, instead of a training pass."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from infomri_monai.systems import ClassificationPosterior

__all__ = ["EnsembleInferer"]


class EnsembleInferer(Inferer):
    """Call ``system.infer`` with a number of masks.

    Args:
        masks: masks (and acquisitions) of every image, at least 1.
        amp: bfloat16 autocast.

    Raises:
        ValueError: if ``masks`` < 1 or ``amp`` is not a bool.

    Example:
        >>> import torch
        >>> from monai.networks.nets import resnet10
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import ImageClassifier
        >>> from infomri_monai.sampling import UniformRandom
        >>> from infomri_monai.systems import ClassificationSystem
        >>> network = ImageClassifier(resnet10(spatial_dims=2, n_input_channels=2, num_classes=2))
        >>> system = ClassificationSystem(UniformRandom(), FourierMeasurement(), network).eval()
        >>> EnsembleInferer(masks=4)(torch.rand(1, 1, 16, 16), system, 0.25).member_probabilities.shape
        torch.Size([1, 4, 2])
    """

    def __init__(self, masks: int = 1, amp: bool = False) -> None:
        super().__init__()
        if masks < 1:
            raise ValueError(f"masks must be >= 1, got {masks}.")
        if not isinstance(amp, bool):
            raise ValueError(f"amp must be True or False (on a command line with a capital letter), got {amp!r}.")
        self.masks, self.amp = masks, amp

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> ClassificationPosterior:
        """Return ``network.infer(inputs, ratio, masks, generator)`` of a :class:`~infomri_monai.systems.ClassificationSystem`."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.amp):
            result: ClassificationPosterior = network.infer(inputs, *args, masks=self.masks, **kwargs)
        return result
