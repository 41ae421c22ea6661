"""Mean and variance of k-space per position over a data set, streamed, with a checksum of the images they were computed from."""

from __future__ import annotations

import hashlib
import math
import os
import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infomri_monai.acquisition.fourier import image_to_kspace, kspace_to_image
from infomri_monai.acquisition.noise import peak_magnitude
from infomri_monai.acquisition.symmetry import conjugate_partner
from infomri_monai.arrays import as_numbers, as_tensor, takes
from infomri_monai.files import atomic_path, is_of_disk

__all__ = ["ImageChecksum", "KSpaceStatistics", "batch_moments", "gather_batches", "half_kspace", "whole_moments"]

_BITS = 256


class ImageChecksum:
    """Checksum of a set of images: values, shapes and types, whatever their order and their batches.

    The SHA-256 digests of the single images are added modulo 2^256, as the statistics of a set do not depend on its order
    either. Images that occur twice count twice.

    Args:
        start: checksum to continue from, as :meth:`hexdigest` gave it.

    References:
        Bellare and Micciancio, "A new paradigm for collision-free hashing: incrementality at reduced cost",
        EUROCRYPT 1997, section 5 (AdHash).

    Example:
        >>> import torch
        >>> a, b = ImageChecksum(), ImageChecksum()
        >>> images = torch.arange(8.0).reshape(2, 1, 2, 2)
        >>> a.update(images)
        >>> b.update(images[1:])
        >>> b.update(images[:1])
        >>> a.hexdigest() == b.hexdigest()
        True
    """

    def __init__(self, start: str = "0") -> None:
        self._sum = int(start, 16)

    def update(self, images: Tensor) -> None:
        """Add images.

        Args:
            images: any dtype, shape (batch, channel, *spatial).
        """
        for image in as_tensor(images, "images").detach().cpu():
            self._add(int.from_bytes(_digest(image.contiguous()), "big"))

    def merge(self, other: ImageChecksum) -> None:
        """Add the images of another checksum."""
        self._add(other._sum)

    def hexdigest(self) -> str:
        """The checksum so far, 64 hexadecimal digits; zeros where there is no image yet."""
        return f"{self._sum:0{_BITS // 4}x}"

    def _add(self, value: int) -> None:
        self._sum = (self._sum + value) % (1 << _BITS)


def _digest(image: Tensor) -> bytes:
    """SHA-256 of type, shape and values."""
    digest = hashlib.sha256(f"{image.dtype} {tuple(image.shape)} ".encode())
    digest.update(image.view(torch.uint8).numpy().data)
    return digest.digest()


#: values of a batch that images are gathered into: the cost of merging a batch does not depend on its size
_BATCH = 1 << 19
#: values worked on at a time: what is done to them in several steps stays in the processor's cache
_TILE = 1 << 17


def gather_batches(images: Iterable[Tensor], spatial_dims: int) -> Iterator[Tensor]:
    """Gather images into batches, in their order.

    Args:
        images: each (1, *grid) or a batch (batch, 1, *grid).
        spatial_dims: number of spatial axes.

    Yields:
        Batches (batch, 1, *grid) of one shape and type each.

    Raises:
        ValueError: if an image has another number of axes.

    Example:
        >>> [batch.shape[0] for batch in gather_batches([torch.ones(1, 4, 4), torch.ones(2, 1, 4, 4)], 2)]
        [3]
    """
    waiting: list[Tensor] = []
    values = 0
    for given in images:
        image = as_tensor(given, "image")
        if image.ndim not in (spatial_dims + 1, spatial_dims + 2):
            raise ValueError(
                f"images must have shape (1, *grid) or (batch, 1, *grid) with {spatial_dims} spatial axes, "
                f"got {tuple(image.shape)}."
            )
        batch = image if image.ndim == spatial_dims + 2 else image.unsqueeze(0)
        different = waiting and (batch.shape[1:], batch.dtype) != (waiting[0].shape[1:], waiting[0].dtype)
        if different or values >= _BATCH:
            yield torch.cat(waiting)
            waiting, values = [], 0
        waiting.append(batch)
        values += batch.numel()
    if waiting:
        yield torch.cat(waiting)


