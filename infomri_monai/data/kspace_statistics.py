"""k-space statistics of a data list, kept in a file that knows its data; the entropy estimate and the spectrum made from them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from infomri_monai.acquisition import ComplexGaussianNoise, ImageChecksum, KSpaceStatistics
from infomri_monai.acquisition.statistics import gather_batches
from infomri_monai.arrays import as_tensor
from infomri_monai.information import MarginalEntropy

__all__ = ["kspace_statistics", "load_kspace_statistics", "marginal_entropy_of", "mean_kspace_magnitude"]

_LOGGER = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0


def kspace_statistics(
    data: Iterable[Mapping[str, Any]],
    cache: str | os.PathLike[str] | None = None,
    image_key: str = "image",
    spatial_dims: int = 2,
) -> KSpaceStatistics:
    """Mean and variance of k-space at every position over a data list (equation 33), streamed.

    With a cache the data are still read once, for their checksum, but not transformed. The order of the data does not matter.
    A random augmentation gives other images every time, which no cache fits. Long work logs its progress.

    Args:
        data: items holding an image (1, *spatial) as array or tensor under ``image_key``, all of one grid. Only training data:
            statistics of test data in a training run would leak.
        cache: ``.npz`` file; loaded if it is there and its checksum is the data's, written if it is not there; None for none.
        image_key: key of the image.
        spatial_dims: number of spatial axes.

    Returns:
        The statistics, with the checksum of the data.

    Raises:
        ValueError: if the data list is empty, lacks the key, the grids differ, an image is not finite, or ``cache`` is damaged or
            belongs to another data set or grid (the file is named and left as it is).

    Example:
        >>> import tempfile, torch
        >>> data, cache = [{"image": torch.rand(1, 4, 4)} for _ in range(3)], Path(tempfile.mkdtemp()) / "statistics.npz"
        >>> kspace_statistics(data, cache).count, cache.is_file()
        (3, True)
        >>> kspace_statistics(data[:2], cache)
        Traceback (most recent call last):
        ValueError: cache ...statistics.npz belongs to another data set: it was computed from 3 images, ...
    """
    images = _with_progress(_images(data, image_key))
    if cache is not None and Path(cache).exists():
        statistics = KSpaceStatistics.load(cache)
        _check_cache(statistics, images, spatial_dims, cache)
        return statistics
    statistics = KSpaceStatistics.from_images(images, spatial_dims)
    if cache is not None:
        statistics.save(cache)
    return statistics


def load_kspace_statistics(
    path: str | os.PathLike[str],
    data: Iterable[Mapping[str, Any]] | None = None,
    image_key: str = "image",
    spatial_dims: int = 2,
) -> KSpaceStatistics:
    """Load the statistics that a training wrote, and compare them with the training's data.

    Args:
        path: ``.npz`` file.
        data: the training data, read once for its checksum; None trusts the file.
        image_key: key of the image.
        spatial_dims: number of spatial axes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or belongs to another data set or grid.

    Example:
        >>> import tempfile, torch
        >>> data, path = [{"image": torch.rand(1, 4, 4)} for _ in range(3)], Path(tempfile.mkdtemp()) / "statistics.npz"
        >>> _ = kspace_statistics(data, path)
        >>> load_kspace_statistics(path, data).count
        3
    """
    statistics = KSpaceStatistics.load(path)
    if data is not None:
        _check_cache(statistics, _with_progress(_images(data, image_key)), spatial_dims, path)
    return statistics


def marginal_entropy_of(statistics: KSpaceStatistics, noise: ComplexGaussianNoise) -> MarginalEntropy:
    """Make the estimate Ĥ(Y|m) for a measurement's noise.

    Noise that is relative to each image's own peak or DC magnitude has one standard deviation here: ``noise_std`` times the mean
    of these over the statistics' images.

    Args:
        statistics: of the training set.
        noise: the measurement's noise model.

    Raises:
        TypeError: if ``noise`` is not complex Gaussian: equations (34) and (35) hold for no other.
        ValueError: if the noise is zero, or there are no statistics.

    Example:
        >>> import torch
        >>> statistics = KSpaceStatistics.from_images([torch.rand(1, 4, 4) for _ in range(9)])
        >>> entropy = marginal_entropy_of(statistics, ComplexGaussianNoise(0.1, reference="absolute"))
        >>> entropy.grid, entropy.noise_std
        ((4, 4), 0.1)
    """
    if not isinstance(noise, ComplexGaussianNoise):
        raise TypeError(
            f"noise must be ComplexGaussianNoise, got {type(noise).__name__}: the marginal entropy of equations (34) and (35) "
            "is that of k-space with complex Gaussian noise."
        )
    noise_std = noise.noise_std
    if noise.reference == "peak":
        noise_std *= statistics.mean_peak
    elif noise.reference == "dc":
        noise_std *= float(statistics.mean_magnitude[tuple(n // 2 for n in statistics.grid)])
    return MarginalEntropy(statistics.variance_real, statistics.variance_imag, noise_std)


def _images(data: Iterable[Mapping[str, Any]], image_key: str) -> Iterator[Tensor]:
    """Images as plain tensors: a MetaTensor's bookkeeping would be paid for at every step."""
    for item in data:
        if image_key not in item:
            raise ValueError(f"data must hold images under image_key={image_key!r}, got {', '.join(map(str, item))}.")
        yield as_tensor(item[image_key], image_key).as_subclass(Tensor)


def _with_progress(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """Log how many images were read, every some seconds."""
    start = last = time.monotonic()
    for count, image in enumerate(images):
        yield image
        now = time.monotonic()
        if now - last > _SECONDS_BETWEEN_LINES:
            _LOGGER.info("k-space statistics: %d images in %.0f s", count + 1, now - start)
            last = now


def _check_cache(
    statistics: KSpaceStatistics, images: Iterable[Tensor], spatial_dims: int, cache: str | os.PathLike[str]
) -> None:
    """Compare a cache with the data; another grid is refused at the first image."""
    if statistics.checksum is None:
        raise ValueError(f"cache {cache} does not say which data it was computed from; give another path.")
    checksum, count = ImageChecksum(), 0
    for batch in gather_batches(images, spatial_dims):
        if tuple(batch.shape[2:]) != statistics.grid:
            raise ValueError(
                f"cache {cache} belongs to the grid {statistics.grid}, the data have {tuple(batch.shape[2:])}; give another "
                "path, or delete the file."
            )
        checksum.update(batch)
        count += batch.shape[0]
    if checksum.hexdigest() != statistics.checksum:
        raise ValueError(
            f"cache {cache} belongs to another data set: it was computed from {statistics.count} images, checksum "
            f"{statistics.checksum[:12]}..., the data are {count} images, {checksum.hexdigest()[:12]}...; give another path, or "
            "delete the file."
        )


def mean_kspace_magnitude(data: Iterable[Mapping[str, Any]], image_key: str = "image", spatial_dims: int = 2) -> Tensor:
    """Mean over a data list of the k-space magnitude of its images.

    Args:
        data: items holding an image (1, *spatial) as array or tensor under ``image_key``, all of one grid.
        image_key: key of the image.
        spatial_dims: number of spatial axes.

    Returns:
        Real tensor, shape ``spatial``, centred.

    Raises:
        ValueError: if the data list is empty or the grids differ.

    Example:
        >>> import torch
        >>> mean_kspace_magnitude([{"image": torch.ones(1, 4, 4)}])[2, 2]
        tensor(4.)
    """
    return kspace_statistics(data, image_key=image_key, spatial_dims=spatial_dims).mean_magnitude.float()
