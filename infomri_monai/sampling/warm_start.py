"""A pattern generation network that starts from the training set's spectrum, as one call for a configuration file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from infomri_monai.sampling.pgn import PatternGenerationNetwork

__all__ = ["warm_started_pgn"]


def warm_started_pgn(
    magnitude: Tensor, grid: Sequence[int], asymmetry: float = 1.0, width: float = 0.2, **arguments: Any
) -> PatternGenerationNetwork:
    """Make a PGN and warm-start it.

    Args:
        magnitude: mean k-space magnitude of the training set, shape ``grid``.
        grid: spatial grid.
        asymmetry: see :meth:`PatternGenerationNetwork.warm_start`.
        width: see :meth:`PatternGenerationNetwork.warm_start`.
        **arguments: further arguments of :class:`PatternGenerationNetwork`.

    Example:
        >>> import torch
        >>> pgn = warm_started_pgn(torch.rand(8, 8), (8, 8), readout_axis=0)
        >>> pgn(0.25, (8, 8)).mask.shape
        torch.Size([1, 1, 1, 8])
    """
    return PatternGenerationNetwork(grid, **arguments).warm_start(magnitude, asymmetry, width)
