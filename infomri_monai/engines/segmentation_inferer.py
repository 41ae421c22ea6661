"""Inferer that segments a whole case slice by slice, straight from undersampled k-space, as many times as asked."""

from __future__ import annotations

from typing import Any

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines.acquired_case import AcquiredCase, network_device
from infomri_monai.engines.case_inferer import CaseInferer
from infomri_monai.engines.prepare import seeded_generator
from infomri_monai.engines.volume_segmentation import SegmentedSlices, VolumeSegmentation
from infomri_monai.engines.whole_number import check_whole
from infomri_monai.networks import complex_to_channels
from infomri_monai.sampling import SamplingPolicy

__all__ = ["SegmentationInferer"]


class SegmentationInferer(CaseInferer[VolumeSegmentation]):
    """Draw segmentations of a case, slice by slice.

    Only a batch of slices is ever on the network's device. The k-th sample has the same noise in every slice, so that it is one
    segmentation of the whole volume. The network is a :class:`~infomri_monai.networks.TaskModel`: its ``posterior`` is called,
    and its ``reconstruct`` on request. Slices whose k-space is zero, and pixels that "crop_pad" cropped, are background.

    Args:
        policy: as in :class:`~infomri_monai.engines.case_inferer.CaseInferer`, and so the next seven.
        measurement: the acquisition.
        ratio: sampling ratio of simulated acquisitions.
        seed: seed of masks and noise, and of the samples.
        batch_size: slices in one forward pass.
        grid_mode: "adapt" or "crop_pad".
        amp: run the network under bfloat16 autocast.
        progress: show a bar.
        samples: number of segmentations, at least 1; a network without latent variable gives one, whatever is asked.
        keep_samples: return them; K bytes a pixel.
        reconstruct: return the auxiliary reconstruction too.

    Raises:
        ValueError: as CaseInferer, and if ``samples`` < 1, or ``keep_samples`` or ``reconstruct`` is no boolean.

    Example:
        >>> import torch
        >>> from infomri_monai.networks import LatentSegmenter
        >>> from infomri_monai.sampling import VariableDensity
        >>> inferer = SegmentationInferer(VariableDensity(), FourierMeasurement(), 0.25, progress=False, samples=4)
        >>> result = inferer(torch.rand(1, 1, 32, 24, 3), LatentSegmenter(num_classes=3, channels=(8, 8)).eval())
        >>> result.segmentation.shape, result.class_probabilities.shape, result.volumes.shape
        (torch.Size([32, 24, 3]), torch.Size([3, 32, 24, 3]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        policy: SamplingPolicy | None,
        measurement: FourierMeasurement,
        ratio: float,
        seed: int = 0,
        batch_size: int = 8,
        grid_mode: str = "adapt",
        amp: bool = False,
        progress: bool = True,
        samples: int = 16,
        keep_samples: bool = False,
        reconstruct: bool = False,
    ) -> None:
        super().__init__(policy, measurement, ratio, seed, batch_size, grid_mode, amp, progress)
        check_whole(samples=samples)
        if samples < 1:
            raise ValueError(f"samples must be >= 1, got {samples}.")
        for name, value in (("keep_samples", keep_samples), ("reconstruct", reconstruct)):
            if not isinstance(value, bool):  # "false" of a command line would be true
                raise ValueError(
                    f"{name} must be True or False (on a command line with a capital letter), got {value!r}."
                )
        self.samples, self.keep_samples, self.reconstruct = int(samples), keep_samples, reconstruct

    def infer(self, case: AcquiredCase, network: Any) -> VolumeSegmentation:
        """Segment every slice.

        Raises:
            TypeError: if the network cannot draw segmentations.
            ValueError: if it returns NaN or Inf, or has no reconstruction where one is asked for.
        """
        if not hasattr(network, "posterior"):
            raise TypeError(f"network must be a TaskModel, which draws segmentations, got {type(network).__name__}.")
        device = network_device(network)
        slices = SegmentedSlices(case, self.keep_samples, self.seed)
        for batch in case:
            zero_filled = complex_to_channels(batch.zero_filled).to(device)
            # afresh for every batch: the noise of a sample is that of all slices
            generator = seeded_generator("cpu", self.seed, 0, 2)  # 0 and 1 are taken by mask and measurement
            with self.autocast(device):
                posterior = network.posterior(zero_filled, self.samples, generator, shared_noise=True)
                reconstruction = network.reconstruct(zero_filled) if self.reconstruct else None
            slices.add(batch, posterior, reconstruction)
        return slices.finish()