def batch_moments(samples: Tensor) -> Tensor:
    """Moments of one batch at every position, computed in float64.

    Args:
        samples: complex, shape (batch, *grid).

    Returns:
        float64, shape (5, *grid): mean of the real and of the imaginary part, their sums of squared deviations from it, mean
        magnitude. NaN or Inf at a position where a sample is.

    Example:
        >>> batch_moments(torch.tensor([[1 + 1j], [3 + 1j]]))[:4, 0]
        tensor([2., 1., 2., 0.], dtype=torch.float64)
    """
    flat = samples.reshape(samples.shape[0], -1)
    moments = torch.empty((5, flat.shape[1]), dtype=torch.float64)
    width = max(1, _TILE // samples.shape[0])
    for tile, out in zip(flat.split(width, dim=1), moments.split(width, dim=1), strict=True):
        parts = tile.real.to(torch.float64), tile.imag.to(torch.float64)
        out[4] = torch.addcmul(parts[0].square(), parts[1], parts[1]).sqrt_().mean(0)
        for row, part in enumerate(parts):
            torch.mean(part, 0, out=out[row])
            out[row + 2] = (part - out[row]).square_().sum(0)
    return moments.reshape(5, *samples.shape[1:])


def half_kspace(images: Tensor) -> Tensor:
    """The half of k-space that determines the other half, for real images (equation 29).

    Args:
        images: real, shape (batch, *grid).

    Returns:
        Complex, centred except for the last axis, which holds frequencies 0 to n // 2; shape (batch, *grid[:-1], n // 2 + 1).

    Example:
        >>> half_kspace(torch.ones(1, 4, 4))[0, 2]
        tensor([4.+0.j, 0.+0.j, 0.+0.j])
    """
    axes = list(range(1, images.ndim))
    half = torch.fft.rfftn(torch.fft.ifftshift(images, axes), dim=axes, norm="ortho")
    return torch.fft.fftshift(half, axes[:-1]) if len(axes) > 1 else half


def whole_moments(moments: Tensor, n: int) -> Tensor:
    """Moments of centred k-space from those of :func:`half_kspace`.

    Args:
        moments: as :func:`batch_moments` returns them, shape (5, *grid[:-1], n // 2 + 1).
        n: size of the last axis of the grid.

    Returns:
        Shape (5, *grid).

    Example:
        >>> whole_moments(batch_moments(half_kspace(torch.ones(2, 4, 4))), 4)[0, 2]
        tensor([0., 0., 4., 0.], dtype=torch.float64)
    """
    others = moments.ndim - 2
    # the partner over all axes but the last, whose frequencies are reversed by the flip
    partner = conjugate_partner(moments.movedim(-1, 1), others).movedim(1, -1) if others else moments
    negative = partner[..., 1 : n // 2 + 1].flip(-1)
    negative[1].neg_()  # of the conjugate the mean of the imaginary part changes sign, and nothing else
    return torch.cat([negative, moments[..., : n - n // 2]], -1)


_ARRAYS = ("mean_real", "mean_imag", "squares_real", "squares_imag", "mean_magnitude")
_NO_IMAGES = ImageChecksum().hexdigest()


class KSpaceStatistics:
    """Mean and variance of fully sampled k-space at every position, per real component (equation 33).

    Batches are merged by the parallel form of Welford's recursion in float64 (squared deviations from the running mean,
    never sums of squares), so that the result does not depend on the batch size or the order, and no data set has to
    fit in memory.

    Args:
        grid: spatial grid, e.g. ``(128, 128)``.

    Attributes:
        count: number of samples.
        checksum: of the images the statistics were computed from, see :class:`ImageChecksum`; None where :meth:`update` was
            given k-space of unknown origin.

    Raises:
        ValueError: if ``grid`` is empty or has an axis size below 1.

    References:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 1983,
        equation (2.1).

    Example:
        >>> import torch
        >>> statistics = KSpaceStatistics((1, 2))
        >>> statistics.update(torch.tensor([[[[1.0 + 1j, 2.0]]], [[[3.0 + 1j, 2.0]]]]))
        >>> statistics.count, statistics.mean[0, 0], statistics.variance_real[0]
        (2, tensor(2.+1.j, dtype=torch.complex128), tensor([1., 0.], dtype=torch.float64))
    """

    def __init__(self, grid: Sequence[int]) -> None:
        self.grid = tuple(int(n) for n in grid)
        if not self.grid or min(self.grid) < 1:
            raise ValueError(f"grid must hold positive axis sizes, got {self.grid}.")
        self.count = 0
        self.checksum: str | None = _NO_IMAGES
        # rows: mean and sum of squared deviations of the real and of the imaginary part, mean magnitude
        self._state = torch.zeros((len(_ARRAYS), *self.grid), dtype=torch.float64)
        self._peaks = 0.0  # sum over the images

    @property
    def mean(self) -> Tensor:
        """Mean, complex128, shape ``grid``."""
        self._require_data()
        return torch.complex(self._state[0], self._state[1])

    @property
    def variance_real(self) -> Tensor:
        """Variance of the real part (divided by ``count``, not ``count - 1``), float64, shape ``grid``."""
        self._require_data()
        return self._state[2] / self.count

    @property
    def variance_imag(self) -> Tensor:
        """Variance of the imaginary part (divided by ``count``), float64, shape ``grid``."""
        self._require_data()
        return self._state[3] / self.count

    @property
    def mean_magnitude(self) -> Tensor:
        """Mean of the magnitude, float64, shape ``grid``: the spectrum from which policies start."""
        self._require_data()
        return self._state[4].clone()

    @property
    def mean_peak(self) -> float:
        """Mean over the images of their largest magnitude, which noise is stated relative to."""
        self._require_data()
        return self._peaks / self.count

    @takes(kspace="complex")
    def update(self, kspace: Tensor) -> None:
        """Add a batch.

        Args:
            kspace: fully sampled, complex, centred, shape (batch, 1, *grid).

        Raises:
            ValueError: if ``kspace`` is not complex, not of this shape, empty, or holds NaN or Inf. Nothing is added
                then.
        """
        self._check(kspace, "kspace")
        self._add(batch_moments(kspace.detach()[:, 0].cpu()), kspace.shape[0], "kspace")
        self._add_peaks(kspace_to_image(kspace, len(self.grid)))
        self.checksum = None

    def merge(self, other: KSpaceStatistics) -> KSpaceStatistics:
        """Statistics of both data sets together; neither is changed.

        Raises:
            ValueError: if the grids differ.
        """
        if other.grid != self.grid:
            raise ValueError(f"other must have the grid {self.grid}, got {other.grid}.")
        merged = KSpaceStatistics(self.grid)
        for part in (self, other):
            if part.count:
                merged._add(part._state, part.count, "other")
                merged._peaks += part._peaks
        merged.checksum = None
        if self.checksum is not None and other.checksum is not None:
            checksum = ImageChecksum(self.checksum)
            checksum.merge(ImageChecksum(other.checksum))
            merged.checksum = checksum.hexdigest()
        return merged

    def _check(self, batch: Tensor, name: str) -> None:
        if batch.ndim != len(self.grid) + 2 or batch.shape[1] != 1 or tuple(batch.shape[2:]) != self.grid:
            raise ValueError(f"{name} must have shape (batch, 1, *{self.grid}), got {tuple(batch.shape)}.")
        if batch.shape[0] == 0:
            raise ValueError(f"{name} must hold at least one sample, got an empty batch.")

    def _add(self, state: Tensor, count: int, name: str) -> None:
        """Chan's update: M2 = M2_a + M2_b + delta^2 n_a n_b / (n_a + n_b)."""
        if not math.isfinite(float(state.sum())):
            raise ValueError(f"{name} must be finite, got NaN or Inf.")
        total = self.count + count
        difference = state - self._state
        squares = self._state[2:4] + state[2:4] + difference[:2].square() * (self.count * count / total)
        self._state = self._state + difference * (count / total)
        self._state[2:4] = squares
        self.count = total

    def _add_peaks(self, images: Tensor) -> None:
        self._peaks += float(peak_magnitude(images.detach(), len(self.grid)).double().sum())

    def _require_data(self) -> None:
        if self.count == 0:
            raise ValueError("there are no statistics yet: update was never called.")

    @classmethod
    def from_images(cls, images: Iterable[Tensor], spatial_dims: int = 2) -> KSpaceStatistics:
        """Statistics of the transforms of images.

        Args:
            images: real or complex, each (1, *grid) or a batch (batch, 1, *grid), all of one grid.
            spatial_dims: number of spatial axes.

        Raises:
            ValueError: if there is no image, or shapes differ or do not fit.
        """
        whole: KSpaceStatistics | None = None
        checksum = ImageChecksum()
        for batch in gather_batches(images, spatial_dims):
            if whole is None:
                whole, half = cls(batch.shape[2:]), cls((*batch.shape[2:-1], batch.shape[-1] // 2 + 1))
            whole._check(batch, "images")
            checksum.update(batch)
            batch = as_numbers(batch, "image")
            samples = batch.detach()[:, 0].cpu()
            if samples.is_complex():
                whole._add(batch_moments(image_to_kspace(samples, spatial_dims)), samples.shape[0], "images")
            else:
                half._add(batch_moments(half_kspace(samples)), samples.shape[0], "images")
            whole._add_peaks(batch)
        if whole is None:
            raise ValueError("images is empty; give at least one image.")
        if half.count:
            whole._add(whole_moments(half._state, whole.grid[-1]), half.count, "images")
        whole.checksum = checksum.hexdigest()
        return whole

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an ``.npz`` file (the path is taken as it is)."""
        arrays = dict(zip(_ARRAYS, self._state.numpy(), strict=True))
        with atomic_path(path) as part, part.open("wb") as file:
            arrays |= {"count": np.int64(self.count), "peaks": np.float64(self._peaks)}
            np.savez_compressed(file, checksum=np.str_(self.checksum or ""), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KSpaceStatistics:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is damaged, lacks an array, or its arrays do not fit one another.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"k-space statistics {path} do not exist or are not a file.")
        try:
            with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
                count = int(file["count"])
                checksum = str(file["checksum"]) if "checksum" in file else ""
                state = np.stack([file[name] for name in _ARRAYS]).astype(np.float64)
                peaks = float(file["peaks"]) if "peaks" in file else None
        except Exception as error:  # NumPy passes on what zip files, the decompressor and Python's own parser raise
            if is_of_disk(error):
                raise
            raise ValueError(f"{path} does not hold k-space statistics as save writes them: {error}") from error
        if peaks is None:
            raise ValueError(
                f"{path} is of an earlier version, without the images' peaks; delete it and compute it anew."
            )
        if count < 0 or not np.isfinite(state).all() or (state[2:] < 0).any() or not 0 <= peaks < math.inf:
            raise ValueError(f"{path} holds impossible k-space statistics (negative or not finite).")
        if checksum and (len(checksum) != len(_NO_IMAGES) or not set(checksum) <= set(string.hexdigits)):
            raise ValueError(f"{path} does not hold a checksum as save writes it.")
        statistics = cls(state.shape[1:])
        statistics.count, statistics._state, statistics._peaks = count, torch.from_numpy(state), peaks
        statistics.checksum = checksum or None
        return statistics
