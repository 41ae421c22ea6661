"""Inference: the system's own for the batches of an evaluation, and what that of all whole cases shares."""

from __future__ import annotations

import logging
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from monai.inferers import Inferer
from torch import Tensor

from infomri_monai.acquisition import FourierMeasurement, off_centre
from infomri_monai.engines.case import AcquiredCase, MeasuredSlices, SimulatedSlices, SliceAcquisition
from infomri_monai.engines.hardware import MixedPrecision
from infomri_monai.engines.prepare import device_of, seeded_generator
from infomri_monai.metrics.image_quality import is_signed
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.sampling.policy import check_ratio
from infomri_monai.transforms.common import checked_mask, checked_tensor, plain

__all__ = ["CaseInferer", "SystemInferer", "check_at_least", "check_bool", "check_measured", "is_far"]


def check_at_least(lowest: int, **values: object) -> None:
    """Check that arguments are whole numbers and not too small: a text or a fraction from a command line is refused in words.

    Args:
        lowest: smallest number allowed.
        values: by the arguments' names.

    Raises:
        ValueError: if one is none, e.g. a text, a float or a bool, or is below ``lowest``.

    Example:
        >>> check_at_least(0, samples=16, seed="x")
        Traceback (most recent call last):
        ValueError: seed must be a whole number, got 'x'.
    """
    for name, value in values.items():
        try:
            if isinstance(value, bool):
                raise TypeError
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            raise ValueError(f"{name} must be a whole number, got {value!r}.") from None
        if number < lowest:
            raise ValueError(f"{name} must be >= {lowest}, got {value}.")


def check_bool(**values: object) -> None:
    """Check that arguments are booleans: the text "false" of a command line would be true.

    Raises:
        ValueError: if one is none.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False (on a command line with a capital letter), got {value!r}.")


_LOGGER = logging.getLogger(__name__)
_EXTRAPOLATED = ": the result and its uncertainty are extrapolated"
#: a position of less probability is one that the policy never measures
_TINY = 1e-6


def check_measured(masks: Tensor, policy: SamplingPolicy | None) -> None:
    """Check what a scanner measured against the policy; what can still be reconstructed is a warning in the log.

    Warnings: DC was not measured; the grid is far from the one that the policy was trained on (:func:`is_far`; a smaller
    difference is a note); the ratio lies outside its trained range. Empty slices are passed over. Only a learned policy has a
    grid and a range; laws that fit any grid measure everywhere.

    Args:
        masks: where k-space was measured, bool or 0/1, shape (slice, 1, *grid).
        policy: the policy; None checks against nothing but k-space itself.

    Raises:
        ValueError: if nothing was measured, or nothing that the policy, carried to this grid, measures at this ratio with a
            probability above 1e-6.

    Example:
        >>> check_measured(torch.zeros(1, 1, 8, 8), None)
        Traceback (most recent call last):
        ValueError: nothing was acquired: all positions of k-space are zero or masked out.
    """
    acquired = masks.bool()
    acquired = acquired[acquired.flatten(1).any(1)]
    if not len(acquired):
        raise ValueError("nothing was acquired: all positions of k-space are zero or masked out.")
    grid = tuple(acquired.shape[2:])
    centre: Any = (..., *(n // 2 for n in grid))
    without_dc = int((~acquired[centre]).sum())
    if without_dc:
        _LOGGER.warning("the DC position of k-space was not measured in %d of %d slices", without_dc, len(acquired))
    if policy is None or policy.grid is None:
        return
    if grid != tuple(policy.grid):
        far = is_far(policy.grid, grid)
        told = "k-space of grid %s, but the model was trained on %s" + _EXTRAPOLATED * far
        _LOGGER.log(logging.WARNING if far else logging.INFO, told, grid, tuple(policy.grid))
    ratio = float(acquired.float().mean())
    policy.warn_where_extrapolating(ratio)
    reachable = _reachable(policy, ratio, grid)
    if reachable is not None and not bool((acquired & reachable).any()):
        raise ValueError(
            "no overlap between acquired positions and the model's grid: at the realised ratio of "
            f"{ratio:.3g}, the policy measures none of the {int(acquired.any(0).sum())} acquired positions on grid {grid}."
        )


def is_far(trained: Sequence[int] | None, grid: Sequence[int]) -> bool:
    """Whether an axis of a grid is more than twice, or less than half, as long as that of the trained one.

    Interpolating a learned pattern that far stretches details of single positions over several, or drops them.

    Args:
        trained: the policy's grid; None for a law that fits any grid.
        grid: where it is to be used.

    Example:
        >>> is_far((96, 96), (192, 96)), is_far((96, 96), (320, 96)), is_far(None, (8, 8))
        (False, True, False)
    """
    return trained is not None and any(n > 2 * m or m > 2 * n for n, m in zip(grid, trained, strict=False))


@torch.no_grad()
def _reachable(policy: SamplingPolicy, ratio: float, grid: tuple[int, ...]) -> Tensor | None:
    """Where the policy may measure, bool, broadcasts to (slice, 1, *grid); None if it cannot draw at this ratio."""
    carried = policy.for_grid(grid)
    smallest = 1 / math.prod(carried.position_shape(grid))
    try:
        sample = carried([max(ratio, smallest)], grid, seeded_generator(device_of(carried), 0))
    except ValueError:
        return None
    return sample.probabilities.cpu() > _TINY


class SystemInferer(Inferer):
    """Call ``system.infer`` with a number of samples (segmentation) or of masks (classification).

    Args:
        amp: bfloat16 autocast, a bool or the training's :class:`~infomri_monai.engines.MixedPrecision`.
        counts: ``samples`` of every image of a :class:`~infomri_monai.systems.SegmentationSystem` (the paper's evaluation draws
            32), or ``masks``, and so acquisitions, of every image of a :class:`~infomri_monai.systems.ClassificationSystem`; none
            leaves it to the system.

    Raises:
        ValueError: if a count is no whole number or < 1, or ``amp`` is neither.

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import LatentSegmenter
        >>> from infomri_monai.sampling import UniformRandom
        >>> from infomri_monai.systems import SegmentationSystem
        >>> system = SegmentationSystem(UniformRandom(), FourierMeasurement(), LatentSegmenter(channels=(8, 8)))
        >>> SystemInferer(samples=4)(torch.rand(1, 1, 16, 16), system, 0.25).samples.shape
        torch.Size([1, 4, 1, 16, 16])
    """

    def __init__(self, amp: bool | MixedPrecision = False, **counts: int) -> None:
        super().__init__()
        check_at_least(1, **counts)
        self.counts = counts
        self.precision = MixedPrecision.of(amp, "amp")

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Return ``network.infer(inputs, ratio, generator=generator)`` with the counts."""
        with self.precision.autocast(inputs.device):
            return network.infer(inputs, *args, **self.counts, **kwargs)


