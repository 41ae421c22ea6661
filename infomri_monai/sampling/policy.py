"""The interface of all sampling policies, what is common to them, and a policy frozen for an audit."""

from __future__ import annotations

import copy
import inspect
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infomri_monai.arrays import as_values, as_whole, takes

__all__ = ["FrozenPolicy", "MaskSample", "SamplingPolicy", "check_ratio", "check_ratio_range", "interpolate_positions"]

_LOGGER = logging.getLogger(__name__)


class MaskSample(NamedTuple):
    """What a policy returns.

    Attributes:
        mask: 0/1 floats, shape (batch, 1, *spatial); the read-out axis of a 1D policy has size 1.
        probabilities: probability of each position under the policy, same shape as ``mask``.
        ratio: realised ratio of each mask, shape (batch,).
    """

    mask: Tensor
    probabilities: Tensor
    ratio: Tensor


def check_ratio(ratio: float | Sequence[float] | Tensor, name: str = "ratio") -> Tensor:
    """Return sampling ratios as a float tensor of shape (batch,).

    Args:
        ratio: one ratio or one per sample; sampled positions / all positions, in (0, 1].
        name: the argument's name in error messages.

    Raises:
        ValueError: if a ratio is no number, outside (0, 1] or not finite, or there is none.

    Example:
        >>> check_ratio([0.1, 0.25])
        tensor([0.1000, 0.2500])
    """
    try:
        if getattr(ratio, "dtype", type(ratio)) in (bool, torch.bool):
            raise ValueError
        ratios = as_values(ratio, name).to(torch.float32).reshape(-1)
    except ValueError:
        raise ValueError(
            f"{name} must be a number in (0, 1] (sampled positions / all positions), got {ratio!r}."
        ) from None
    if ratios.numel() == 0:
        raise ValueError(f"{name} is empty; give at least one sampling ratio in (0, 1].")
    bad = ratios[~((ratios > 0) & (ratios <= 1))]
    if bad.numel():
        raise ValueError(
            f"{name} must lie in (0, 1] (sampled positions / all positions), got {bad[:4].tolist()}. "
            "An acceleration of 4 is a ratio of 0.25."
        )
    return ratios


def check_ratio_range(ratio_range: Sequence[float], name: str = "ratio_range") -> tuple[float, float]:
    """Return a checked (low, high) range of sampling ratios.

    Args:
        ratio_range: lowest and highest sampling ratio, 0 < low <= high <= 1.
        name: the argument's name in error messages.

    Raises:
        ValueError: unless there are two ratios with 0 < low <= high <= 1.

    Example:
        >>> check_ratio_range([0.04, 0.35])
        (0.04, 0.35)
    """
    check_ratio(ratio_range, name)
    bounds = tuple(as_values(ratio_range, name).double().reshape(-1).tolist())
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise ValueError(f"{name} must be (low, high) with low <= high, got {ratio_range!r}.")
    return bounds[0], bounds[1]


