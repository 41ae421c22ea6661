"""From a batch to the arguments of a system: ratios and seeded generators, drawn once per iteration, and labels.

Without labels (reconstruction), with class labels (classification), or with several experts' labels (segmentation).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from torch import Tensor, nn

from infomri_monai.losses import SegmentationTarget
from infomri_monai.metrics.structures import channel_masks, structure_masks
from infomri_monai.networks.task_model import structures_of
from infomri_monai.sampling.policy import check_ratio, check_ratio_range

__all__ = [
    "FollowIterations",
    "PrepareAmortizedBatch",
    "PrepareLabels",
    "PrepareOneRater",
    "PrepareRaters",
    "PrepareRatioSweep",
    "device_of",
    "seeded_generator",
]


def seeded_generator(device: str | torch.device | None, *key: int) -> torch.Generator:
    """A generator that depends on nothing but its key, so that a resumed run draws what an uninterrupted one would."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device=device or "cpu").manual_seed(seed)


def device_of(network: Any) -> torch.device:
    """The device of a module's parameters and buffers; the CPU for a function or a module without any."""
    tensors = (*network.parameters(), *network.buffers()) if isinstance(network, nn.Module) else ()
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def check_flip_axes(flip_axes: Sequence[int]) -> list[int]:
    """Return the axes along which images are mirrored, each once; ValueError unless they are 0 and 1 at most."""
    if not set(flip_axes) <= {0, 1}:
        raise ValueError(f"flip_axes must hold 0 and 1 at most, got {list(flip_axes)}.")
    return sorted(set(flip_axes))


def read_label(batchdata: Mapping[str, Any], key: str) -> Tensor:
    """A batch's labels as a plain tensor; KeyError if it has none."""
    if key not in batchdata:
        raise KeyError(f"batch has no key {key!r}; it has {sorted(batchdata)}.")
    label = batchdata[key]
    return label.as_tensor() if isinstance(label, MetaTensor) else torch.as_tensor(label)


