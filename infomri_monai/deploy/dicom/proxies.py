"""What highdicom's constructors take: stand-ins for source instances, without identifiers and with the case's geometry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

from infomri_monai.deploy.case import Derivation
from infomri_monai.deploy.dicom.common import copy_elements, new_uid
from infomri_monai.deploy.dicom.geometry import SliceGeometry, decimal
from infomri_monai.deploy.dicom.items import item, unnamed
from infomri_monai.deploy.dicom.references import SliceReference
from infomri_monai.deploy.dicom.wording import equipment

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["identity_arguments", "source_proxies"]

COPIED = (
    "SOPClassUID SOPInstanceUID SeriesInstanceUID Rows Columns LossyImageCompression LossyImageCompressionRatio "
    "LossyImageCompressionMethod"
)


def identity_arguments(series: Dataset, derivation: Derivation) -> dict[str, Any]:
    """Which instance of which series a constructor makes, and with which equipment: the only one of its series.

    Args:
        series: from :func:`~infomri_monai.deploy.dicom.common.series_attributes`.
        derivation: names the model.

    Example:
        >>> from infomri_monai.deploy.case import ModelIdentity
        >>> series = item(SeriesInstanceUID="2.25.1", SeriesNumber=901)
        >>> arguments = identity_arguments(series, Derivation("", "", False, ModelIdentity("unet", "0.2.0", "ab" * 32)))
        >>> arguments["series_number"], arguments["instance_number"], arguments["manufacturer_model_name"]
        (901, 1, 'unet')
    """
    return {
        "series_instance_uid": series.SeriesInstanceUID,
        "series_number": int(series.SeriesNumber),
        "sop_instance_uid": new_uid(),
        "instance_number": 1,
        **equipment(derivation),
    }


def source_proxies(references: Sequence[SliceReference], geometry: SliceGeometry, series: Dataset) -> list[Dataset]:
    """Datasets to give to highdicom as source images, in the place of the real ones.

    Real headers may hold what highdicom refuses (PatientSex U, orientations per frame, frames that are not of the case) or quotes
    in warnings. The result's geometry becomes exactly that of the case.

    Args:
        references: the slices of the case, as they shall follow one another.
        geometry: of the case; its positions in the same order as ``references``.
        series: of the new object, from :func:`~infomri_monai.deploy.dicom.common.series_attributes`.

    Returns:
        One dataset per slice, or a single multi-frame one, whose frame k is slice k whatever its number in the source.

    Example:
        >>> import numpy as np
        >>> from infomri_monai.deploy.dicom.geometry import slice_geometry
        >>> instance, series = pydicom.Dataset(), pydicom.Dataset()
        >>> instance.SOPClassUID, instance.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "2.25.1"
        >>> instance.SeriesInstanceUID = "2.25.2"
        >>> series.StudyInstanceUID, series.FrameOfReferenceUID = "2.25.3", "2.25.4"
        >>> proxies = source_proxies([SliceReference(instance, None)], slice_geometry(np.diag([1, 1, 5, 1]), 1), series)
        >>> len(proxies), [float(value) for value in proxies[0].PixelSpacing], proxies[0].PatientName
        (1, [1.0, 1.0], '')
    """
    first = references[0].instance
    orientation = [decimal(value) for value in geometry.orientation]
    spacing = [decimal(value) for value in geometry.pixel_spacing]
    positions = [[decimal(value) for value in position] for position in geometry.positions]
    if references[0].frame is None:
        proxies = [_stand_in(reference.instance, series) for reference in references]
        for proxy, reference, position in zip(proxies, references, positions, strict=True):
            proxy.ImageOrientationPatient, proxy.ImagePositionPatient, proxy.PixelSpacing = (
                orientation,
                position,
                spacing,
            )
            proxy.SliceThickness = reference.thickness or decimal(geometry.slice_spacing)
            proxy.SpacingBetweenSlices = decimal(geometry.slice_spacing)
        return proxies
    proxy = _stand_in(first, series)
    proxy.NumberOfFrames = len(references)
    thickness = references[0].thickness or decimal(geometry.slice_spacing)
    measures = {"PixelSpacing": spacing, "SliceThickness": thickness}
    measures["SpacingBetweenSlices"] = decimal(geometry.slice_spacing)
    proxy.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(**measures)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=orientation)],
        )
    ]
    proxy.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=position)]) for position in positions
    ]
    return [proxy]


def _stand_in(instance: Any, series: Dataset) -> Dataset:
    """Identity of an instance without that of the patient."""
    proxy = unnamed(StudyInstanceUID=series.StudyInstanceUID, FrameOfReferenceUID=series.FrameOfReferenceUID)
    copy_elements(proxy, [instance], COPIED.split())
    return proxy