class SamplingPolicy(nn.Module, ABC):
    """A law that gives a mask for any sampling ratio.

    Subclasses implement :meth:`draw` and keep every argument of their constructor as an attribute of its name (a plain type or
    a tensor), so that they can be saved; one that belongs to a grid sets ``grid`` and implements :meth:`regrid`. Everything else
    is final. :class:`~infomri_monai.sampling.learned.LearnedPolicy` is the base of those that are trained.

    Args:
        readout_axis: None for a 2D (or 3D) law over single positions; else the index of the spatial axis that is read
            out completely, so that whole Cartesian lines are chosen along the others and the mask has size 1 there.
    """

    #: grid on which a learned policy was trained; None for laws that fit any grid
    grid: tuple[int, ...] | None = None
    #: lowest and highest ratio that a learned policy was trained for; None where nothing was trained or it is not known
    ratio_range: tuple[float, float] | None = None
    #: what draws have in common, by ratio, while the policy is promised to stay as it is; None where it is not
    shared: dict[tuple[float, ...], Tensor] | None = None

    @takes(readout_axis="whole")
    def __init__(self, readout_axis: int | None = None) -> None:
        super().__init__()
        if readout_axis is not None and readout_axis < 0:
            raise ValueError(f"readout_axis must be None or at least 0, got {readout_axis}.")
        self.readout_axis = readout_axis

    def forward(
        self,
        ratio: float | Sequence[float] | Tensor,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        acquired: Tensor | None = None,
    ) -> MaskSample:
        """Draw one mask per ratio.

        Args:
            ratio: sampling ratio of every mask, in (0, 1].
            shape: spatial grid of the image, e.g. ``(256, 256)``.
            generator: source of randomness; its device must be the policy's. None uses torch's global generator.
            acquired: k-space acquired so far, shape (batch, coil, *spatial); read by sequential policies only.

        Returns:
            Masks of shape (batch, 1, *spatial), their probabilities and their realised ratios.

        Raises:
            ValueError: if a ratio is outside (0, 1] or so small that no non-empty mask on this grid meets it, or the
                grid differs from the one the policy was trained on.
        """
        ratios = check_ratio(ratio)
        positions = self.position_shape(shape)
        if self.grid is not None and tuple(shape) != tuple(self.grid):
            raise ValueError(
                f"grid {tuple(shape)} differs from the policy's grid {tuple(self.grid)}; "
                f"call policy.for_grid({tuple(shape)}) to carry the learned pattern over by interpolation."
            )
        count = math.prod(positions)
        smallest = float(ratios.min())
        if smallest * count < 0.5:
            raise ValueError(
                f"ratio={smallest:.3g} cannot be met on grid {tuple(shape)}: with {count} "
                f"{'lines' if self.readout_axis is not None else 'positions'} the smallest ratio is {1 / count:.3g}."
            )
        if isinstance(ratio, Tensor):
            ratios = ratios.to(ratio.device)
        mask, probabilities = self.draw(ratios, positions, generator, acquired)
        return MaskSample(mask, probabilities, mask.detach().flatten(1).mean(1))

    @abstractmethod
    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return (mask, probabilities), each (batch, 1, *positions), for checked ratios of shape (batch,)."""

    def config(self) -> dict[str, Any]:
        """Constructor arguments, which are attributes of the same names: ``type(policy)(**policy.config())`` is such a policy."""
        values = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def position_parameters(self) -> list[nn.Parameter]:
        """Parameters of which every entry belongs to one position; they want a higher learning rate than the others."""
        return []

    def extrapolates(self, ratio: float) -> bool | None:
        """Whether a sampling ratio lies outside ``ratio_range``, the range that the policy was trained for; None if unknown.

        Example:
            >>> from infomri_monai.sampling import PatternGenerationNetwork
            >>> PatternGenerationNetwork((8, 8), ratio_range=(0.04, 0.35)).extrapolates(0.5)
            True
        """
        if self.ratio_range is None:
            return None
        return not self.ratio_range[0] <= ratio <= self.ratio_range[1]

    def warn_where_extrapolating(self, ratio: float) -> None:
        """Log a warning if a sampling ratio lies outside ``ratio_range``; for whoever hands masks on."""
        if self.extrapolates(ratio):
            _LOGGER.warning(
                "ratio=%g is extrapolated: the policy was trained for the range %s", ratio, self.ratio_range
            )

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """A block within which nothing of the policy changes: what all draws of one ratio share may be computed once.

        The masks are the same, inside and outside. It has no effect on draws that need a gradient.

        Example:
            >>> from infomri_monai.sampling import PatternGenerationNetwork
            >>> pgn = PatternGenerationNetwork((8, 8))
            >>> with torch.no_grad(), pgn.unchanged():
            ...     first, second = pgn(0.25, (8, 8)), pgn(0.25, (8, 8))
            >>> first.probabilities is second.probabilities
            True
        """
        before, self.shared = self.shared, {}
        try:
            yield
        finally:
            self.shared = before

    def for_grid(self, shape: Sequence[int]) -> SamplingPolicy:
        """Carry the policy to another grid.

        A law that fits any grid returns itself. A policy that belongs to a grid returns a new policy, interpolated
        linearly in normalised k-space: index i of an axis of n positions stands for ``(i - n // 2) / n`` cycles per
        pixel, so DC stays DC and the edge stays the edge. That is exact in physical units when the pixel size is
        unchanged and the field of view differs; when only the resolution differs, the pattern is stretched with k-space
        instead of continued, because nothing was learned beyond the trained edge and the ratio is a share of the new
        grid.

        Args:
            shape: spatial grid of the images to come.

        Raises:
            ValueError: if ``shape`` has not the policy's number of axes or an axis size below 1.

        Example:
            >>> from infomri_monai.sampling import PatternGenerationNetwork
            >>> PatternGenerationNetwork((32, 32)).for_grid((48, 40)).grid
            (48, 40)
        """
        shape = tuple(as_whole(n, "shape") for n in shape)
        self.position_shape(shape)
        if self.grid is None or shape == tuple(self.grid):
            return self
        if len(shape) != len(self.grid):
            raise ValueError(f"shape must have {len(self.grid)} axes like the policy's grid {self.grid}, got {shape}.")
        return self.regrid(shape)

    def regrid(self, shape: tuple[int, ...]) -> SamplingPolicy:
        """Return a new policy for a checked, different grid (for policies with a grid; see :meth:`for_grid`)."""
        raise NotImplementedError(f"{type(self).__name__} has a grid and must say how to change it.")

    def position_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The grid of positions to choose from: ``shape`` with size 1 along the read-out axis."""
        shape = tuple(as_whole(n, "shape") for n in shape)
        if not shape or min(shape) < 1:
            raise ValueError(f"shape must hold positive axis sizes, got {shape}.")
        if len(shape) > 3:
            raise ValueError(
                f"shape must be the spatial grid, without batch and channel, got {len(shape)} axes: {shape}."
            )
        if self.readout_axis is None:
            return shape
        if self.readout_axis >= len(shape):
            raise ValueError(f"readout_axis={self.readout_axis} does not exist on a grid of {len(shape)} axes.")
        return tuple(1 if axis == self.readout_axis else n for axis, n in enumerate(shape))


def interpolate_positions(pattern: Tensor, positions: Sequence[int]) -> Tensor:
    """Interpolate a pattern linearly in normalised, centred k-space coordinates.

    Index i of an axis of n positions has the coordinate ``(i - n // 2) / n`` (cycles per pixel). Coordinates beyond the
    last position of the old grid take its value.

    Args:
        pattern: values on the old grid, DC at index ``n // 2``, shape (..., *old_positions).
        positions: new grid with the same number of axes.

    Returns:
        Values on the new grid, shape (..., *positions). A pattern that is linear in k stays so inside the old grid.

    Raises:
        ValueError: if an axis size is below 1 or ``pattern`` has fewer axes.

    Example:
        >>> import torch
        >>> interpolate_positions(torch.tensor([4.0, 2.0, 0.0, 2.0]), (8,))  # DC at index 2, then at index 4
        tensor([4., 3., 2., 1., 0., 1., 2., 2.])
    """
    if len(positions) > pattern.ndim or min(positions, default=0) < 1:
        raise ValueError(f"positions must be 1 to {pattern.ndim} sizes >= 1, got {tuple(positions)}.")
    for axis, new in zip(range(-len(positions), 0), positions, strict=True):
        old = pattern.shape[axis]
        k = (torch.arange(new, device=pattern.device, dtype=torch.float64) - new // 2) / new
        index = (k * old + old // 2).clamp(0, old - 1)
        low = index.floor().long()
        high = (low + 1).clamp_max(old - 1)
        weight = (index - low).to(pattern.dtype).reshape(-1, *[1] * (-axis - 1))
        pattern = torch.lerp(pattern.index_select(axis, low), pattern.index_select(axis, high), weight)
    return pattern


class FrozenPolicy(SamplingPolicy):
    """Draws the masks of a copy of a trained policy that has no parameters for the outside: nothing can train it.

    The copy is in evaluation mode, draws without gradients, and is no submodule: ``train()``, an optimiser, a checkpoint and
    ``requires_grad_`` of the system around it do not reach it. It lives while it is attacked and is not saved (``save_policy``
    refuses it); what is saved is :attr:`policy`.

    Args:
        policy: the trained policy; it is copied and left as it is.
        device: device of the copy.

    Example:
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> frozen = FrozenPolicy(PatternGenerationNetwork((8, 8)))
        >>> list(frozen.parameters()), frozen(0.25, (8, 8)).ratio
        ([], tensor([0.2500]))
    """

    def __init__(self, policy: SamplingPolicy, device: str | torch.device = "cpu") -> None:
        super().__init__(policy.readout_axis)
        self.grid, self.ratio_range = policy.grid, policy.ratio_range
        # in a tuple, where nn.Module does not look for submodules
        self._kept = (copy.deepcopy(policy).to(device).eval().requires_grad_(False),)
        self.device = str(device)

    @property
    def policy(self) -> SamplingPolicy:
        """The copy that draws."""
        return self._kept[0]

    @torch.no_grad()
    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks; see :meth:`SamplingPolicy.draw`."""
        return self.policy.draw(ratio, positions, generator, acquired)

    def regrid(self, shape: tuple[int, ...]) -> SamplingPolicy:
        """The frozen policy on another grid, on its device."""
        return FrozenPolicy(self.policy.regrid(shape), self.device)