def repeated_to(length: int, label: Tensor) -> Tensor:
    """Labels repeated ratio by ratio, as many as there are images."""
    return label.repeat(length // len(label), *[1] * (label.ndim - 1))


def mirrored(parts: Sequence[Tensor], axes: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """Mirror images, (batch, channel, *spatial) each, along each of some spatial axes with probability 1/2, all parts alike."""
    parts = list(parts)
    for axis in axes:
        chosen = torch.rand(len(parts[0]), generator=generator, device=parts[0].device) < 0.5
        parts = [torch.where(chosen.reshape(-1, *[1] * (p.ndim - 1)), p.flip(axis + 2), p) for p in parts]
    return parts


def shifted(image: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """Shift every image, (batch, channel, *spatial), circularly by up to ``largest`` pixels along each spatial axis."""
    for axis in range(2, image.ndim if largest else 0):
        n, batch = image.shape[axis], len(image)
        by = torch.randint(-largest, largest + 1, (batch, 1), generator=generator, device=image.device)
        index = (torch.arange(n, device=image.device) - by) % n
        shape = [batch, *(n if a == axis else 1 for a in range(1, image.ndim))]
        image = image.gather(axis, index.reshape(shape).expand_as(image))
    return image


class SeededPrepareBatch(PrepareBatch, ABC):
    """Image, ratios and a generator for every iteration; the generator depends on (seed, rank, iteration) only.

    It is an Ignite handler too: attached to an engine it follows the iteration number. Subclasses implement :meth:`draw`.

    Args:
        seed: seed of all randomness.
        image_key: the batch's key of the image, (batch, 1, *spatial).
    """

    def __init__(self, seed: int = 0, image_key: str = "image") -> None:
        self.seed = int(seed)
        self.image_key = image_key
        self.iteration = 0

    def attach(self, engine: Engine) -> None:
        """Follow the engine's iterations."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._follow)

    def _follow(self, engine: Engine) -> None:
        self.iteration = self.place(engine)

    def place(self, engine: Engine) -> int:
        """The number from which the iteration's randomness is derived."""
        return engine.state.iteration

    @abstractmethod
    def draw(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the images to process and one ratio for each."""

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[Tensor], dict[str, torch.Generator]]:
        """Return (image, target, (ratio,), {"generator": generator}) for MONAI's supervised engines.

        Raises:
            KeyError: if the batch has no image.
        """
        if self.image_key not in batchdata:
            raise KeyError(f"batch has no key {self.image_key!r}; it has {sorted(batchdata)}.")
        image = batchdata[self.image_key].to(device=device, non_blocking=non_blocking, **kwargs)
        image = image.as_tensor() if isinstance(image, MetaTensor) else image
        generator = seeded_generator(image.device, self.seed, idist.get_rank(), self.iteration)
        image, ratio = self.draw(image, generator)
        return image, image, (ratio,), {"generator": generator}


class FollowIterations:
    """Let a batch preparation follow a trainer's iterations, as an entry of a bundle's ``train#handlers``.

    MONAI's check of a bundle's properties reads every entry's ``_target_``, so a plain reference cannot stand there.

    Args:
        prepare_batch: the batch preparation that the trainer was given.
    """

    def __init__(self, prepare_batch: SeededPrepareBatch) -> None:
        self.prepare_batch = prepare_batch

    def attach(self, engine: Engine) -> None:
        """Register the preparation."""
        self.prepare_batch.attach(engine)


class PrepareAmortizedBatch(SeededPrepareBatch):
    """Draw one sampling ratio per image, as amortised training asks (Algorithm 1, step 2).

    All randomness is derived from the seed, the rank and the iteration number. A resumed run therefore continues the same
    sequence, and every rank of a distributed run draws its own ratios and masks.

    Args:
        ratio_range: lowest and highest ratio; equal values train for one ratio only.
        seed: seed of the ratios, masks and noise.
        image_key: the batch's key of the image, (batch, 1, *spatial).
        spacing: ``"linear"`` draws from U(low, high), the paper's; ``"log"`` makes log(ratio) uniform, so that every doubling of
            the acceleration is trained equally often.

    Raises:
        ValueError: if the range is not 0 < low <= high <= 1 or ``spacing`` is unknown.

    Example:
        >>> import torch
        >>> prepare = PrepareAmortizedBatch((0.1, 0.2), seed=3)
        >>> image, target, (ratio,), kwargs = prepare({"image": torch.ones(4, 1, 8, 8)})
        >>> bool(((ratio >= 0.1) & (ratio <= 0.2)).all()), sorted(kwargs)
        (True, ['generator'])
    """

    def __init__(
        self,
        ratio_range: Sequence[float] = (0.05, 0.35),
        seed: int = 0,
        image_key: str = "image",
        spacing: str = "linear",
    ) -> None:
        if spacing not in ("linear", "log"):
            raise ValueError(f"spacing must be 'linear' or 'log', got {spacing!r}.")
        self.low, self.high = check_ratio_range(ratio_range)
        self.spacing = spacing
        super().__init__(seed, image_key)

    def draw(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One ratio per image."""
        share = torch.rand(image.shape[0], generator=generator, device=image.device)
        if self.spacing == "log":
            return image, (self.low * (self.high / self.low) ** share).clamp(self.low, self.high)
        return image, self.low + (self.high - self.low) * share


class PrepareRatioSweep(SeededPrepareBatch):
    """Repeat every batch once for each of a list of ratios, so that one pass over the data evaluates them all.

    The randomness depends on the seed and on the batch's place in the epoch only: every evaluation of every model sees the
    same noise, and a fixed policy the same masks.

    Args:
        ratios: sampling ratios to evaluate.
        seed: seed of masks and noise.
        image_key: the batch's key of the image.

    Example:
        >>> import torch
        >>> image, target, (ratio,), _ = PrepareRatioSweep((0.1, 0.2))({"image": torch.ones(3, 1, 8, 8)})
        >>> image.shape[0], ratio
        (6, tensor([0.1000, 0.1000, 0.1000, 0.2000, 0.2000, 0.2000]))
    """

    def __init__(
        self, ratios: Sequence[float] = (0.0625, 0.125, 0.1875, 0.25), seed: int = 0, image_key: str = "image"
    ) -> None:
        super().__init__(seed, image_key)
        self.ratios = check_ratio(ratios, "ratios")

    def place(self, engine: Engine) -> int:
        """The iteration's place in its epoch."""
        return (engine.state.iteration - 1) % (engine.state.epoch_length or 1)

    def draw(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The images repeated ratio by ratio."""
        repeated = image.repeat(len(self.ratios), *[1] * (image.ndim - 1))
        return repeated, self.ratios.to(image.device).repeat_interleave(image.shape[0])


class LabelledPrepareBatch(PrepareBatch, ABC):
    """What another preparation draws or repeats, with labels; subclasses say what becomes of them.

    Args:
        prepare: draws or repeats the images.
        label_key: the batch's key of the labels.
    """

    def __init__(self, prepare: SeededPrepareBatch, label_key: str) -> None:
        self.prepare, self.label_key = prepare, label_key

    def attach(self, engine: Engine) -> None:
        """Follow the engine's iterations."""
        self.prepare.attach(engine)

    @abstractmethod
    def with_label(
        self, image: Tensor, ratio: Tensor, label: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Any, tuple[Tensor, ...]]:
        """Return (images, target, further arguments) from the prepared images and the batch's labels, on their device."""

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Any, tuple[Tensor, ...], dict[str, torch.Generator]]:
        """Return (images, target, (ratio, ...), {"generator": generator})."""
        image, _, (ratio,), named = self.prepare(batchdata, device, non_blocking, **kwargs)
        label = read_label(batchdata, self.label_key).to(image.device)
        self.check(label, image[: len(batchdata[self.prepare.image_key])])
        return *self.with_label(image, ratio, label, named["generator"]), named

    @abstractmethod
    def check(self, label: Tensor, image: Tensor) -> None:
        """Raise ValueError unless the labels fit the batch's images."""


class PrepareLabels(LabelledPrepareBatch):
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
        super().__init__(prepare, label_key)
        self.max_shift, self.num_classes, self.multi_label = int(max_shift), num_classes, multi_label

    def with_label(
        self, image: Tensor, ratio: Tensor, label: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, tuple[Tensor]]:
        """The labels repeated as the images are, which are mirrored and shifted."""
        (image,) = mirrored([image], self.flip_axes, generator)
        return shifted(image, self.max_shift, generator), repeated_to(len(image), label), (ratio,)

    def check(self, label: Tensor, image: Tensor) -> None:
        """The shape must fit, and every value be a class number or (multi-label) 0 or 1."""
        expected = (len(image), self.num_classes) if self.multi_label else (len(image),)
        if tuple(label.shape) != expected:
            raise ValueError(
                f"label must have shape {expected} (multi_label={self.multi_label}), got {tuple(label.shape)}."
            )
        values = torch.arange(2 if self.multi_label else self.num_classes, device=label.device)
        known = torch.isin(label.to(torch.float64), values.to(torch.float64))
        if not bool(known.all()):
            accepted = "0 or 1" if self.multi_label else f"0 to {self.num_classes - 1}"
            raise ValueError(f"label must be {accepted}, got {label[~known][:4].tolist()}.")


class RaterPrepareBatch(LabelledPrepareBatch):
    """Several experts' labels, checked against the images.

    Args:
        prepare: draws or repeats the images.
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels, (batch, R, S, H, W), instead of a class map, (batch, R, H, W).
        label_key: the batch's key of the labels.
    """

    def __init__(
        self, prepare: SeededPrepareBatch, num_classes: int, multi_label: bool = False, label_key: str = "label"
    ) -> None:
        super().__init__(prepare, label_key)
        self.structures = structures_of(num_classes, multi_label)
        self.num_classes, self.multi_label = num_classes, multi_label

    def check(self, label: Tensor, image: Tensor) -> None:
        """The labels must be on the images' grid."""
        axes, expected = image.ndim + int(self.multi_label), tuple(image.shape[2:])
        if label.ndim != axes or label.shape[0] != image.shape[0] or tuple(label.shape[-len(expected) :]) != expected:
            shape = "(batch, rater, label, *spatial)" if self.multi_label else "(batch, rater, *spatial)"
            raise ValueError(f"label must have shape {shape} on the image's grid {expected}, got {tuple(label.shape)}.")


class PrepareOneRater(RaterPrepareBatch):
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
        super().__init__(prepare, num_classes, multi_label, label_key)
        self.flip_axes = check_flip_axes(flip_axes)

    def with_label(
        self, image: Tensor, ratio: Tensor, label: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, SegmentationTarget, tuple[Tensor, Tensor]]:
        """One expert's masks of every image, mirrored together with it."""
        masks = channel_masks(label) if self.multi_label else structure_masks(label, self.num_classes)
        present = ~masks.flatten(2).isnan().any(2)
        if not bool(present.any(1).all()):
            raise ValueError("label: an image of the batch has no expert (all of its raters are missing).")
        chosen = torch.multinomial(present.float(), 1, generator=generator)[:, 0]
        label = masks[torch.arange(len(masks), device=masks.device), chosen]
        image, label = mirrored([image, label], self.flip_axes, generator)
        return image, SegmentationTarget(image, label), (ratio, label)


class PrepareRaters(RaterPrepareBatch):
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

    def with_label(
        self, image: Tensor, ratio: Tensor, label: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, tuple[Tensor]]:
        """The labels repeated as the images are."""
        return image, repeated_to(len(image), label), (ratio,)
