"""From a batch of images with several experts' labels to the arguments of a segmentation system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import PrepareBatch
from torch import Tensor

from infomri_monai.engines.prepare import SeededPrepareBatch, check_flip_axes, mirrored, read_label
from infomri_monai.losses import SegmentationTarget
from infomri_monai.metrics.structure_masks import channel_masks, structure_masks
from infomri_monai.networks.task_model import structures_of

__all__ = ["PrepareOneRater", "PrepareRaters"]


class LabelledBatch:
    """The raters' masks of a batch, checked against its images.

    Args:
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels, (batch, R, S, H, W), instead of a class map, (batch, R, H, W).
        label_key: the batch's key of the labels.
    """

    def __init__(self, num_classes: int, multi_label: bool, label_key: str) -> None:
        self.structures = structures_of(num_classes, multi_label)
        self.num_classes, self.multi_label, self.label_key = num_classes, multi_label, label_key

    def label(self, batchdata: dict[str, Any], image: Tensor) -> Tensor:
        """The labels as they are, on the device of ``image``."""
        label = read_label(batchdata, self.label_key).to(image.device)
        axes, expected = image.ndim + int(self.multi_label), tuple(image.shape[2:])
        if label.ndim != axes or label.shape[0] != image.shape[0] or tuple(label.shape[-len(expected) :]) != expected:
            shape = "(batch, rater, label, *spatial)" if self.multi_label else "(batch, rater, *spatial)"
            raise ValueError(f"label must have shape {shape} on the image's grid {expected}, got {tuple(label.shape)}.")
        return label

    def masks(self, label: Tensor) -> Tensor:
        """Structure masks (batch, R, S, *spatial), float32, NaN for a missing rater."""
        return channel_masks(label) if self.multi_label else structure_masks(label, self.num_classes)


class PrepareOneRater(PrepareBatch):
    """One expert's label of every image, drawn at random in every step (decision 19), for training.

    Args:
        prepare: draws the ratios, e.g. :class:`~infomri_monai.engines.PrepareAmortizedBatch`; its generator draws the experts.
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels, (batch, R, S, H, W), instead of a class map, (batch, R, H, W).
        label_key: the batch's key of the labels.
        flip_axes: spatial axes (0 is the first) along which image and label are mirrored together, each with probability 1/2.

    Raises:
        ValueError: if an axis is not 0 or 1; when called, if an image has no expert, an expert's label is missing (-1) in some
            pixels only, or label and image have different grids.

    Example:
        >>> import torch
        >>> from infomri_monai.engines import PrepareAmortizedBatch
        >>> batch = {"image": torch.ones(2, 1, 8, 8), "label": torch.ones(2, 6, 8, 8, dtype=torch.uint8)}
        >>> image, target, (ratio, label), _ = PrepareOneRater(PrepareAmortizedBatch((0.1, 0.2)), num_classes=2)(batch)
        >>> label.shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        prepare: SeededPrepareBatch,
        num_classes: int,
        multi_label: bool = False,
        label_key: str = "label",
        flip_axes: Sequence[int] = (),
    ) -> None:
        self.prepare = prepare
        self.flip_axes = check_flip_axes(flip_axes)
        self.labels = LabelledBatch(num_classes, multi_label, label_key)

    def attach(self, engine: Engine) -> None:
        """Follow the engine's iterations."""
        self.prepare.attach(engine)

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, SegmentationTarget, tuple[Tensor, Tensor], dict[str, torch.Generator]]:
        """Return (image, target, (ratio, label), {"generator": generator})."""
        image, _, (ratio,), named = self.prepare(batchdata, device, non_blocking, **kwargs)
        masks = self.labels.masks(self.labels.label(batchdata, image))
        present = ~masks.flatten(2).isnan().any(2)
        if not bool(present.any(1).all()):
            raise ValueError("label: an image of the batch has no expert (all of its raters are missing).")
        chosen = torch.multinomial(present.float(), 1, generator=named["generator"])[:, 0]
        label = masks[torch.arange(len(masks), device=masks.device), chosen]
        image, label = mirrored([image, label], self.flip_axes, named["generator"])
        return image, SegmentationTarget(image, label), (ratio, label), named


class PrepareRaters(PrepareBatch):
    """All experts' labels as the target, -1 for a missing one, repeated ratio by ratio like the images, for evaluation.

    Args:
        prepare: repeats the images, e.g. :class:`~infomri_monai.engines.PrepareRatioSweep`.
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels instead of a class map.
        label_key: the batch's key of the labels.

    Example:
        >>> import torch
        >>> from infomri_monai.engines import PrepareRatioSweep
        >>> batch = {"image": torch.ones(2, 1, 8, 8), "label": torch.ones(2, 6, 8, 8, dtype=torch.uint8)}
        >>> image, target, (ratio,), _ = PrepareRaters(PrepareRatioSweep((0.1, 0.2)), num_classes=3)(batch)
        >>> image.shape[0], target.shape
        (4, torch.Size([4, 6, 8, 8]))
    """

    def __init__(
        self, prepare: SeededPrepareBatch, num_classes: int, multi_label: bool = False, label_key: str = "label"
    ) -> None:
        self.prepare = prepare
        self.labels = LabelledBatch(num_classes, multi_label, label_key)

    def attach(self, engine: Engine) -> None:
        """Follow the engine's iterations."""
        self.prepare.attach(engine)

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[Tensor], dict[str, torch.Generator]]:
        """Return (images, labels, (ratio,), {"generator": generator})."""
        image, _, (ratio,), named = self.prepare(batchdata, device, non_blocking, **kwargs)
        sweeps = image.shape[0] // len(batchdata[self.prepare.image_key])
        label = self.labels.label(batchdata, image[: len(image) // sweeps])
        return image, label.repeat(sweeps, *[1] * (label.ndim - 1)), (ratio,), named
