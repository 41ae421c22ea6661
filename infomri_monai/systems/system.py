"""What the three systems share: policy and measurement in one step, and their parameters in groups with a learning rate each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.arrays import takes
from infomri_monai.sampling.policy import MaskSample, SamplingPolicy, check_ratio

__all__ = ["System", "parameter_groups"]


class System(nn.Module):
    """A policy that chooses what to measure, the measurement, and a network that infers: one module.

    Args:
        policy: chooses the masks.
        measurement: the acquisition.
        network: infers from the zero-filled image.
    """

    policy: SamplingPolicy
    measurement: FourierMeasurement

    def __init__(self, policy: SamplingPolicy, measurement: FourierMeasurement, network: nn.Module) -> None:
        super().__init__()
        self.policy, self.measurement, self.network = policy, measurement, network

    @takes(image="number")
    def acquire(
        self, image: Tensor, ratio: float | list[float] | Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, MaskSample]:
        """Simulate an acquisition (Algorithm 1 and equation 2).

        Args:
            image: real or complex, shape (batch, 1, *spatial).
            ratio: one sampling ratio for all, or one per image.
            generator: source of the mask's and the noise's randomness.

        Returns:
            k-space, zero where not measured, (batch, coil, *spatial), and the masks with their probabilities.

        Raises:
            ValueError: if the image has other axes, ``ratio`` has neither one entry nor one per image, or as
                :class:`SamplingPolicy` says.

        Example:
            >>> import torch
            >>> from infomri_monai.sampling import UniformRandom
            >>> system = System(UniformRandom(), FourierMeasurement(), nn.Identity())
            >>> kspace, sample = system.acquire(torch.ones(2, 1, 8, 8), 0.25)
            >>> kspace.shape, float(sample.mask.mean())
            (torch.Size([2, 1, 8, 8]), 0.25)
        """
        image = self._in_precision(image)
        dims = self.measurement.spatial_dims
        if image.ndim != dims + 2 or image.shape[1] != 1:
            raise ValueError(
                f"image must have shape (batch, 1, *spatial) (slices are a batch), {dims} spatial axes, got {tuple(image.shape)}."
            )
        ratios = check_ratio(ratio).to(image.device)
        if ratios.numel() not in (1, image.shape[0]):
            raise ValueError(f"ratio must have 1 or {image.shape[0]} entries (one per image), got {ratios.numel()}.")
        sample = self.policy(ratios.expand(image.shape[0]), image.shape[2:], generator)
        return self.measurement(image, sample.mask, generator), sample

    def _in_precision(self, image: Tensor) -> Tensor:
        """The image in the precision of the network's weights, which is what it can compute with."""
        weight = next(self.network.parameters(), None)
        if weight is None or not weight.is_floating_point() or weight.dtype not in (torch.float32, torch.float64):
            return image
        return image.to(weight.dtype.to_complex() if image.is_complex() else weight.dtype)

    @takes(image="number")
    def check_image(self, image: Tensor) -> None:
        """Raise ValueError if the image is complex and the network was built for real ones."""
        if self.network.real_valued and image.is_complex():
            raise ValueError(
                "image is complex and the network was built with real_valued=True: give magnitudes, or train a network with "
                "real_valued=False."
            )


@takes(learning_rate="scalar", policy_learning_rate="scalar", embedding_learning_rate="scalar")
def parameter_groups(
    system: System, learning_rate: float, policy_learning_rate: float, embedding_learning_rate: float | None = None
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
