"""Between the results of a bundle and the DICOM writers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from infomri_monai.deploy.bundle import DeployBundle
from infomri_monai.deploy.case import CaseSource, DeployCase

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["as_reference", "slice_names", "volume_of"]


def volume_of(map_: Tensor, case: DeployCase, bundle: DeployBundle, leading: int = 0) -> NDArray[Any]:
    """A map of a result in the layout of its case.

    Args:
        map_: shape (*leading, height, width[, slices]), on the CPU.
        case: what it is of.
        bundle: may have been given images with swapped axes. Of raw k-space without geometry the readout runs down, as in
            fastMRI's arrays (height, width); with a geometry it runs along the rows, and the geometry says where that is.
        leading: number of axes before the spatial ones.

    Returns:
        Shape (*leading, columns, rows, slices).
    """
    array = map_.numpy()
    array = array[..., np.newaxis] if array.ndim == 2 + leading else array
    turned = bundle.swap_axes if case.domain == "image" else not case.has_geometry
    return array.swapaxes(leading, leading + 1) if turned else array


def slice_names(folder: str, series: Sequence[Dataset]) -> dict[str, Dataset]:
    """File names of a series' instances below a folder, numbered from 1."""
    return {f"{folder}/slice_{number:04d}.dcm": instance for number, instance in enumerate(series, 1)}


def as_reference(series: Sequence[Dataset], source: CaseSource) -> CaseSource:
    """A series that was just made as the source of further objects, for raw k-space, which has no instances."""
    return CaseSource(tuple(series), source.attributes)
