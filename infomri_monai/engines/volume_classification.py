"""The diagnosis of a whole case: what its slices and masks say, and how that is summed up. No pixel of an image is kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from infomri_monai.engines.slice_acquisition import AcquisitionRecord
from infomri_monai.networks.image_classifier import averaged_members

__all__ = ["CASE_RULES", "VolumeClassification", "summarised"]

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
