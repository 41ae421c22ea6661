"""Segmentation: policy, measurement and a task model, trained jointly for every ratio (the case beta > 0)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.networks.gaussian import channels_to_complex, complex_to_channels
from infomri_monai.networks.task_model import TaskModel
from infomri_monai.systems.system import System

__all__ = ["SegmentationPosterior", "SegmentationSystem", "SegmentationTraining"]


class SegmentationTraining(NamedTuple):
    """What a training pass returns, for the loss; see :class:`~infomri_monai.networks.TaskPass` and ``ReconstructionResult``.

    Attributes:
        logits: of the classes, (batch, C, H, W).
        prior_mean: mean of q(z|y), (batch, latent, h, w).
        prior_log_variance: its log-variance.
        posterior_mean: mean of q(z|y,t).
        posterior_log_variance: its log-variance.
        mean: posterior mean of the image, complex, or real for a real-valued network, (batch, 1, H, W).
        log_variance: its log-variance per real component.
        mask: 0/1 mask, (batch, 1, *spatial).
        ratio: realised sampling ratio, (batch,).
        mean_logits: logits from the prior's mean, where the network decodes it.
        magnitude_log_variance: log-variance of the mean's magnitude, where the network models it (a fourth channel).
    """

    logits: Tensor
    prior_mean: Tensor
    prior_log_variance: Tensor
    posterior_mean: Tensor
    posterior_log_variance: Tensor
    mean: Tensor
    log_variance: Tensor
    mask: Tensor
    ratio: Tensor
    mean_logits: Tensor | None = None
    magnitude_log_variance: Tensor | None = None


class SegmentationPosterior(NamedTuple):
    """The answer to a measurement; the first five fields are those of :class:`~infomri_monai.networks.TaskPosterior`.

    Attributes:
        samples: structure masks of every sample, uint8, (batch, sample, S, H, W).
        majority: structure masks of the mean probabilities, uint8, (batch, S, H, W).
        class_probabilities: mean over samples, (batch, C, H, W).
        entropy: of the mean probabilities, nats, (batch, 1, H, W).
        mutual_information: between a pixel's class and the sample, nats, (batch, 1, H, W).
        mean: posterior mean of the image, complex, or real for a real-valued network, (batch, 1, H, W).
        log_variance: its log-variance per real component.
        zero_filled: complex zero-filled image, (batch, 1, H, W).
        mask: 0/1 mask, (batch, 1, *spatial).
        ratio: realised sampling ratio, (batch,).
    """

    samples: Tensor
    majority: Tensor
    class_probabilities: Tensor
    entropy: Tensor
    mutual_information: Tensor
    mean: Tensor
    log_variance: Tensor
    zero_filled: Tensor
    mask: Tensor
    ratio: Tensor


class SegmentationSystem(System):
    """One model for every sampling ratio (equation 20; Algorithms 2 and 3).

    Args:
        policy: any sampling policy; a learned one is trained through its straight-through gradient.
        measurement: the acquisition.
        network: a task model.

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import LatentSegmenter
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> network = LatentSegmenter(channels=(8, 8))
        >>> system = SegmentationSystem(PatternGenerationNetwork((16, 16)), FourierMeasurement(), network)
        >>> system.infer(torch.rand(2, 1, 16, 16), [0.25, 0.5], samples=3).samples.shape
        torch.Size([2, 3, 1, 16, 16])
    """

    network: TaskModel

    @takes(image="number", label="label")
    def forward(
        self,
        image: Tensor,
        ratio: float | list[float] | Tensor,
        label: Tensor,
        generator: torch.Generator | None = None,
    ) -> SegmentationTraining:
        """One training pass.

        Args:
            image: real or complex, shape (batch, 1, H, W).
            ratio: one sampling ratio for all, or one per image.
            label: structure masks of one rater, 0/1, shape (batch, S, H, W).
            generator: source of the mask's, the noise's and the latent sample's randomness.

        Raises:
            ValueError: if ``ratio`` has neither one entry nor one per image, ``label`` does not fit, or the image is complex
                and the network takes real-valued images.
        """
        self.check_image(image)
        kspace, sample = self.acquire(image, ratio, generator)
        zero_filled = complex_to_channels(self.measurement.adjoint(kspace))
        task = self.network.training_pass(zero_filled, label, generator, sample.mask)
        mean, log_variance = self._image(task.reconstruction)
        of_magnitude = task.reconstruction[:, 3:] if task.reconstruction.shape[1] > 3 else None
        return SegmentationTraining(
            *task[:5], mean, log_variance, sample.mask, sample.ratio, task.mean_logits, of_magnitude
        )

    @takes(image="number", samples="whole")
    def infer(
        self, image: Tensor, ratio: float | list[float] | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> SegmentationPosterior:
        """Simulate an acquisition and draw ``samples`` segmentations (Algorithm 3).

        Args:
            image: real or complex, shape (batch, 1, H, W).
            ratio: one sampling ratio for all, or one per image.
            samples: number of segmentations, at least 1.
            generator: source of all randomness.

        Raises:
            ValueError: as :meth:`forward`, or if ``samples`` < 1.
        """
        self.network.check_samples(samples)
        self.check_image(image)
        kspace, sample = self.acquire(image, ratio, generator)
        zero_filled = self.measurement.adjoint(kspace)
        channels = complex_to_channels(zero_filled)
        task = self.network.posterior(channels, samples, generator)
        out = self.network.reconstruct(channels)
        return SegmentationPosterior(*task, *self._image(out), zero_filled, sample.mask, sample.ratio)

    def _image(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, real for real-valued images and else complex, and log-variance of a reconstruction's channels."""
        mean = channels[:, :1] if self.network.real_valued else channels_to_complex(channels)
        return mean, channels[:, 2:3]
