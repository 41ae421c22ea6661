"""A volume as a classic DICOM MR series, one instance a slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import ArrayLike, NDArray

from infomri_monai.deploy.case import CaseSource, Derivation
from infomri_monai.deploy.dicom.common import copied, new_uid, series_attributes
from infomri_monai.deploy.dicom.geometry import SliceGeometry, decimal, dicom_frames, slice_geometry
from infomri_monai.deploy.dicom.guard import guarded
from infomri_monai.deploy.dicom.mr_attributes import mr_attributes
from infomri_monai.deploy.dicom.quantise import quantise
from infomri_monai.deploy.dicom.references import SliceReference, slice_references, source_image_item
from infomri_monai.deploy.dicom.wording import derivation_text, image_type

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["display_window", "mr_series"]

#: the window shows the intensities between these percentiles
SHOWN = (0.5, 99.5)
#: of so many pixels, evenly spread, at most twice as many
LOOKED_AT = 100_000


def mr_series(
    image: Any, affine: ArrayLike, source: CaseSource, derivation: Derivation, series_number: int
) -> list[Dataset]:
    """Write a volume as MR Image Storage in 16 bits.

    Intensities are those of the image by RescaleSlope and RescaleIntercept, the same for all slices: exact for integers that span
    at most 65535, else off by no more than (max - min) / 65535 / 2; see :func:`~infomri_monai.deploy.dicom.quantise.quantise`.

    Args:
        image: real and finite, may be negative, shape ``(columns, rows)``, ``(columns, rows, slices)`` or
            ``(1, columns, rows, slices)``.
        affine: (column, row, slice) index to RAS in mm, 4 x 4; see
            :func:`~infomri_monai.deploy.dicom.geometry.slice_geometry` for grids that DICOM cannot describe.
        source: patient and study, attributes of the acquisition, and the instances that the slices refer to. Without instances
            (raw k-space) nothing is referred to, and acquisition attributes come from ``source.attributes`` if it has them.
        derivation: title, text, model, and whether k-space was simulated: then it says so in the series description, the
            derivation description and the fourth value of ImageType (DERIVED, SECONDARY, OTHER, SIMULATED).
        series_number: at least 1.

    Returns:
        One instance per slice, in the order of the image's slices, with file meta information. InstanceNumber counts along the
        slices' normal.

    Raises:
        ValueError: if an argument is not as said above, or the source's instances do not fit the image.
        DeployError: if an attribute of the source cannot be taken over.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> from hospital.mr_series import example_datasets
        >>> example = example_datasets(slices=2, grid=(48, 32))
        >>> affine = np.diag([-1, -1, 8, 1.0])  # not where the example lies, so it is no reference here
        >>> derivation = Derivation("InfoMRI 8x", "Posterior mean.", True, ModelIdentity("unet", "0.1.0", "0" * 64))
        >>> series = mr_series(np.ones((48, 32, 2)), affine, CaseSource((), example[0]), derivation, series_number=901)
        >>> [int(instance.InstanceNumber) for instance in series], series[0].ImageType
        ([1, 2], ['DERIVED', 'SECONDARY', 'OTHER', 'SIMULATED'])

    References:
        DICOM PS3.3 2024e, A.4 (MR Image IOD), C.8.3.1 (MR Image), C.11.1 (Modality LUT).
    """
    frames = dicom_frames(image)
    geometry = slice_geometry(affine, len(frames))
    references: list[SliceReference] | list[None] = [None] * len(frames)
    if source.instances:
        references = slice_references(source.instances, source.frames, geometry, frames.shape[1:])
    shared = series_attributes(source, derivation, series_number, "MR")
    shared.SOPClassUID = pydicom.uid.MRImageStorage
    shared.ImageType, shared.DerivationDescription = image_type(derivation), derivation_text(derivation)
    stored = _add_pixel_attributes(shared, frames)
    series = []
    with guarded("writing the MR series"):
        for index, reference in enumerate(references):
            instance = pydicom.Dataset({element.tag: copied(element) for element in shared})
            instance.update(mr_attributes(reference, source.attributes))
            _add_place(instance, geometry, index)
            if reference is not None:
                instance.SourceImageSequence = [source_image_item(reference)]
            instance.PixelData = stored[index].tobytes()
            instance["PixelData"].VR = "OW"
            series.append(_with_file_meta(instance))
    return series


def _add_pixel_attributes(shared: Dataset, frames: NDArray[Any]) -> NDArray[Any]:
    """Describe the pixels and how they are shown; returns them as stored."""
    stored, slope, intercept = quantise(frames)
    shared.SamplesPerPixel, shared.PhotometricInterpretation = 1, "MONOCHROME2"
    shared.Rows, shared.Columns = frames.shape[1:]
    shared.BitsAllocated = shared.BitsStored = 16
    shared.HighBit, shared.PixelRepresentation = 15, 0
    shared.RescaleSlope, shared.RescaleIntercept, shared.RescaleType = decimal(slope), decimal(intercept), "US"
    centre, width = display_window(frames)
    shared.WindowCenter, shared.WindowWidth = decimal(centre), decimal(width)
    shared.VOILUTFunction = "LINEAR_EXACT"
    return stored.astype("<u2")


def display_window(frames: NDArray[Any]) -> tuple[float, float]:
    """Centre and width of a window from the 0.5th to the 99.5th percentile; for VOILUTFunction LINEAR_EXACT, which may be narrow.

    Of many pixels it takes every n-th, n being odd, so that all columns of the usual sizes are among them.

    Example:
        >>> display_window(np.linspace(0, 1, 201))
        (0.5, 0.99)
    """
    some = np.asarray(frames).reshape(-1)[:: frames.size // LOOKED_AT | 1]
    low, high = (float(value) for value in np.percentile(some.astype(np.float64), SHOWN))
    width = high - low if high > low else float(frames.max()) - float(frames.min())
    return (low + high) / 2, width if width > 0 else 1.0


def _add_place(instance: Dataset, geometry: SliceGeometry, index: int) -> None:
    """Number, position and orientation of a slice."""
    position = geometry.positions[index]
    instance.SOPInstanceUID, instance.InstanceNumber = new_uid(), geometry.order.index(index) + 1
    instance.ImagePositionPatient = [decimal(value) for value in position]
    instance.ImageOrientationPatient = [decimal(value) for value in geometry.orientation]
    instance.PixelSpacing = [decimal(value) for value in geometry.pixel_spacing]
    instance.SpacingBetweenSlices = decimal(geometry.slice_spacing)
    instance.SliceLocation = decimal(float(position @ geometry.normal))
    if not instance.get("SliceThickness"):
        instance.SliceThickness = decimal(geometry.slice_spacing)


def _with_file_meta(instance: Dataset) -> Dataset:
    """The instance with file meta information, uncompressed."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    instance.file_meta = meta
    return instance
