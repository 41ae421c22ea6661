"""LOUPE: one free logit per position, learned for one sampling ratio."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from infomri_monai.sampling.draw import rescale_probabilities
from infomri_monai.sampling.learned import LearnedPolicy

__all__ = ["LOUPE"]


class LOUPE(LearnedPolicy):
    """Independent probabilities sigmoid(slope * w), one w per position (or line), rescaled to the ratio (equation 17).

    The paper's comparator in its hard form: the mask is a Bernoulli draw with the straight-through gradient of decision 8, as
    in the PyTorch port, not the relaxed mask of the original. It is meant to be trained for one ratio; another one is met by the
    rescaling.

    Args:
        grid: spatial grid, e.g. ``(128, 128)``.
        readout_axis: None for single positions; else the read-out axis, and whole Cartesian lines are drawn.
        logit_slope: steepness of the sigmoid.
        tolerance: largest accepted difference of realised and wanted ratio (13).
        proposals: parallel proposals of the bounded rejection.
        gradient_slope: steepness of the straight-through gradient.
        seed: seed of the start, logits of U(0.01, 0.99).
        ratio_range: lowest and highest ratio of the training, kept with the policy.

    Raises:
        ValueError: if the grid is empty, ``logit_slope`` is not positive or ``ratio_range`` is not 0 < low <= high <= 1.

    References:
        Bahadir, Wang, Dalca and Sabuncu, "Deep-learning-based optimization of the under-sampling pattern in MRI", IEEE TCI 2020.
        Yin et al., "End-to-end sequential sampling and reconstruction for MRI", 2021 (the straight-through form).

    Example:
        >>> import torch
        >>> sample = LOUPE((32, 32))(0.25, (32, 32), torch.Generator().manual_seed(0))
        >>> sample.mask.shape, round(float(sample.ratio), 2)
        (torch.Size([1, 1, 32, 32]), 0.25)
    """

    def __init__(
        self,
        grid: Sequence[int],
        readout_axis: int | None = None,
        logit_slope: float = 5.0,
        tolerance: float = 1e-3,
        proposals: int = 4,
        gradient_slope: float | None = 10.0,
        seed: int = 0,
        ratio_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__(grid, readout_axis, logit_slope, tolerance, proposals, gradient_slope, seed, ratio_range)
        self.weight = self.start(1, torch.Generator().manual_seed(seed))

    def position_parameters(self) -> list[nn.Parameter]:
        """The logits."""
        return [self.weight]

    def probabilities(self, ratio: Tensor) -> Tensor:
        """Probabilities with mean ``ratio``; see :meth:`LearnedPolicy.probabilities`."""
        with torch.autocast(self.weight.device.type, enabled=False):  # bfloat16 ties neighbouring logits
            p = torch.sigmoid(self.logit_slope * self.weight).expand(ratio.numel(), *[-1] * (self.weight.ndim - 1))
            return rescale_probabilities(p, ratio)
