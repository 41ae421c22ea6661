"""References of derived objects to the slices they were derived from, and stand-ins for these that name nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.dicom.geometry import SliceGeometry, decimal, decimals
from infomri_monai.deploy.dicom.identity import copy_elements, item, unnamed

__all__ = ["SliceReference", "slice_references", "source_image_item", "source_proxies"]

#: letter by letter, also where they are invalid: a PACS knows the source by nothing else
_KNOWN_BY = "SOPClassUID SOPInstanceUID SeriesInstanceUID"
_COPIED = "Rows Columns LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod"


class SliceReference(NamedTuple):
    """Where a slice of the case came from.

    Attributes:
        instance: the DICOM instance.
        frame: number of its frame, from 1; None where it has a single one.
        tiled: whether its only frame is a mosaic of all slices, which lies elsewhere.
    """

    instance: Any
    frame: int | None
    tiled: bool = False

    @property
    def position(self) -> NDArray[np.float64] | None:
        """ImagePositionPatient, shape (3,), or None where there is none."""
        position = None if self.tiled else self._geometry("PlanePositionSequence", "ImagePositionPatient")
        return np.array([float(value) for value in position]) if position else None

    @property
    def thickness(self) -> float | None:
        """SliceThickness in mm, or None where there is none."""
        return self._geometry("PixelMeasuresSequence", "SliceThickness") or None

    @property
    def groups(self) -> list[Dataset]:
        """Functional groups of a multi-frame instance's frame: its own, then those that all share."""
        number = self.frame or 1
        own = list(self.instance.get("PerFrameFunctionalGroupsSequence", []))[number - 1 : number]
        return [*own, *self.instance.get("SharedFunctionalGroupsSequence", [])]

    def _geometry(self, macro: str, keyword: str) -> Any:
        """An attribute of the slice: of the instance, or of the frame's macro."""
        if self.frame is None:
            return self.instance.get(keyword)
        return next((i.get(keyword) for group in self.groups for i in group.get(macro, []) if i.get(keyword)), None)


def slice_references(source: CaseSource, geometry: SliceGeometry, grid: tuple[int, ...]) -> list[SliceReference]:
    """The source of every slice, checked against the grid.

    Args:
        source: its instances, one per slice, or a single multi-frame one with the number of every slice's frame, are in the
            order of the case's slices.
        geometry: of the case.
        grid: (rows, columns) of the case.

    Returns:
        One reference per slice, in the order of the case's slices.

    Raises:
        ValueError: if their number or size is not the case's, or an instance says that its slice lies elsewhere, by more than half
            of the smallest distance of pixels and slices.

    Example:
        >>> from infomri_monai.deploy.dicom.geometry import slice_geometry
        >>> source = CaseSource((item(Rows=4, Columns=6),), None, (2,))
        >>> slice_references(source, slice_geometry(np.eye(4), 1), (4, 6))[0].frame
        2
    """
    instances, frames, slices = source.instances, source.frames, len(geometry.positions)
    if source.tiled:
        return [SliceReference(instances[0], None, tiled=True)] * slices
    pairs = [(instances[0], n) for n in frames] if frames else [(instance, None) for instance in instances]
    if len(pairs) != slices or (frames and len(instances) != 1):
        raise ValueError(
            f"source.instances: one instance per slice, or a multi-frame one with a frame per slice, is needed for {slices} "
            f"slices; got {len(instances)} instances and {len(frames)} frames."
        )
    references = [SliceReference(*pair) for pair in pairs]
    limit = min(*geometry.pixel_spacing, geometry.slice_spacing) / 2
    for number, (reference, position) in enumerate(zip(references, geometry.positions, strict=True), start=1):
        size = (reference.instance.get("Rows"), reference.instance.get("Columns"))
        if size != grid:
            raise ValueError(f"source.instances: slice {number} has {size} rows and columns, the case {grid}.")
        stated = reference.position
        if stated is not None and (distance := float(np.linalg.norm(stated - position))) > limit:
            raise ValueError(
                f"source.instances: slice {number} lies {distance:.3f} mm from where the affine puts it, accepted are "
                f"{limit:.3f}; is their order that of the slices?"
            )
    return references


