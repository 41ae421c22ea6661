"""From a batch of labelled images to the arguments of a classification system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import PrepareBatch
from torch import Tensor

from infomri_monai.engines.prepare import SeededPrepareBatch, check_flip_axes, mirrored, read_label, shifted

__all__ = ["PrepareLabels"]


class PrepareLabels(PrepareBatch):
    """The images' labels as the target, for training and (repeated ratio by ratio like the images) for evaluation.

    Args:
        prepare: draws or repeats, e.g. :class:`~infomri_monai.engines.PrepareAmortizedBatch` or
            :class:`~infomri_monai.engines.PrepareRatioSweep`.
        num_classes: exclusive classes, or labels if ``multi_label``.
        multi_label: independent binary labels, (batch, C), instead of class numbers, (batch,).
        label_key: the batch's key of the labels.
        flip_axes: spatial axes (0 is the first) along which an image is mirrored with probability 1/2; for training.
        max_shift: pixels by which an image is shifted at most, circularly, along each axis, in training.

    Raises:
        ValueError: if an axis is not 0 or 1, or ``max_shift`` is negative; when called, if a label is missing or no class number.

    Example:
        >>> import torch
        >>> from infomri_monai.engines import PrepareRatioSweep
        >>> batch = {"image": torch.ones(2, 1, 8, 8), "label": torch.tensor([0, 1])}
        >>> image, target, (ratio,), _ = PrepareLabels(PrepareRatioSweep((0.1, 0.2)), num_classes=2)(batch)
        >>> image.shape[0], target
        (4, tensor([0, 1, 0, 1]))
    """

    def __init__(
        self,
        prepare: SeededPrepareBatch,
        num_classes: int,
        multi_label: bool = False,
        label_key: str = "label",
        flip_axes: Sequence[int] = (),
        max_shift: int = 0,
    ) -> None:
        self.flip_axes = check_flip_axes(flip_axes)
        if max_shift < 0:
            raise ValueError(f"max_shift must be >= 0, got {max_shift}.")
        self.prepare, self.max_shift = prepare, int(max_shift)
        self.num_classes, self.multi_label, self.label_key = num_classes, multi_label, label_key

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
        label = self._label(batchdata, len(batchdata[self.prepare.image_key])).to(image.device)
        label = label.repeat(len(image) // len(label), *[1] * (label.ndim - 1))
        (image,) = mirrored([image], self.flip_axes, named["generator"])
        return shifted(image, self.max_shift, named["generator"]), label, (ratio,), named

    def _label(self, batchdata: dict[str, Any], images: int) -> Tensor:
        label = read_label(batchdata, self.label_key)
        expected = (images, self.num_classes) if self.multi_label else (images,)
        if tuple(label.shape) != expected:
            raise ValueError(
                f"label must have shape {expected} (multi_label={self.multi_label}), got {tuple(label.shape)}."
            )
        values = torch.arange(2 if self.multi_label else self.num_classes, device=label.device)
        known = torch.isin(label.to(torch.float64), values.to(torch.float64))
        if not bool(known.all()):
            accepted = "0 or 1" if self.multi_label else f"0 to {self.num_classes - 1}"
            raise ValueError(f"label must be {accepted}, got {label[~known][:4].tolist()}.")
        return label
