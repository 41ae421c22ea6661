"""The classifier on the zero-filled image: class probabilities and how sure they are."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

from infomri_monai.information.likelihood import bernoulli_entropy, categorical_entropy
from infomri_monai.networks.checkpoint import KeepsOptions
from infomri_monai.networks.gaussian import completed_by_symmetry
from infomri_monai.networks.task_model import encoder_input, structures_of

__all__ = ["ImageClassifier", "averaged_members"]


class ImageClassifier(KeepsOptions):
    """A diagnosis from the zero-filled image: categorical (equation 26) or independent Bernoulli labels.

    Args:
        backbone: a classification network of MONAI (ResNet, DenseNet, EfficientNet, ...) from the channels below to ``num_classes``
            logits; for the paper's, ``resnet18(spatial_dims=2, n_input_channels=2, num_classes=...)``.
        num_classes: exclusive classes, at least 2; or labels if ``multi_label``, at least 1.
        multi_label: independent binary labels.
        real_valued: images are real: k-space is completed by conjugate symmetry before it is shown to the backbone.
        magnitude_input: also show the magnitude of the zero-filled image, as a third channel.

    Raises:
        ValueError: if there are too few classes; when called, if the backbone returns another number of logits.

    Example:
        >>> import torch
        >>> from monai.networks.nets import resnet10
        >>> backbone = resnet10(spatial_dims=2, n_input_channels=2, num_classes=3)
        >>> ImageClassifier(backbone, num_classes=3).eval()(torch.rand(1, 2, 32, 32)).shape  # three classes and the entropy
        torch.Size([1, 4])
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int = 2,
        multi_label: bool = False,
        real_valued: bool = False,
        magnitude_input: bool = False,
    ) -> None:
        super().__init__()
        structures_of(num_classes, multi_label)  # refuses too few classes
        self.backbone = backbone
        self.num_classes, self.multi_label = int(num_classes), bool(multi_label)
        self.real_valued, self.magnitude_input = bool(real_valued), bool(magnitude_input)
        self.keep_option("multi_label", multi_label)
        self.keep_option("real_valued", real_valued)

    def forward(self, zero_filled: Tensor) -> Tensor:
        """Class probabilities and their entropy.

        Args:
            zero_filled: real and imaginary part, (batch, 2, H, W).

        Returns:
            (batch, num_classes + 1): probabilities, then the predictive entropy in nats (multi-label: summed over labels).
        """
        probabilities = self.probabilities(self.logits(zero_filled))
        return torch.cat([probabilities, self.entropy(probabilities).unsqueeze(-1)], dim=-1)

    def logits(self, zero_filled: Tensor, mask: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """Logits, float32, (batch, num_classes).

        Args:
            zero_filled: real and imaginary part, (batch, 2, H, W).
            mask: the measured positions, (batch, 1, H, W); needed for the policy's gradient where ``real_valued``, else recovered.
        """
        image = completed_by_symmetry(zero_filled, mask) if self.real_valued else zero_filled
        out = self.backbone(encoder_input(image, 1, self.magnitude_input)).float()
        if out.shape[1] != self.num_classes:
            raise ValueError(f"backbone must return {self.num_classes} logits (num_classes), got {out.shape[1]}.")
        return out

    def probabilities(self, logits: Tensor) -> Tensor:
        """Class probabilities of logits whose last axis holds the classes."""
        return torch.sigmoid(logits) if self.multi_label else torch.softmax(logits, dim=-1)

    def entropy(self, probabilities: Tensor) -> Tensor:
        """Entropy in nats of probabilities (..., classes): (...); of independent labels the sum."""
        if self.multi_label:
            return bernoulli_entropy(probabilities).sum(-1)
        return categorical_entropy(probabilities, -1)


def averaged_members(members: Tensor, network: ImageClassifier, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Average an ensemble over its masks (Algorithm 5).

    Args:
        members: probabilities of every mask, classes last.
        network: the classifier; its ``entropy`` is used.
        axis: the axis of the masks, from the front.

    Returns:
        Mean probabilities, their entropy in nats, and the mutual information between the class and the mask: the entropy minus the
        members' mean entropy, nats, 0 for one mask. All without the axis of the masks, the last two also without the classes.

    Example:
        >>> members = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # each of two masks is sure, of another class
        >>> averaged_members(members, ImageClassifier(nn.Identity()), 0)
        (tensor([0.5000, 0.5000]), tensor(0.6931), tensor(0.6931))
    """
    probabilities = members.mean(axis)
    entropy = network.entropy(probabilities)
    return probabilities, entropy, (entropy - network.entropy(members).mean(axis)).clamp(min=0.0)