def source_image_item(reference: SliceReference) -> Dataset:
    """An item of SourceImageSequence: the same pixels at the same places, processed.

    Example:
        >>> instance = item(SOPClassUID="1.2.840.10008.5.1.4.1.1.4", SOPInstanceUID="2.25.1")
        >>> source_image_item(SliceReference(instance, None)).SpatialLocationsPreserved
        'YES'

    References:
        DICOM PS3.3 2024e, C.7.6.16.2.6 (Derivation Image), PS3.16 CID 7202.
    """
    made = item(
        ReferencedSOPClassUID=reference.instance.SOPClassUID,
        ReferencedSOPInstanceUID=reference.instance.SOPInstanceUID,
        PurposeOfReferenceCodeSequence=[CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)],
        SpatialLocationsPreserved="NO" if reference.tiled else "YES",
    )
    if reference.frame is not None:
        made.ReferencedFrameNumber = reference.frame
    return made


def source_proxies(references: Sequence[SliceReference], geometry: SliceGeometry, series: Dataset) -> list[Dataset]:
    """Datasets to give to highdicom as source images, in the place of the real ones.

    Real headers may hold what highdicom refuses (PatientSex U, orientations per frame, frames that are not of the case) or quotes
    in warnings. The result's geometry becomes exactly that of the case; a ``highdicom.Volume`` would need the stand-ins as well,
    writes the slices' distance as their thickness, and takes no tilted stack.

    Args:
        references: the slices of the case, as they shall follow one another.
        geometry: of the case; its positions in the same order as ``references``.
        series: of the new object, from :func:`~infomri_monai.deploy.dicom.identity.series_attributes`.

    Returns:
        One dataset per slice, or a single multi-frame one, whose frame k is slice k whatever its number in the source.

    Example:
        >>> from infomri_monai.deploy.dicom.geometry import slice_geometry
        >>> instance = item(SOPClassUID="1.2.840.10008.5.1.4.1.1.4", SOPInstanceUID="2.25.1", SeriesInstanceUID="2.25.2")
        >>> series = item(StudyInstanceUID="2.25.3", FrameOfReferenceUID="2.25.4")
        >>> proxies = source_proxies([SliceReference(instance, None)], slice_geometry(np.diag([1, 1, 5, 1]), 1), series)
        >>> len(proxies), [float(value) for value in proxies[0].PixelSpacing], proxies[0].PatientName
        (1, [1.0, 1.0], '')
    """
    orientation = {"ImageOrientationPatient": decimals(geometry.orientation)}
    positions = [{"ImagePositionPatient": decimals(position)} for position in geometry.positions]
    spacing = decimal(geometry.slice_spacing)
    proxies, measures = [], []
    for reference in references if references[0].frame is None else references[:1]:
        proxy = unnamed(StudyInstanceUID=series.StudyInstanceUID, FrameOfReferenceUID=series.FrameOfReferenceUID)
        copy_elements(proxy, [reference.instance], _KNOWN_BY.split(), verbatim=True)
        copy_elements(proxy, [reference.instance], _COPIED.split())
        proxies.append(proxy)
        sizes = {"PixelSpacing": decimals(geometry.pixel_spacing), "SliceThickness": reference.thickness or spacing}
        measures.append({**sizes, "SpacingBetweenSlices": spacing})
    if references[0].frame is None:
        for proxy, place, sizes in zip(proxies, positions, measures, strict=True):
            proxy.update(item(**orientation, **place, **sizes))
        return proxies
    (proxy,) = proxies
    proxy.NumberOfFrames = len(references)
    shared = item(PixelMeasuresSequence=[item(**measures[0])], PlaneOrientationSequence=[item(**orientation)])
    proxy.SharedFunctionalGroupsSequence = [shared]
    proxy.PerFrameFunctionalGroupsSequence = [item(PlanePositionSequence=[item(**place)]) for place in positions]
    return proxies
