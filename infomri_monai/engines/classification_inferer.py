"""Inferer that classifies a whole case straight from undersampled k-space and keeps nothing that looks like an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines.acquired_case import AcquiredCase, SliceBatch, network_device
from infomri_monai.engines.case_inferer import CaseInferer
from infomri_monai.engines.volume_classification import CASE_RULES, VolumeClassification, summarised
from infomri_monai.engines.whole_number import check_whole
from infomri_monai.networks import complex_to_channels
from infomri_monai.sampling import SamplingPolicy

__all__ = ["ClassificationInferer"]


class ClassificationInferer(CaseInferer[VolumeClassification]):
    """Probabilities of a case's classes, slice by slice and for the whole case, averaged over several masks.

    Every mask is an acquisition of its own, with its own noise: an ensemble of M masks measures more than one of them, and the
    result says how much. The first is the acquisition that the other inferers make of the same seed. The network is an
    :class:`~infomri_monai.networks.ImageClassifier`.

    Args:
        policy: as in :class:`~infomri_monai.engines.case_inferer.CaseInferer`, and so the next seven.
        measurement: the acquisition.
        ratio: sampling ratio of simulated acquisitions, of each mask.
        seed: seed of masks and noise.
        batch_size: slices in one forward pass.
        grid_mode: "adapt" or "crop_pad".
        amp: run the network under bfloat16 autocast.
        progress: show a bar.
        masks: number of masks, at least 1; of measured k-space there is one.
        case_rule: how the slices become the case. ``"mean"`` averages their probabilities. ``"max"`` takes the highest of every
            label; of exclusive classes, where the first is the absence of a finding, the slice in which it is least probable.
            ``"auto"`` is "mean" for exclusive classes and "max" for independent labels.

    Raises:
        ValueError: as CaseInferer, and if ``masks`` < 1 or ``case_rule`` is unknown.

    Example:
        >>> from monai.networks.nets import resnet10
        >>> from infomri_monai.networks import ImageClassifier
        >>> from infomri_monai.sampling import VariableDensity
        >>> network = ImageClassifier(resnet10(spatial_dims=2, n_input_channels=2, num_classes=2)).eval()
        >>> inferer = ClassificationInferer(VariableDensity(), FourierMeasurement(), 0.25, progress=False, masks=3)
        >>> result = inferer(torch.rand(1, 1, 32, 24, 4), network)
        >>> result.probabilities.shape, result.slice_probabilities.shape, result.case_rule
        (torch.Size([2]), torch.Size([4, 2]), 'mean')
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
        masks: int = 1,
        case_rule: str = "auto",
    ) -> None:
        super().__init__(policy, measurement, ratio, seed, batch_size, grid_mode, amp, progress)
        check_whole(masks=masks)
        if masks < 1:
            raise ValueError(f"masks must be >= 1, got {masks}.")
        if case_rule not in CASE_RULES:
            raise ValueError(f"case_rule must be one of {CASE_RULES}, got {case_rule!r}.")
        self.masks, self.case_rule = int(masks), case_rule

    def infer(self, case: AcquiredCase, network: Any) -> VolumeClassification:
        """Classify every slice under every mask.

        Raises:
            TypeError: if the network is no classifier.
            ValueError: if ``masks`` > 1 for measured k-space, k-space is zero in every slice, or the network returns NaN or Inf.
        """
        if not all(hasattr(network, name) for name in ("logits", "probabilities", "entropy")):
            raise TypeError(f"network must be an ImageClassifier, got {type(network).__name__}.")
        parts = [self._classified(draws, network) for draws in case.ensemble(self.masks)]
        members = torch.cat([part[0] for part in parts], 1)
        empty, ratio, ratio_of_all = (torch.cat(column) for column in list(zip(*parts, strict=True))[1:])
        rule = self.case_rule if self.case_rule != "auto" else "max" if network.multi_label else "mean"
        of_slices, (probabilities, entropy, shared) = summarised(members, empty, network, rule)
        return VolumeClassification(
            probabilities=probabilities,
            entropy=float(entropy),
            mutual_information=float(shared),
            slice_probabilities=of_slices[0],
            slice_entropy=of_slices[1],
            slice_mutual_information=of_slices[2],
            ratio=ratio,
            ratio_of_all_masks=ratio_of_all,
            masks=self.masks,
            multi_label=bool(network.multi_label),
            case_rule=rule,
            record=case.record,
        )

    def _classified(self, draws: Sequence[SliceBatch], network: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of some slices: probabilities (mask, slice, C); which are empty under a mask; mean ratio, and that of all masks."""
        device, members = network_device(network), []
        for batch in draws:
            zero_filled = complex_to_channels(batch.zero_filled).to(device)
            with self.autocast(device):
                logits = network.logits(zero_filled, batch.mask.to(device))
            members.append(network.probabilities(logits.cpu().double()))
        probabilities = torch.stack(members)
        empty = torch.stack([batch.empty.flatten() for batch in draws]).any(0)
        if not bool(torch.isfinite(probabilities[:, ~empty]).all()):
            raise ValueError("the network returned NaN or Inf.")
        masks = torch.stack([batch.mask.flatten(1).double() for batch in draws])
        return probabilities, empty, masks.mean((0, 2)), masks.amax(0).mean(1)
