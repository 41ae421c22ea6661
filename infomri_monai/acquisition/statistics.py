"""Mean and variance of k-space per position over a data set, streamed."""

from __future__ import annotations

import math
import os
import string
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infomri_monai.acquisition.checksum import ImageChecksum
from infomri_monai.acquisition.fourier import image_to_kspace
from infomri_monai.acquisition.streaming import batch_moments, gather_batches, half_kspace, whole_moments
from infomri_monai.atomic import atomic_path

__all__ = ["KSpaceStatistics"]

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

    def update(self, kspace: Tensor) -> None:
        """Add a batch.

        Args:
            kspace: fully sampled, complex, centred, shape (batch, 1, *grid).

        Raises:
            ValueError: if ``kspace`` is not complex, not of this shape, empty, or holds NaN or Inf. Nothing is added
                then.
        """
        if not kspace.is_complex():
            raise ValueError(f"kspace must be complex, got {kspace.dtype}.")
        self._check(kspace, "kspace")
        self._add(batch_moments(kspace.detach()[:, 0].cpu()), kspace.shape[0], "kspace")
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
            samples = batch.detach()[:, 0].cpu()
            if samples.is_complex():
                whole._add(batch_moments(image_to_kspace(samples, spatial_dims)), samples.shape[0], "images")
            else:
                half._add(batch_moments(half_kspace(samples)), samples.shape[0], "images")
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
            np.savez_compressed(file, count=np.int64(self.count), checksum=np.str_(self.checksum or ""), **arrays)

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
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} does not hold k-space statistics as save writes them: {error}") from error
        if count < 0 or not np.isfinite(state).all() or (state[2:] < 0).any():
            raise ValueError(f"{path} holds impossible k-space statistics (negative or not finite).")
        if checksum and (len(checksum) != len(_NO_IMAGES) or not set(checksum) <= set(string.hexdigits)):
            raise ValueError(f"{path} does not hold a checksum as save writes it.")
        statistics = cls(state.shape[1:])
        statistics.count, statistics._state = count, torch.from_numpy(state)
        statistics.checksum = checksum or None
        return statistics
