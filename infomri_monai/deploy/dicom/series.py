"""Read one DICOM MR series as a case: an image in MONAI's layout with its geometry and its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, AllTransferSyntaxes

from infomri_monai.deploy.case import CaseSource, DeployCase, DeployError
from infomri_monai.deploy.dicom.identity import new_uid
from infomri_monai.deploy.dicom.scan import SeriesCandidate
from infomri_monai.deploy.dicom.slices import SliceHeader, stack_slices
from infomri_monai.deploy.logs import quiet

__all__ = ["case_source", "read_series", "stored_frames"]


def read_series(candidate: SeriesCandidate, number: int | None = None) -> DeployCase:
    """Read a series that :func:`~infomri_monai.deploy.dicom.scan.find_series` found.

    Array and affine are those of MONAI's ITKReader. Exceptions: pixels that are padding become 0 instead of the padding value, and
    a single slice without SpacingBetweenSlices is as thick as SliceThickness instead of 1 mm.

    Args:
        candidate: of a scan.
        number: of the case; None for the candidate's.

    Returns:
        A case of the domain "image": float32, shape (1, columns, rows, slices), in the series' units after rescaling.

    Raises:
        DeployError: if the candidate has a problem, a transfer syntax cannot be decoded, pixel data are truncated, or values are
            NaN or Inf after rescaling. The message holds no identifier.

    Example:
        >>> import tempfile
        >>> from hospital.mr_series import write_example_series
        >>> from infomri_monai.deploy.dicom.scan import find_series
        >>> folder = tempfile.mkdtemp()
        >>> _ = write_example_series(folder, slices=3, grid=(48, 32))
        >>> case = read_series(find_series(folder).candidates[0])
        >>> case.domain, tuple(case.data.shape), len(case.source.instances)
        ('image', (1, 48, 32, 3), 3)
    """
    if candidate.problem:
        raise DeployError(candidate.problem)
    start = perf_counter()
    with quiet():
        try:
            return replace(_read(candidate, start), number=number or candidate.number)
        except DeployError:
            raise
        except Exception as error:  # pydicom and the decoders quote the header
            raise DeployError(f"the series cannot be read ({type(error).__name__}).") from None


def _read(candidate: SeriesCandidate, start: float) -> DeployCase:
    datasets: list[Any] = []
    slices: list[SliceHeader] = []
    frames: list[NDArray[np.float32]] = []
    for path, headers in zip(candidate.files, candidate.slices, strict=True):
        dataset = pydicom.dcmread(path)
        frames += _rescaled(stored_frames(dataset), headers)
        slices += headers
        del dataset.PixelData
        datasets.append(dataset)
    stack = stack_slices(slices)
    volume = np.stack([frames[n].T for n in stack.order], axis=-1)[None]
    warnings = [*candidate.warnings, *_check(volume)]
    several = len(datasets) < len(slices) or "PerFrameFunctionalGroupsSequence" in datasets[0]
    numbers = tuple(n + 1 for n in stack.order) if several else ()
    ordered = datasets if several else [datasets[n] for n in stack.order]
    source, made_up = case_source(ordered, numbers)
    return DeployCase(
        number=candidate.number,
        domain="image",
        data=torch.from_numpy(np.nan_to_num(volume)),
        affine=stack.affine,
        source=source,
        warnings=(*warnings, *made_up),
        seconds={"load": perf_counter() - start},
    )


def _rescaled(stored: NDArray[np.float64], headers: Sequence[SliceHeader]) -> list[NDArray[np.float32]]:
    """Frames in the image's units; padding (NaN) becomes 0, which is where a magnitude has no signal."""
    if len(stored) != len(headers):
        raise DeployError(f"the pixel data must hold {len(headers)} frames, found {len(stored)}.")
    frames = []
    for values, header in zip(stored, headers, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.where(np.isnan(values), 0, values * header.slope + header.intercept)
            frames.append(scaled.astype(np.float32))
    return frames


def _check(volume: NDArray[np.float32]) -> list[str]:
    """Warnings about the values.

    Raises:
        DeployError: if one is NaN or Inf.
    """
    if not np.isfinite(volume).all():
        raise DeployError(
            "the image holds NaN or Inf values after rescaling; its rescale slope or intercept is damaged."
        )
    if not volume.any():
        return ["all pixels are zero."]
    empty = int((~volume.any(axis=(0, 1, 2))).sum())
    found = [f"{empty} of {volume.shape[-1]} slices are all zero."] if empty else []
    return [*found, "the image holds negative values; magnitudes have none."] if volume.min() < 0 else found


def case_source(instances: Sequence[Dataset], frames: Sequence[int] = ()) -> tuple[CaseSource, tuple[str, ...]]:
    """Make a case's source. To be called within ``quiet``.

    All values are decoded here, so that none is decoded (and perhaps quoted in a warning) later; elements that cannot be decoded
    are dropped. A missing StudyInstanceUID or FrameOfReferenceUID is made new, in the instances, too.

    Args:
        instances: without pixel data, in the order of the slices.
        frames: number (from 1) of the frame of each slice of a multi-frame instance.

    Returns:
        The source, and warnings.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> datasets = example_datasets(slices=2)
        >>> del datasets[0].FrameOfReferenceUID, datasets[1].FrameOfReferenceUID
        >>> source, warnings = case_source(datasets)
        >>> source.attributes.FrameOfReferenceUID == source.instances[1].FrameOfReferenceUID, warnings
        (True, ('FrameOfReferenceUID was missing and is made new.',))
    """
    warnings = []
    for instance in instances:
        _decode(instance)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not instances[0].get(keyword):
            new = new_uid()
            for instance in instances:
                setattr(instance, keyword, new)
            warnings.append(f"{keyword} was missing and is made new.")
    return CaseSource(tuple(instances), instances[0], tuple(frames)), tuple(warnings)


def _decode(dataset: Dataset) -> None:
    """Turn raw bytes into values, everywhere; drop what cannot be."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # damaged values raise whatever their parser does
            del dataset[tag]
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                _decode(item)


def stored_frames(dataset: Dataset) -> NDArray[np.float64]:
    """The stored values of an instance, before rescaling. To be called within ``quiet``.

    MONOCHROME1 is inverted, ``2**BitsStored - 1 - value``, as ITK does, so that bright means high.

    Args:
        dataset: greyscale instance with file meta information; a compressed one is decoded if a decoder is installed.

    Returns:
        float64, shape (frames, rows, columns); NaN where PixelPaddingValue says that there is no pixel.

    Raises:
        DeployError: if the transfer syntax cannot be decoded (names it and the ones that can), or the pixel data are missing,
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
    except DeployError:
        raise
    except Exception as error:  # decoders raise what they like, and pydicom quotes the header
        raise DeployError(
            f"the pixel data of an image cannot be decoded ({type(error).__name__}): truncated, damaged, or compressed in a way "
            "that the installed decoders do not know."
        ) from None
    frames = values.reshape(-1, int(dataset.Rows), int(dataset.Columns)).astype(np.float64)
    padding = _padding(dataset, frames)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        if dataset.PixelRepresentation:
            raise DeployError("MONOCHROME1 with signed pixels is not accepted; convert the series to MONOCHROME2.")
        frames = 2.0 ** int(dataset.BitsStored) - 1 - frames
    frames[padding] = np.nan
    return frames


def _check_decodable(dataset: Dataset) -> None:
    if _decodable(syntax := UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))):
        return
    accepted = sorted(known.name for known in AllTransferSyntaxes if _decodable(known))
    found = syntax.name if syntax in AllTransferSyntaxes else "unknown"
    raise DeployError(
        f"the transfer syntax of an image ({found}) cannot be decoded here; accepted: {', '.join(accepted)}. "
        "Have it sent uncompressed, or install pylibjpeg with its plug-ins."
    )


def _check_length(dataset: Dataset) -> None:
    """Raise if there are fewer bytes than uncompressed pixels take."""
    expected, found = get_expected_length(dataset), len(dataset.PixelData)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and found < expected:
        raise DeployError(f"the pixel data of an image are truncated: {found} of {expected} bytes are there.")


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
