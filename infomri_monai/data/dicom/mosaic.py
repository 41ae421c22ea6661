"""Siemens mosaics: all slices of a volume as tiles of one picture, unpacked by what the private header says."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from infomri_monai.data.dicom.quiet import DicomError

__all__ = ["Mosaic", "mosaic_of", "unpacked"]


class Mosaic(NamedTuple):
    """How a picture is made of tiles.

    Attributes:
        slices: their number; row by row from the upper left tile.
        side: tiles along each axis.
        normal: unit vector from a slice to the next, LPS.
        spacing: distance of slices, mm.
    """

    slices: int
    side: int
    normal: NDArray[np.float64]
    spacing: float

    def corner(self, shape: tuple[int, int], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far the first pixel of the first slice lies from ImagePositionPatient, along a row and a column, mm.

        Siemens states where the corner would be, were the whole mosaic one slice about the centre of the true one.

        Args:
            shape: rows and columns of the mosaic.
            spacing: of rows, of columns.
        """
        (rows, columns), share = shape, (1 - 1 / self.side) / 2
        return np.array([columns * share * spacing[1], rows * share * spacing[0]])


def mosaic_of(dataset: Dataset) -> Mosaic | None:
    """Read how a Siemens mosaic is made.

    Args:
        dataset: classic MR instance.

    Returns:
        None if it is no mosaic.

    Raises:
        DicomError: if it is one, by its image type or its private header, and the private (CSA) header does not hold the
            number of slices and their normal, or they do not fit the picture.

    Example:
        >>> mosaic_of(Dataset()) is None
        True

    References:
        nibabel, "Siemens mosaic format" and its ``MosaicWrapper``, which the tests compare with.
    """
    named = "MOSAIC" in [str(word).upper() for word in dataset.get("ImageType") or ()]
    if not named and (0x29, 0x10) not in dataset:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel says that its module is experimental
        from nibabel.nicom import csareader
    try:
        header: Any = csareader.get_csa_header(dataset)
        found = bool(csareader.is_mosaic(header))
        slices, normal = (csareader.get_n_mosaic(header), csareader.get_slice_normal(header)) if header else (0, None)
    except Exception:  # the reader of the private header raises whatever damaged bytes lead to
        found, slices, normal = False, 0, None
    if not (named or found):
        return None
    spacing = float(dataset.get("SpacingBetweenSlices") or 0)
    if not slices or slices < 1 or normal is None or not math.isclose(np.linalg.norm(normal), 1, abs_tol=1e-3):
        raise DicomError(
            "the image is a Siemens mosaic (all slices in one picture), and its private header does not say how many "
            "slices there are and where they lie; have it sent with private tags, or as single slices or enhanced MR."
        )
    if not spacing > 0:
        raise DicomError("the image is a Siemens mosaic without SpacingBetweenSlices; have it sent as single slices.")
    side = math.ceil(math.sqrt(slices))
    if dataset.Rows % side or dataset.Columns % side:
        raise DicomError(f"the image is a Siemens mosaic of {slices} slices, which do not fit its rows and columns.")
    return Mosaic(int(slices), side, np.asarray(normal, dtype=np.float64), spacing)


def unpacked(picture: NDArray[Any], slices: int) -> NDArray[Any]:
    """Cut a mosaic into its slices.

    Args:
        picture: shape (rows, columns).
        slices: their number; tiles beyond it must be empty.

    Returns:
        Shape (slices, rows / side, columns / side).

    Raises:
        DicomError: if a tile beyond the last slice is not empty.

    Example:
        >>> unpacked(np.arange(16).reshape(4, 4) * [[1], [1], [0], [0]], 2)[1].tolist()
        [[2, 3], [6, 7]]
    """
    side = math.ceil(math.sqrt(slices))
    rows, columns = (n // side for n in picture.shape)
    tiles = picture.reshape(side, rows, side, columns).swapaxes(1, 2).reshape(-1, rows, columns)
    if np.nan_to_num(tiles[slices:]).any():
        raise DicomError(f"the Siemens mosaic holds more than the {slices} slices that its private header announces.")
    return tiles[:slices]