Result = TypeVar("Result")


@dataclass(eq=False)
class CaseInferer(Inferer, ABC, Generic[Result]):
    """Acquire the slices of a case along its last axis and hand them to :meth:`infer`, ``batch_size`` slices at a time.

    Its settings are fields, which subclasses add to.

    Args:
        policy: chooses the masks of simulated acquisitions; measured k-space is only checked against it (see
            :func:`~infomri_monai.engines.case_inferer.check_measured`), and it may be None there.
        measurement: the acquisition with its noise model, single coil.
        ratio: sampling ratio of simulated acquisitions, in (0, 1]; outside the policy's trained range a warning is logged.
        seed: masks and noise of a slice depend on the seed and the slice's index only, not on the batch size.
        batch_size: slices in one forward pass.
        grid_mode: what to do where an image's grid differs from the policy's. ``"adapt"`` carries the policy over by
            ``policy.for_grid``, whatever the size; where an axis is more than twice or less than half as long, a warning is
            logged. ``"crop_pad"`` crops or pads the image about its centre to the policy's grid
            and fits the result back to the source's size: for images smaller than the grid or nearly as large, since nothing is
            inferred about what was cropped (the record's ``offset`` and ``grid`` say where).
        amp: run the network under bfloat16 autocast.
        progress: show a bar, on rank 0.

    Raises:
        ValueError: if ``ratio`` is outside (0, 1], ``batch_size`` < 1, ``seed`` < 0, one of them is no (whole) number,
            ``grid_mode`` is unknown, or "crop_pad" comes with a policy that has no grid of its own.
    """

    policy: SamplingPolicy | None
    measurement: FourierMeasurement
    ratio: float
    seed: int = 0
    batch_size: int = 8
    grid_mode: str = "adapt"
    amp: bool = False
    progress: bool = True
    _policies: dict[tuple[int, ...], SamplingPolicy] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if check_ratio(self.ratio).numel() != 1:
            raise ValueError(f"ratio must be one sampling ratio, got {self.ratio!r}.")
        self.ratio = float(self.ratio)
        check_at_least(1, batch_size=self.batch_size)
        check_at_least(0, seed=self.seed)
        self.seed, self.batch_size = int(self.seed), int(self.batch_size)
        if self.grid_mode not in ("adapt", "crop_pad"):
            raise ValueError(f"grid_mode must be 'adapt' or 'crop_pad', got {self.grid_mode!r}.")
        if self.grid_mode == "crop_pad" and (self.policy is None or self.policy.grid is None):
            raise ValueError("grid_mode='crop_pad' needs a policy with a grid of its own; use 'adapt'.")

    @abstractmethod
    def infer(self, case: AcquiredCase, network: Any) -> Result:
        """Run the network, in evaluation mode, on every batch of slices and put the results together, on the CPU.

        Raises:
            ValueError: if the network returns NaN or Inf.
        """

    @torch.no_grad()
    def __call__(
        self,
        inputs: Tensor,
        network: Any,
        mask: Tensor | None = None,
        domain: str = "image",
        centre_checked: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> Result:
        """Acquire one case and infer what is asked.

        Args:
            inputs: shape (1, 1, height, width[, slice]): an image, real or complex, or (``domain="kspace"``) raw k-space,
                complex, single coil, zero where nothing was measured, to which no noise is added.
            network: what :meth:`infer` needs, in evaluation mode.
            mask: 0/1, broadcasts to raw k-space; None reads it off the zeros.
            domain: ``"image"`` or ``"kspace"``.
            centre_checked: k-space was looked at by its reader, which warned if it is not centred.
            args: not used.
            kwargs: not used.

        Raises:
            ValueError: if the shape differs, a value is NaN or Inf, k-space is real, an image is complex where the network is
                for real-valued images, no mask on this grid can meet the ratio, the mask is empty or has no position that
                the policy measures, or the network returns NaN or Inf.
        """
        if domain not in ("image", "kspace"):
            raise ValueError(f"domain must be 'image' or 'kspace', got {domain!r}.")
        if inputs.ndim not in (4, 5) or tuple(inputs.shape[:2]) != (1, 1):
            raise ValueError(f"{domain} must have shape (1, 1, height, width[, slice]), got {tuple(inputs.shape)}.")
        data = plain(checked_tensor(inputs[0], domain, 2, kspace=domain == "kspace"))
        data = data.to("cpu", torch.complex64 if data.is_complex() else torch.float32)
        if domain == "image" and data.is_complex() and getattr(network, "real_valued", False):
            raise ValueError("image is complex, but the network is for real-valued images: give the magnitude.")
        if domain == "kspace":
            given = None if mask is None else _slices_first(checked_mask(_aligned(plain(mask)[0], data), data, 1))
            if getattr(network, "real_valued", False):
                _LOGGER.warning("the network takes the measured object for real-valued: a phase in it is not modelled")
            measured = MeasuredSlices(_slices_first(data), given)
            if not centre_checked and (text := off_centre(measured.kspace, given)):
                _LOGGER.warning(text)
            if given is not None or bool(data.any()):  # zeros without a mask are a measurement of an empty object
                check_measured(measured.masks(), self.policy)
            slices: SliceAcquisition = measured
        else:
            if is_signed(data):
                _LOGGER.warning("the image has negative values: results are of its magnitude, in which -x is x")
            slices = self._simulated(_slices_first(data))
        if self.policy is not None and self.policy.grid is not None:
            far = is_far(self.policy.grid, slices.record.grid)
            slices.record = slices.record._replace(grid_extrapolated=far)
        size, is_volume = tuple(data.shape[1:3]), data.ndim == 4
        case = AcquiredCase(slices, self.measurement, size, is_volume, self.batch_size, self.progress)
        with slices.policy.unchanged() if isinstance(slices, SimulatedSlices) else nullcontext():
            return self.infer(case, network)

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which the network runs."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.amp)

    def _simulated(self, images: Tensor) -> SimulatedSlices:
        if self.policy is None:
            raise ValueError("policy must not be None for a simulated acquisition (domain='image').")
        source = tuple(images.shape[2:])
        grid = tuple(self.policy.grid or source) if self.grid_mode == "crop_pad" else source
        new, far = grid not in self._policies, is_far(self.policy.grid, grid)
        if new:
            self._policies[grid] = self.policy.for_grid(grid)
        # a warning belongs to every case, a note to the first of a grid
        if far or (new and self._policies[grid] is not self.policy):
            level = logging.WARNING if far else logging.INFO
            told = "policy carried from its grid %s to the image's %s" + _EXTRAPOLATED * far
            _LOGGER.log(level, told, self.policy.grid, grid)
        self.policy.warn_where_extrapolating(self.ratio)
        if grid != source:
            _LOGGER.info("image of %s fitted to the policy's grid %s by cropping or padding", source, grid)
        policy = self._policies[grid]
        return SimulatedSlices(images, policy, self.measurement, self.ratio, self.seed, grid, self.grid_mode)


def _slices_first(data: Tensor) -> Tensor:
    """(1, height, width[, slice]) as (slice, 1, height, width)."""
    return data[None] if data.ndim == 3 else data.movedim(-1, 0)


def _aligned(mask: Tensor, kspace: Tensor) -> Tensor:
    """A mask without slice axis beside k-space with one serves all slices."""
    return mask.unsqueeze(-1) if mask.ndim == 3 and kspace.ndim == 4 else mask
