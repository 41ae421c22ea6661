"""The parameters of a system for its optimiser."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["System", "parameter_groups"]


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
