"""Is k-space centred? Where its largest magnitudes lie, against ``n // 2``."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from infomri_monai.acquisition.fourier import _spatial_axes
from infomri_monai.arrays import takes

__all__ = ["CentreCheck", "CentreWarning", "off_centre"]

#: an axis with fewer positions says nothing, nor one along which k-space hardly decays, such as noise
_FEWEST, _CONTRAST = 16, 2.0
#: of a position in one vote, so that a spike counts no more than a peak
_LOUDEST = 8.0


class CentreCheck:
    """Collects, coil by coil and slice by slice, how k-space decays along its axes, and says whether its centre is at ``n // 2``.

    Every coil and slice has one vote: the mean magnitude at every position of an axis, relative to that of all; a spike or a loud
    slice does not decide. The phase of real objects moves the peak by a few positions (3 of 96 in one coil of sixteen), so that
    max(3, n / 16) are no error. Nothing is said of axes shorter than 16, where k-space does not decay (noise), and where the
    neighbourhood of ``n // 2`` was not measured, unless the peak lies at a corner, as ``numpy.fft.fft2`` leaves it.

    Args:
        spatial_dims: number of trailing axes.

    Example:
        >>> check = CentreCheck()
        >>> check.add(torch.fft.fft2(torch.rand(3, 16, 20)))
        >>> check.warning()[:44]
        'k-space is not centred: its largest magnitud'
    """

    @takes(spatial_dims="whole")
    def __init__(self, spatial_dims: int = 2) -> None:
        self.spatial_dims = spatial_dims
        self._sums: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._samples: list[Tensor] = []

    @takes(kspace="number", mask="mask")
    def add(self, kspace: Tensor, mask: Tensor | None = None) -> None:
        """Take in coils, slices or both.

        Args:
            kspace: complex, shape (..., *spatial); where it is zero nothing was measured.
            mask: where it was measured, 0/1, broadcasts to k-space; None reads it off the zeros.
        """
        axes = _spatial_axes(kspace, self.spatial_dims)
        images = kspace.detach().reshape(-1, *kspace.shape[axes[0] :]).abs()
        measured = images != 0 if mask is None else (mask != 0).expand(kspace.shape).reshape(images.shape)
        if not self._sums:
            self._sums = [torch.zeros(images.shape[axis], dtype=torch.float64) for axis in axes]
            self._counts, self._samples = ([torch.zeros_like(total) for total in self._sums] for _ in range(2))
        for index, axis in enumerate(axes):
            others = [other for other in axes if other != axis]
            total, number = images * measured, measured.to(images.dtype)
            if others:
                total, number = total.sum(others), number.sum(others)
            mean = total / number.clamp_min(1)
            level = mean.sum(-1, keepdim=True) / (number > 0).sum(-1, keepdim=True).clamp_min(1)
            votes = (number > 0) & (level > 0)
            vote = torch.where(votes, (mean / level.clamp_min(1e-30)).clamp_max(_LOUDEST), 0)
            self._sums[index] += vote.sum(0).double().cpu()
            self._counts[index] += votes.sum(0).cpu()
            self._samples[index] += number.sum(0).cpu()

    def warning(self) -> str:
        """What was found, what is expected and how it is mended, in words; "" where k-space is centred or cannot tell."""
        axes = range(-self.spatial_dims, 0)
        collected = zip(axes, self._sums, self._counts, self._samples, strict=False)
        found = {axis: peak for axis, *sums in collected if (peak := _off(*sums)) >= 0}
        if not found:
            return ""
        sizes = {axis: len(self._sums[axis]) for axis in found}
        places = ", ".join(
            f"{peak} of {sizes[a]} (expected {sizes[a] // 2}) along axis {a}" for a, peak in found.items()
        )
        corner = all(min(peak, sizes[a] - peak) <= _tolerance(sizes[a]) for a, peak in found.items())
        if corner:
            mend = (
                f"apply numpy.fft.fftshift(kspace, axes={tuple(found)}); of an image, k-space is "
                "fftshift(fft2(ifftshift(image)))"
            )
        else:
            shifts = tuple(sizes[a] // 2 - peak for a, peak in found.items())
            mend = f"correct the centre in its header, or apply numpy.roll(kspace, {shifts}, axis={tuple(found)})"
        return f"k-space is not centred: its largest magnitudes lie at index {places}; {mend}."


def off_centre(kspace: Tensor, mask: Tensor | None = None, spatial_dims: int = 2) -> str:
    """The warning of :class:`CentreCheck` for k-space that is in memory as a whole.

    Args:
        kspace: as in :meth:`CentreCheck.add`.
        mask: as in :meth:`CentreCheck.add`.
        spatial_dims: number of trailing axes.

    Example:
        >>> off_centre(torch.fft.fftshift(torch.fft.fft2(torch.rand(3, 16, 20)), dim=(-2, -1)))
        ''
    """
    check = CentreCheck(spatial_dims)
    check.add(kspace, mask)
    return check.warning()


class CentreWarning:
    """Logs the warning of :func:`off_centre` once, for a transform that is called slice by slice; it looks at the first 16.

    Args:
        logger: name of the logger.
        spatial_dims: number of trailing axes.

    Example:
        >>> warn = CentreWarning("quiet")
        >>> warn(torch.ones(1, 8, 8))
    """

    def __init__(self, logger: str, spatial_dims: int = 2) -> None:
        self.logger, self.spatial_dims, self.left = logger, spatial_dims, 16

    def __call__(self, kspace: Tensor) -> None:
        """Look at k-space, (..., *spatial), unless it was looked at often enough."""
        if self.left > 0:
            self.left -= 1
            if text := off_centre(kspace, spatial_dims=self.spatial_dims):
                self.left = 0
                logging.getLogger(self.logger).warning(text)


def _tolerance(n: int) -> int:
    return max(3, n // 16)


def _off(total: Tensor, count: Tensor, samples: Tensor) -> int:
    """The peak of an axis's profile if it does not lie at the centre, else -1."""
    n, known = len(total), count > 0
    if n < _FEWEST or not bool(known.any()):
        return -1
    profile = total / count.clamp_min(1)
    peak, tolerance, position = int(profile.argmax()), _tolerance(n), torch.arange(n)
    contrast = _CONTRAST + 4 / float(samples[peak]) ** 0.5  # the mean of few samples of noise may be large
    if abs(peak - n // 2) <= tolerance or float(profile[peak]) < contrast * float(profile[known].median()):
        return -1
    near = known & ((position - n // 2).abs() <= tolerance)
    # of a scan without its centre the samples next to the gap are the largest
    told = bool(near.any()) and float(profile[peak]) > contrast * float(profile[near].max())
    return peak if told or min(peak, n - peak) <= tolerance else -1
