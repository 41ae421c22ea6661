"""Mixed precision on any device, as an inferer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

__all__ = ["AutocastInferer"]


class AutocastInferer(SimpleInferer):
    """MONAI's ``SimpleInferer`` under bfloat16 autocast of the input's device.

    MONAI's ``amp`` switch is written for CUDA; this one works on a CPU too, where bfloat16 convolutions were 1.6 times faster on
    the machine of our studies. bfloat16 has the range of float32 and needs no gradient scaling. Fourier transforms, data
    consistency and the loss stay in float32.

    Args:
        enabled: the switch of mixed precision.

    Raises:
        ValueError: if ``enabled`` is not a bool.

    Example:
        >>> import torch
        >>> AutocastInferer(True)(torch.ones(1, 2), torch.nn.Linear(2, 2)).dtype
        torch.bfloat16
    """

    def __init__(self, enabled: bool = False) -> None:
        super().__init__()
        if not isinstance(enabled, bool):
            raise ValueError(
                f"enabled must be True or False (on a command line with a capital letter), got {enabled!r}."
            )
        self.enabled = enabled

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return ``network(inputs, *args, **kwargs)``."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.enabled):
            return super().__call__(inputs, network, *args, **kwargs)
