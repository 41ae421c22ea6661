"""A policy that whoever uses it cannot change."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["FrozenPolicy"]


class FrozenPolicy(SamplingPolicy):
    """Draws the masks of a copy of a trained policy that has no parameters for the outside: nothing can train it.

    The copy is in evaluation mode, draws without gradients, and is no submodule: ``train()``, an optimiser, a checkpoint and
    ``requires_grad_`` of the system around it do not reach it.

    Args:
        policy: the trained policy; it is copied and left as it is.
        device: device of the copy.

    Example:
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> frozen = FrozenPolicy(PatternGenerationNetwork((8, 8)))
        >>> list(frozen.parameters()), frozen(0.25, (8, 8)).ratio
        ([], tensor([0.2500]))
    """

    def __init__(self, policy: SamplingPolicy, device: str | torch.device = "cpu") -> None:
        super().__init__(policy.readout_axis)
        self.grid, self.ratio_range = policy.grid, policy.ratio_range
        # in a tuple, where nn.Module does not look for submodules
        self._kept = (copy.deepcopy(policy).to(device).eval().requires_grad_(False),)
        self._device = torch.device(device)

    @property
    def policy(self) -> SamplingPolicy:
        """The copy that draws."""
        return self._kept[0]

    @torch.no_grad()
    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        return self.policy.draw(ratio, positions, generator, acquired)

    def config(self) -> dict[str, Any]:
        """The policy that is frozen, and its device.

        The policy is no plain type as other policies' arguments are: a frozen one lives while it is attacked and is not saved
        (``save_policy`` refuses it); what is saved is :attr:`policy`.
        """
        return {"policy": self.policy, "device": str(self._device)}

    def regrid(self, shape: tuple[int, ...]) -> SamplingPolicy:
        """The frozen policy on another grid, on its device."""
        return FrozenPolicy(self.policy.regrid(shape), self._device)
