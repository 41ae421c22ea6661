"""The MNI152 template that nilearn ships, as axial slices to deform; nothing is downloaded."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

ndimage, _ = optional_import("scipy.ndimage")

__all__ = ["TEMPLATE_SLICES", "template_slice"]

#: axial slices (1 mm apart) that hold both hemispheres and ventricles or centrum semiovale
TEMPLATE_SLICES = (60, 124)


@lru_cache(maxsize=1)
def _template() -> tuple[NDArray, NDArray, NDArray]:
    """T1 intensity, grey and white matter probability at 1 mm, each (x, y, z) float32 in [0, 1]."""
    datasets, _ = optional_import("nilearn.datasets")  # here, because its import takes seconds
    loaders = (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    t1, grey, white = (load(resolution=1).get_fdata(dtype=np.float32) for load in loaders)
    return t1, grey, white


@lru_cache(maxsize=128)
def template_slice(index: int) -> NDArray[np.float32]:
    """One axial slice of the template, anterior at the top.

    Args:
        index: slice in ``TEMPLATE_SLICES``, in millimetres above the volume's lower end.

    Returns:
        float32, shape (4, height, width) at 1 mm: T1 intensity, grey and white matter probability, signed distance in
        millimetres to the brain's surface (negative inside), with the brain's centre in the middle.

    Raises:
        ValueError: if ``index`` lies outside ``TEMPLATE_SLICES``.
        monai.utils.OptionalImportError: if nilearn is not installed (extra ``data``).

    Example:
        >>> t1, grey, white, distance = template_slice(90)
        >>> bool(distance.min() < -30 and grey.max() <= 1)
        True
    """
    first, last = TEMPLATE_SLICES
    if not first <= index <= last:
        raise ValueError(f"index must lie in [{first}, {last}], got {index}.")
    t1, grey, white = (volume[:, ::-1, index].T for volume in _template())
    brain = ndimage.binary_fill_holes(t1 > 0.05)
    distance = ndimage.distance_transform_edt(~brain) - ndimage.distance_transform_edt(brain)
    maps = np.stack([t1, grey, white, distance]).astype(np.float32)
    shift = [round(n / 2 - c) for n, c in zip(brain.shape, ndimage.center_of_mass(brain), strict=True)]
    return np.roll(maps, shift, axis=(1, 2))
