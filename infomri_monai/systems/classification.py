"""Classification: policy, measurement and a classifier, and the entropy of what is measured (the case beta <= 0)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from infomri_monai.acquisition.measurement import FourierMeasurement
from infomri_monai.arrays import takes
from infomri_monai.information.marginal_entropy import MarginalEntropy
from infomri_monai.networks.classifier import ImageClassifier, averaged_members
from infomri_monai.networks.gaussian import complex_to_channels
from infomri_monai.sampling.policy import MaskSample, SamplingPolicy
from infomri_monai.systems.system import System

__all__ = ["ClassificationPosterior", "ClassificationSystem", "ClassificationTraining"]


class ClassificationTraining(NamedTuple):
    """What a training pass returns, for the loss.

    Attributes:
        logits: of the classes or labels, (batch, C).
        kspace_entropy: marginal entropy of the measurement, nats, (batch,); NaN where the system has no statistics.
        mask: 0/1 mask, (batch, 1, *spatial).
        ratio: realised sampling ratio, (batch,).
    """

    logits: Tensor
    kspace_entropy: Tensor
    mask: Tensor
    ratio: Tensor


class ClassificationPosterior(NamedTuple):
    """The answer to a measurement.

    Attributes:
        probabilities: mean over the masks of the ensemble, (batch, C).
        entropy: of these probabilities, nats (independent labels: summed), (batch,).
        mutual_information: between the class and the mask: entropy minus the members' mean entropy, nats, (batch,); 0 for one
            mask.
        member_probabilities: of every mask, (batch, member, C).
        mask: the first 0/1 mask, (batch, 1, *spatial).
        ratio: its realised sampling ratio, (batch,).
        kspace_entropy: marginal entropy of its measurement, nats, (batch,); NaN where the system has no statistics.
    """

    probabilities: Tensor
    entropy: Tensor
    mutual_information: Tensor
    member_probabilities: Tensor
    mask: Tensor
    ratio: Tensor
    kspace_entropy: Tensor


class ClassificationSystem(System):
    """One model for every sampling ratio (equations 9, 12 and 26; Algorithms 4 and 5).

    With ``entropy`` and beta < 0 in the loss it is the privacy-preserving system, with beta = 0 compressed learning.

    Args:
        policy: any sampling policy; a learned one is trained through its straight-through gradient.
        measurement: the acquisition.
        network: a classifier.
        entropy: estimator of the entropy of what is measured; None where it is not wanted.

    Example:
        >>> import torch
        >>> from monai.networks.nets import resnet10
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> network = ImageClassifier(resnet10(spatial_dims=2, n_input_channels=2, num_classes=2))
        >>> system = ClassificationSystem(PatternGenerationNetwork((16, 16)), FourierMeasurement(), network).eval()
        >>> system.infer(torch.rand(2, 1, 16, 16), [0.25, 0.5], masks=3).member_probabilities.shape
        torch.Size([2, 3, 2])
    """

    network: ImageClassifier

    def __init__(
        self,
        policy: SamplingPolicy,
        measurement: FourierMeasurement,
        network: ImageClassifier,
        entropy: MarginalEntropy | None = None,
    ) -> None:
        super().__init__(policy, measurement, network)
        self.entropy = entropy

    @takes(image="number")
    def forward(
        self, image: Tensor, ratio: float | list[float] | Tensor, generator: torch.Generator | None = None
    ) -> ClassificationTraining:
        """Simulate an acquisition and classify it.

        Args:
            image: real or complex, shape (batch, 1, *spatial).
            ratio: one sampling ratio for all, or one per image.
            generator: source of the mask's and the noise's randomness.

        Raises:
            ValueError: if ``ratio`` has neither one entry nor one per image, or the image is complex and the network takes
                real-valued images.
        """
        logits, sample = self._classify(image, ratio, generator)
        return ClassificationTraining(logits, self._entropy(sample), sample.mask, sample.ratio)

    @torch.no_grad()
    @takes(image="number", masks="whole")
    def infer(
        self,
        image: Tensor,
        ratio: float | list[float] | Tensor,
        masks: int = 1,
        generator: torch.Generator | None = None,
    ) -> ClassificationPosterior:
        """Simulate acquisitions with ``masks`` masks and average what the classifier says (Algorithm 5).

        Args:
            image: real or complex, shape (batch, 1, *spatial).
            ratio: one sampling ratio for all, or one per image.
            masks: size of the ensemble; every member measures anew, with its own mask and noise.
            generator: source of all randomness.

        Raises:
            ValueError: as :meth:`forward`, or if ``masks`` < 1.
        """
        if masks < 1:
            raise ValueError(f"masks must be >= 1, got {masks}.")
        passes = [self._classify(image, ratio, generator) for _ in range(masks)]
        first = passes[0][1]
        members = torch.stack([self.network.probabilities(logits) for logits, _ in passes], 1)
        probabilities, entropy, shared = averaged_members(members, self.network, 1)
        return ClassificationPosterior(
            probabilities, entropy, shared, members, first.mask, first.ratio, self._entropy(first)
        )

    def _entropy(self, sample: MaskSample) -> Tensor:
        if self.entropy is None:
            return torch.full_like(sample.ratio, float("nan"))
        entropy: Tensor = self.entropy(sample.mask)
        return entropy

    def _classify(
        self, image: Tensor, ratio: float | list[float] | Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, MaskSample]:
        self.check_image(image)
        kspace, sample = self.acquire(image, ratio, generator)
        return self.network.logits(complex_to_channels(self.measurement.adjoint(kspace)), sample.mask), sample
