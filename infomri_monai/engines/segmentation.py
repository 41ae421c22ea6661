"""The segmentations of a whole case: its inferer, and what it returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from infomri_monai.engines.case import AcquiredCase, AcquisitionRecord, SliceBatch, magnitude_and_sigma
from infomri_monai.engines.case_inferer import CaseInferer, check_at_least, check_bool
from infomri_monai.engines.prepare import device_of, seeded_generator
from infomri_monai.metrics.overlap import intersections
from infomri_monai.networks import TaskPosterior, complex_to_channels

__all__ = ["KeySlice", "SegmentationInferer", "SegmentedSlices", "VolumeSegmentation"]


class KeySlice(NamedTuple):
    """The slice with the most foreground, for pictures; of several the one nearest the middle, the lower index first.

    Attributes:
        slice_index: its index.
        posterior: its samples and their averages, a batch of one on the reconstruction's grid.
        zero_filled: magnitude of its zero-filled image, (1, 1, *grid).
    """

    slice_index: int
    posterior: TaskPosterior
    zero_filled: Tensor


class VolumeSegmentation(NamedTuple):
    """What :class:`~infomri_monai.engines.SegmentationInferer` returns for one case, on the CPU.

    ``shape`` is (height, width[, slice]) of the source, K the number of samples that the network gave, C its classes, S its
    structures. Outside the grid of "crop_pad" and in slices whose k-space is zero there is nothing but background, for certain.

    Attributes:
        segmentation: of the mean probabilities, uint8: class numbers, ``shape``, or (multi-label) masks, (S, *shape).
        class_probabilities: mean over samples, float32, (C, *shape).
        entropy: of the mean probabilities, nats, float32, ``shape``.
        mutual_information: of segmentation and sample, nats, float32, ``shape``.
        samples: uint8 class numbers, (K, *shape), or (multi-label) masks, (K, S, *shape); None if they are not kept.
        mean: magnitude of the reconstruction, float32, ``shape``, in the source's units; None if it was not asked for.
        sigma: its standard deviation, that of a magnitude (complex images: an upper bound of it, see
            :func:`~infomri_monai.networks.magnitude_log_variance`).
        mask: measured positions of the k-space grid, DC at ``n // 2``, uint8, (*grid[, slice]).
        ratio: realised sampling ratio of every slice, float32, (slices,).
        volumes: pixels of every structure in every sample, int64, (K, S).
        agreement: mean Dice of all pairs of samples and all structures, of the whole volume (two empty masks: 1);
            NaN if K is 1 or no slice has a signal.
        key_slice: the slice to show.
        seed: seed of the samples' noise (and of a simulated acquisition).
        record: how k-space came about.
    """

    segmentation: Tensor
    class_probabilities: Tensor
    entropy: Tensor
    mutual_information: Tensor
    samples: Tensor | None
    mean: Tensor | None
    sigma: Tensor | None
    mask: Tensor
    ratio: Tensor
    volumes: Tensor
    agreement: float
    key_slice: KeySlice
    seed: int
    record: AcquisitionRecord


class SegmentedSlices:
    """Gathers the slices of a case batch by batch; of the samples only counts are kept, unless they are asked for.

    Args:
        case: the case whose batches are added.
        keep_samples: keep all samples.
        seed: seed of the samples' noise.
    """

    def __init__(self, case: AcquiredCase, keep_samples: bool, seed: int) -> None:
        self.case, self.keep_samples, self.seed = case, keep_samples, seed
        self.parts: dict[str, list[Tensor]] = {}
        self.overlaps: Tensor | int = 0  # pixels that two samples have in common, (S, K, K)
        self.key_slice: KeySlice | None = None
        self.has_signal = False
        self._rank = (-1, 0)

    def add(self, batch: SliceBatch, posterior: TaskPosterior, reconstruction: Tensor | None) -> None:
        """Take what the network says about a batch.

        Args:
            batch: the slices.
            posterior: of these slices, on any device.
            reconstruction: mean and log-variance as channels, or None.

        Raises:
            ValueError: if a probability, an entropy or a pixel of the reconstruction is NaN or Inf.
        """
        posterior = _background_where_empty(posterior, batch.empty)
        self.has_signal |= not bool(batch.empty.all())
        self.overlaps = self.overlaps + intersections(posterior.samples).counts.sum(0).cpu()
        posterior = TaskPosterior(*(field.cpu() for field in posterior))
        if not all(bool(torch.isfinite(field).all()) for field in posterior[2:]):
            raise ValueError("the network returned NaN or Inf.")
        exclusive = _exclusive(posterior)
        new = {
            "segmentation": _class_map(posterior.majority) if exclusive else posterior.majority,
            "class_probabilities": posterior.class_probabilities,
            "entropy": posterior.entropy[:, 0],
            "mutual_information": posterior.mutual_information[:, 0],
            "mask": batch.mask[:, 0].to(torch.uint8),
        }
        if self.keep_samples:
            new["samples"] = _class_map(posterior.samples) if exclusive else posterior.samples
        if reconstruction is not None:
            mean, sigma = magnitude_and_sigma(reconstruction, batch.empty)
            new |= {"mean": mean[:, 0], "sigma": sigma[:, 0]}
        for name, part in new.items():
            self.parts.setdefault(name, []).append(part)
        self._choose(batch, posterior)

    def finish(self) -> VolumeSegmentation:
        """Put the slices together."""
        if self.key_slice is None:
            raise ValueError("the case has no slice.")
        maps = {name: torch.cat(self.parts.pop(name)) for name in tuple(self.parts)}
        ratio = maps["mask"].flatten(1).float().mean(1)
        whole = {name: self.case.whole(part, fit=name != "mask") for name, part in maps.items()}
        if _exclusive(self.key_slice.posterior):  # outside the grid it is background for certain
            inside = self.case.whole(torch.ones((len(self.case), *self.case.record.grid)))
            whole["class_probabilities"][0] += 1 - inside
        overlaps = torch.as_tensor(self.overlaps)
        return VolumeSegmentation(
            segmentation=whole["segmentation"],
            class_probabilities=whole["class_probabilities"],
            entropy=whole["entropy"],
            mutual_information=whole["mutual_information"],
            samples=whole.get("samples"),
            mean=whole.get("mean"),
            sigma=whole.get("sigma"),
            mask=whole["mask"],
            ratio=ratio,
            volumes=overlaps.diagonal(dim1=1, dim2=2).T,
            agreement=_agreement(overlaps) if self.has_signal else math.nan,
            key_slice=self.key_slice,
            seed=self.seed,
            record=self.case.record,
        )

    def _choose(self, batch: SliceBatch, posterior: TaskPosterior) -> None:
        """Remember the slice with the most foreground."""
        for i, pixels in enumerate(posterior.majority.amax(1).flatten(1).sum(1, dtype=torch.int64).tolist()):
            index = batch.first + i
            rank = (pixels, -abs(2 * index - (len(self.case) - 1)))
            if self.key_slice is None or rank > self._rank:
                own = TaskPosterior(*(field[i : i + 1].clone() for field in posterior))
                self._rank, self.key_slice = rank, KeySlice(index, own, batch.zero_filled[i : i + 1].abs())


def _exclusive(posterior: TaskPosterior) -> bool:
    """Whether the first class is the background, not a structure."""
    return posterior.class_probabilities.shape[1] > posterior.majority.shape[1]


def _background_where_empty(posterior: TaskPosterior, empty: Tensor) -> TaskPosterior:
    """Without measurement there is no foreground, and no doubt."""
    empty = empty.to(posterior.entropy.device)
    probabilities = posterior.class_probabilities.float().masked_fill(empty, 0)
    if _exclusive(posterior):
        probabilities[:, :1].masked_fill_(empty, 1)
    return TaskPosterior(
        posterior.samples.to(torch.uint8).masked_fill(empty[:, None], 0),
        posterior.majority.to(torch.uint8).masked_fill(empty, 0),
        probabilities,
        posterior.entropy.float().masked_fill(empty, 0),
        posterior.mutual_information.float().masked_fill(empty, 0),
    )


def _class_map(masks: Tensor) -> Tensor:
    """Exclusive masks (..., S, H, W) as class numbers (..., H, W), uint8, 0 where there is none."""
    numbers = torch.arange(1, masks.shape[-3] + 1, dtype=torch.uint8, device=masks.device)
    return (masks * numbers[:, None, None]).amax(-3)


def _agreement(overlaps: Tensor) -> float:
    """Mean Dice of the pairs of samples, over structures; NaN of a single sample."""
    sizes = overlaps.diagonal(dim1=1, dim2=2)
    total = sizes[:, :, None] + sizes[:, None, :]
    dice = torch.where(total > 0, 2 * overlaps.double() / total.clamp(min=1), 1.0)
    first, second = torch.triu_indices(dice.shape[1], dice.shape[1], 1)
    return float(dice[:, first, second].mean())


@dataclass(eq=False)
class SegmentationInferer(CaseInferer[VolumeSegmentation]):
    """Draw segmentations of a case, slice by slice.

    Only a batch of slices is ever on the network's device. The k-th sample has the same noise in every slice, so that it is one
    segmentation of the whole volume. The network is a :class:`~infomri_monai.networks.TaskModel`: its ``posterior`` is called,
    and its ``reconstruct`` on request. Slices whose k-space is zero, and pixels that "crop_pad" cropped, are background.

    The first arguments are those of :class:`~infomri_monai.engines.case_inferer.CaseInferer`.

    Args:
        samples: number of segmentations, at least 1; a network without latent variable gives one, whatever is asked.
        keep_samples: return them; K bytes a pixel.
        reconstruct: return the auxiliary reconstruction too.

    Raises:
        ValueError: as CaseInferer, and if ``samples`` < 1, or ``keep_samples`` or ``reconstruct`` is no boolean.

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import LatentSegmenter
        >>> from infomri_monai.sampling import VariableDensity
        >>> inferer = SegmentationInferer(VariableDensity(), FourierMeasurement(), 0.25, progress=False, samples=4)
        >>> result = inferer(torch.rand(1, 1, 32, 24, 3), LatentSegmenter(num_classes=3, channels=(8, 8)).eval())
        >>> result.segmentation.shape, result.class_probabilities.shape, result.volumes.shape
        (torch.Size([32, 24, 3]), torch.Size([3, 32, 24, 3]), torch.Size([4, 2]))
    """

    samples: int = 16
    keep_samples: bool = False
    reconstruct: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, samples=self.samples)
        check_bool(keep_samples=self.keep_samples, reconstruct=self.reconstruct)

    def infer(self, case: AcquiredCase, network: Any) -> VolumeSegmentation:
        """Segment every slice.

        Raises:
            TypeError: if the network cannot draw segmentations.
            ValueError: if it returns NaN or Inf, or has no reconstruction where one is asked for.
        """
        if not hasattr(network, "posterior"):
            raise TypeError(f"network must be a TaskModel, which draws segmentations, got {type(network).__name__}.")
        device = device_of(network)
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
