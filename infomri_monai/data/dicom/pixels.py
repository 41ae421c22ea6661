"""The stored values of a DICOM image, decoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, AllTransferSyntaxes

from infomri_monai.data.dicom.quiet import DicomError

__all__ = ["stored_frames"]


def stored_frames(dataset: Dataset) -> NDArray[np.float64]:
    """The stored values of an instance, before rescaling. To be called within ``quiet``.

    MONOCHROME1 is inverted, ``2**BitsStored - 1 - value``, as ITK does, so that bright means high.

    Args:
        dataset: greyscale instance with file meta information; a compressed one is decoded if a decoder is installed.

    Returns:
        float64, shape (frames, rows, columns); NaN where PixelPaddingValue says that there is no pixel.

    Raises:
        DicomError: if the transfer syntax cannot be decoded (names it and the ones that can), or the pixel data are missing,
            truncated or damaged.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> stored_frames(example_datasets("enhanced", slices=2, grid=(48, 32))[0]).shape
        (2, 32, 48)
    """
    _check_decodable(dataset)
    try:
        _check_length(dataset)
        values = np.asarray(dataset.pixel_array)
    except DicomError:
        raise
    except Exception as error:  # decoders raise what they like, and pydicom quotes the header
        raise DicomError(
            f"the pixel data of an image cannot be decoded ({type(error).__name__}): truncated, damaged, or compressed in a way "
            "that the installed decoders do not know."
        ) from None
    frames = values.reshape(-1, int(dataset.Rows), int(dataset.Columns)).astype(np.float64)
    padding = _padding(dataset, frames)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        if dataset.PixelRepresentation:
            raise DicomError("MONOCHROME1 with signed pixels is not accepted; convert the series to MONOCHROME2.")
        frames = 2.0 ** int(dataset.BitsStored) - 1 - frames
    frames[padding] = np.nan
    return frames


def _check_decodable(dataset: Dataset) -> None:
    if _decodable(syntax := UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))):
        return
    accepted = sorted(known.name for known in AllTransferSyntaxes if _decodable(known))
    found = syntax.name if syntax in AllTransferSyntaxes else "unknown"
    raise DicomError(
        f"the transfer syntax of an image ({found}) cannot be decoded here; accepted: {', '.join(accepted)}. "
        "Have it sent uncompressed, or install pylibjpeg with its plug-ins."
    )


def _check_length(dataset: Dataset) -> None:
    """Raise if there are fewer bytes than uncompressed pixels take."""
    expected, found = get_expected_length(dataset), len(dataset.PixelData)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and found < expected:
        raise DicomError(f"the pixel data of an image are truncated: {found} of {expected} bytes are there.")


def _decodable(syntax: UID) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _padding(dataset: Dataset, frames: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which stored values stand for no pixel."""
    if dataset.get("PixelPaddingValue") is None:
        return np.zeros(frames.shape, dtype=bool)
    limits = sorted(
        (int(dataset.PixelPaddingValue), int(dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)))
    )
    return (frames >= limits[0]) & (frames <= limits[1])
