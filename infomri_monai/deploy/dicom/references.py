"""References of derived objects to the slices they were derived from.

Also here: What highdicom's constructors take: stand-ins for source instances, without identifiers and with the case's
geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.deploy.case import Derivation
from infomri_monai.deploy.dicom.common import copy_elements, equipment, item, new_uid, unnamed
from infomri_monai.deploy.dicom.geometry import SliceGeometry, decimal

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SliceReference", "identity_arguments", "slice_references", "source_image_item", "source_proxies"]

pydicom, _ = optional_import("pydicom")


class SliceReference(NamedTuple):
    """Where a slice of the case came from.

    Attributes:
        instance: the DICOM instance.
        frame: number of its frame, from 1; None where it has a single one.
    """

    instance: Any
    frame: int | None

    @property
    def position(self) -> NDArray[np.float64] | None:
        """ImagePositionPatient, shape (3,), or None where there is none."""
        position = self._geometry("PlanePositionSequence", "ImagePositionPatient")
        return np.array([float(value) for value in position]) if position else None

    @property
    def thickness(self) -> float | None:
        """SliceThickness in mm, or None where there is none."""
        return self._geometry("PixelMeasuresSequence", "SliceThickness") or None

    def _geometry(self, macro: str, keyword: str) -> Any:
        """An attribute of the slice: of the instance, or of the frame's own or else the shared macro."""
        if self.frame is None:
            return self.instance.get(keyword)
        groups = list(self.instance.get("PerFrameFunctionalGroupsSequence", []))[self.frame - 1 : self.frame]
        groups += list(self.instance.get("SharedFunctionalGroupsSequence", []))
        items = [item for group in groups for item in group.get(macro, []) if item.get(keyword)]
        return items[0].get(keyword) if items else None


def slice_references(
    instances: Sequence[Any], frames: Sequence[int], geometry: SliceGeometry, grid: tuple[int, int]
) -> list[SliceReference]:
    """The source of every slice, checked against the grid.

    Args:
        instances: one per slice, or a single multi-frame instance; in the order of the case's slices.
        frames: of a multi-frame instance, the number of every slice's frame, from 1; empty for single frames.
        geometry: of the case.
        grid: (rows, columns) of the case.

    Returns:
        One reference per slice, in the order of the case's slices.

    Raises:
        ValueError: if their number or size is not the case's, or an instance says that its slice lies elsewhere, by more than half
            of the smallest distance of pixels and slices.

    Example:
        >>> from infomri_monai.deploy.dicom.geometry import slice_geometry
        >>> instance = pydicom.Dataset()
        >>> instance.Rows, instance.Columns = 4, 6
        >>> slice_references([instance], [2], slice_geometry(np.eye(4), 1), (4, 6))[0].frame
        2
    """
    slices = len(geometry.positions)
    pairs = [(instances[0], n) for n in frames] if len(frames) else [(instance, None) for instance in instances]
    if len(pairs) != slices or (len(frames) and len(instances) != 1):
        raise ValueError(
            f"reference_instances: one instance per slice, or a multi-frame one with a frame per slice, is needed for {slices} "
            f"slices; got {len(instances)} instances and {len(frames)} frames."
        )
    references = [SliceReference(*pair) for pair in pairs]
    limit = min(*geometry.pixel_spacing, geometry.slice_spacing) / 2
    for number, (reference, position) in enumerate(zip(references, geometry.positions, strict=True), start=1):
        size = (reference.instance.get("Rows"), reference.instance.get("Columns"))
        if size != grid:
            raise ValueError(f"reference_instances: slice {number} has {size} rows and columns, the case {grid}.")
        stated = reference.position
        if stated is not None and (distance := float(np.linalg.norm(stated - position))) > limit:
            raise ValueError(
                f"reference_instances: slice {number} lies {distance:.3f} mm from where the affine puts it, accepted are "
                f"{limit:.3f}; is their order that of the slices?"
            )
    return references


def source_image_item(reference: SliceReference) -> Dataset:
    """An item of SourceImageSequence: the same pixels at the same places, processed.

    Example:
        >>> instance = pydicom.Dataset()
        >>> instance.SOPClassUID, instance.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "2.25.1"
        >>> source_image_item(SliceReference(instance, None)).SpatialLocationsPreserved
        'YES'

    References:
        DICOM PS3.3 2024e, C.7.6.16.2.6 (Derivation Image), PS3.16 CID 7202.
    """
    purpose = pydicom.Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = reference.instance.SOPClassUID
    item.ReferencedSOPInstanceUID = reference.instance.SOPInstanceUID
    if reference.frame is not None:
        item.ReferencedFrameNumber = reference.frame
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.SpatialLocationsPreserved = "YES"
    return item


pydicom, _ = optional_import("pydicom")


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
