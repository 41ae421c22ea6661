"""Mean and variance of k-space per position over a data set, streamed."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from infomri_monai.acquisition.fourier import image_to_kspace
from infomri_monai.atomic import atomic_path

__all__ = ["KSpaceStatistics"]

_ARRAYS = ("mean_real", "mean_imag", "squares_real", "squares_imag", "mean_magnitude")


class KSpaceStatistics:
    """Mean and variance of fully sampled k-space at every position, per real component (equation 33).

    Batches are merged by the parallel form of Welford's recursion in float64 (squared deviations from the running mean,
    never sums of squares), so that the result does not depend on the batch size or the order, and no data set has to
    fit in memory.

    Args:
        grid: spatial grid, e.g. ``(128, 128)``.

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
        if kspace.ndim != len(self.grid) + 2 or kspace.shape[1] != 1 or tuple(kspace.shape[2:]) != self.grid:
            raise ValueError(f"kspace must have shape (batch, 1, *{self.grid}), got {tuple(kspace.shape)}.")
        if kspace.shape[0] == 0:
            raise ValueError("kspace must hold at least one sample, got an empty batch.")
        y = kspace.detach()[:, 0].to("cpu", torch.complex128)
        if not bool(torch.isfinite(torch.view_as_real(y)).all()):
            raise ValueError("kspace must be finite, got NaN or Inf.")
        mean = y.mean(0)
        deviation = y - mean
        state = (mean.real, mean.imag, deviation.real.square().sum(0), deviation.imag.square().sum(0), y.abs().mean(0))
        self._add(torch.stack(state), y.shape[0])

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
                merged._add(part._state, part.count)
        return merged

    def _add(self, state: Tensor, count: int) -> None:
        """Chan's update: M2 = M2_a + M2_b + delta^2 n_a n_b / (n_a + n_b)."""
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
        statistics: KSpaceStatistics | None = None
        for image in images:
            if image.ndim not in (spatial_dims + 1, spatial_dims + 2):
                raise ValueError(
                    f"images must have shape (1, *grid) or (batch, 1, *grid) with {spatial_dims} spatial axes, "
                    f"got {tuple(image.shape)}."
                )
            batch = image if image.ndim == spatial_dims + 2 else image.unsqueeze(0)
            statistics = statistics or cls(batch.shape[2:])
            statistics.update(image_to_kspace(batch, spatial_dims))
        if statistics is None:
            raise ValueError("images is empty; give at least one image.")
        return statistics

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an ``.npz`` file (the path is taken as it is)."""
        arrays = dict(zip(_ARRAYS, self._state.numpy(), strict=True))
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez_compressed(file, count=np.int64(self.count), **arrays)

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
                state = np.stack([file[name] for name in _ARRAYS]).astype(np.float64)
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} does not hold k-space statistics as save writes them: {error}") from error
        if count < 0 or not np.isfinite(state).all() or (state[2:] < 0).any():
            raise ValueError(f"{path} holds impossible k-space statistics (negative or not finite).")
        statistics = cls(state.shape[1:])
        statistics.count, statistics._state = count, torch.from_numpy(state)
        return statistics
