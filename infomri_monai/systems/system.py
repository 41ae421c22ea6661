"""The parameters of a system for its optimiser.

Also here: The first step of every system: draw the masks, measure.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.sampling.policy import MaskSample, SamplingPolicy

__all__ = ["System", "acquire", "parameter_groups"]


def acquire(
    policy: SamplingPolicy,
    measurement: FourierMeasurement,
    image: Tensor,
    ratio: float | list[float] | Tensor,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, MaskSample]:
    """Simulate an acquisition (Algorithm 1 and equation 2).

    Args:
        policy: chooses the masks.
        measurement: the acquisition.
        image: real or complex, shape (batch, 1, *spatial).
        ratio: one sampling ratio for all, or one per image.
        generator: source of the mask's and the noise's randomness.

    Returns:
        k-space, zero where not measured, (batch, coil, *spatial), and the masks with their probabilities.

    Raises:
        ValueError: if ``ratio`` has neither one entry nor one per image, or as :class:`SamplingPolicy` says.

    Example:
        >>> import torch
        >>> from infomri_monai.sampling import UniformRandom
        >>> kspace, sample = acquire(UniformRandom(), FourierMeasurement(), torch.ones(2, 1, 8, 8), 0.25)
        >>> kspace.shape, float(sample.mask.mean())
        (torch.Size([2, 1, 8, 8]), 0.25)
    """
    ratios = torch.as_tensor(ratio, dtype=torch.float32, device=image.device).reshape(-1)
    if ratios.numel() not in (1, image.shape[0]):
        raise ValueError(f"ratio must have 1 or {image.shape[0]} entries (one per image), got {ratios.numel()}.")
    sample = policy(ratios.expand(image.shape[0]), image.shape[2:], generator)
    return measurement(image, sample.mask, generator), sample


class System(Protocol):
    """What every system has: a policy that chooses what to measure, and a network that infers."""

    policy: SamplingPolicy
    network: nn.Module


def parameter_groups(
    system: System,
    learning_rate: float,
    policy_learning_rate: float,
    embedding_learning_rate: float | None = None,
) -> list[dict[str, object]]:
    """The optimiser's parameter groups: the network, and a learned policy's position embedding and MLP.

    One entry of the embedding belongs to one position, and has to travel the distance between a measured and an unmeasured
    position (several units) within a training; a weight of the MLP moves all positions at once. One rate does not suit both.

    Args:
        system: the system to train.
        learning_rate: learning rate of the network.
        policy_learning_rate: learning rate of the policy's parameters but those.
        embedding_learning_rate: learning rate of the policy's ``position_parameters()``; None for the policy's.

    Example:
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import UnrolledReconstructor
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> from infomri_monai.systems import ReconstructionSystem
        >>> system = ReconstructionSystem(
        ...     PatternGenerationNetwork((8, 8)), FourierMeasurement(), UnrolledReconstructor(phases=1, channels=4)
        ... )
        >>> [group["lr"] for group in parameter_groups(system, 1e-3, 1e-2, 1e-1)]
        [0.001, 0.1, 0.01]
    """
    groups: list[dict[str, object]] = [{"params": list(system.network.parameters()), "lr": learning_rate}]
    of_positions = system.policy.position_parameters()
    if of_positions:
        rate = policy_learning_rate if embedding_learning_rate is None else embedding_learning_rate
        groups.append({"params": of_positions, "lr": rate})
    others = [p for p in system.policy.parameters() if not any(p is q for q in of_positions)]
    return [*groups, {"params": others, "lr": policy_learning_rate}] if others else groups
