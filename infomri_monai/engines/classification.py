"""The diagnosis of a whole case: its inferer, and what it returns, in which no pixel of an image is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from infomri_monai.engines.case import AcquiredCase, AcquisitionRecord, SliceBatch
from infomri_monai.engines.case_inferer import CaseInferer, check_at_least
from infomri_monai.engines.prepare import device_of
from infomri_monai.networks import complex_to_channels
from infomri_monai.networks.classifier import averaged_members

__all__ = ["CASE_RULES", "ClassificationInferer", "VolumeClassification", "summarised"]


#: how the slices' probabilities become the case's
CASE_RULES = ("auto", "mean", "max")


class VolumeClassification(NamedTuple):
    """What :class:`~infomri_monai.engines.ClassificationInferer` returns for one case, on the CPU, float64.

    There is no image, no k-space and no mask in it. C is the number of classes or labels. Of a slice whose k-space is zero
    nothing is known: its values are NaN, and the case's are those of the other slices.

    Attributes:
        probabilities: of the case, (C,), as ``case_rule`` says.
        entropy: of these probabilities, nats (independent labels: summed).
        mutual_information: between the case's class and the mask: its entropy minus the mean entropy of what each mask alone
            says of the case; nats, 0 for one mask.
        slice_probabilities: mean over the masks, (slices, C).
        slice_entropy: of these, nats, (slices,).
        slice_mutual_information: as of the case, (slices,).
        ratio: realised sampling ratio of every slice, mean over the masks, (slices,).
        ratio_of_all_masks: share of positions that at least one of the masks measured, (slices,).
        masks: number of masks, and so of acquisitions.
        multi_label: independent labels instead of exclusive classes.
        case_rule: "mean" or "max".
        record: how k-space came about.
    """

    probabilities: Tensor
    entropy: float
    mutual_information: float
    slice_probabilities: Tensor
    slice_entropy: Tensor
    slice_mutual_information: Tensor
    ratio: Tensor
    ratio_of_all_masks: Tensor
    masks: int
    multi_label: bool
    case_rule: str
    record: AcquisitionRecord


def summarised(
    members: Tensor, empty: Tensor, network: Any, case_rule: str
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Average an ensemble over its masks, slice by slice and for the whole case.

    The rule is applied to the slices of each mask; the case's probabilities are the mean of that over the masks.

    Args:
        members: probabilities, (mask, slice, C).
        empty: slices to leave out, bool, (slice,).
        network: the classifier; its ``entropy`` and ``multi_label`` are used.
        case_rule: "mean"; or "max": the highest probability of every label, and of exclusive classes those of the slice in
            which the first class is least probable.

    Returns:
        Probabilities, entropy and mutual information, of the slices and of the case.

    Raises:
        ValueError: if all slices are empty.

    Example:
        >>> from infomri_monai.networks import ImageClassifier
        >>> members = torch.tensor([[[0.9, 0.1], [0.4, 0.6]], [[0.7, 0.3], [0.8, 0.2]]])  # two masks, two slices
        >>> _, case = summarised(members, torch.zeros(2) > 0, ImageClassifier(torch.nn.Identity()), "max")
        >>> case[0]
        tensor([0.5500, 0.4500])
    """
    if bool(empty.all()):
        raise ValueError("there is no signal: k-space is zero in every slice.")
    probabilities, entropy, shared = averaged_members(members, network, 0)
    nan = torch.nan
    of_slices = (
        probabilities.masked_fill(empty[:, None], nan),
        entropy.masked_fill(empty, nan),
        shared.masked_fill(empty, nan),
    )
    known = members[:, ~empty]
    if case_rule == "mean":
        chosen = known.mean(1)
    elif network.multi_label:
        chosen = known.amax(1)
    else:
        chosen = known[torch.arange(len(known)), known[..., 0].argmin(1)]
    return of_slices, averaged_members(chosen, network, 0)


@dataclass(eq=False)
class ClassificationInferer(CaseInferer[VolumeClassification]):
    """Probabilities of a case's classes, slice by slice and for the whole case, averaged over several masks.

    Every mask is an acquisition of its own, with its own noise: an ensemble of M masks measures more than one of them, and the
    result says how much. The first is the acquisition that the other inferers make of the same seed. The network is an
    :class:`~infomri_monai.networks.ImageClassifier`.

    The first arguments are those of :class:`~infomri_monai.engines.case_inferer.CaseInferer`.

    Args:
        masks: number of masks, at least 1; of measured k-space there is one.
        case_rule: how the slices become the case. ``"mean"`` averages their probabilities. ``"max"`` takes the highest of every
            label; of exclusive classes, where the first is the absence of a finding, the slice in which it is least probable.
            ``"auto"`` is "mean" for exclusive classes and "max" for independent labels.

    Raises:
        ValueError: as CaseInferer, and if ``masks`` < 1 or ``case_rule`` is unknown.

    Example:
        >>> from monai.networks.nets import resnet10
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import ImageClassifier
        >>> from infomri_monai.sampling import VariableDensity
        >>> network = ImageClassifier(resnet10(spatial_dims=2, n_input_channels=2, num_classes=2)).eval()
        >>> inferer = ClassificationInferer(VariableDensity(), FourierMeasurement(), 0.25, progress=False, masks=3)
        >>> result = inferer(torch.rand(1, 1, 32, 24, 4), network)
        >>> result.probabilities.shape, result.slice_probabilities.shape, result.case_rule
        (torch.Size([2]), torch.Size([4, 2]), 'mean')
    """

    masks: int = 1
    case_rule: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, masks=self.masks)
        if self.case_rule not in CASE_RULES:
            raise ValueError(f"case_rule must be one of {CASE_RULES}, got {self.case_rule!r}.")

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
        device, members = device_of(network), []
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
