"""The training set's mean k-space magnitude, from which policies start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from infomri_monai.data.kspace_statistics import kspace_statistics

__all__ = ["mean_kspace_magnitude"]


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
