"""What an MR instance's header says about each of its slices, and how slices make a stack; one with holes or doubles is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from infomri_monai.data.dicom.kind import image_words
from infomri_monai.data.dicom.mosaic import Mosaic, mosaic_of
from infomri_monai.data.dicom.quiet import DicomError

__all__ = ["TRAITS", "SliceHeader", "Stack", "Trait", "mixture", "slice_headers", "stack_slices"]


class Trait(NamedTuple):
    """Where a property of a slice stands, and by how much it may vary within one acquisition.

    Attributes:
        keyword: in a classic instance.
        group: functional group of an enhanced instance; "" if it stands in the instance itself.
        enhanced: keyword within that group.
        tolerance: largest range of numbers within a series; None for words, which must be equal.
    """

    keyword: str
    group: str = ""
    enhanced: str = ""
    tolerance: float | None = None


#: what must be the same in all slices of a case
TRAITS = {
    "rows": Trait("Rows", tolerance=0),
    "columns": Trait("Columns", tolerance=0),
    "pixel spacing": Trait("PixelSpacing", "PixelMeasuresSequence", "PixelSpacing", 1e-3),
    "orientation": Trait("ImageOrientationPatient", "PlaneOrientationSequence", "ImageOrientationPatient", 1e-3),
    "patient": Trait("PatientID"),
    "study": Trait("StudyInstanceUID"),
    "frame of reference": Trait("FrameOfReferenceUID"),
    "image type": Trait("ImageType"),  # and all else that says so, see ``image_words``
    "echo time": Trait("EchoTime", "MREchoSequence", "EffectiveEchoTime", 0.1),
    "echo number": Trait("EchoNumbers", tolerance=0),
    "inversion time": Trait("InversionTime", "MRModifierSequence", "InversionTimes", 1.0),
    "flip angle": Trait("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle", 0.5),
    "b-value": Trait("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue", 1.0),
    "temporal position": Trait("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex", 0),
    "stack": Trait("StackID", "FrameContentSequence", "StackID"),
    "contrast agent": Trait("ContrastBolusAgent"),
}
_POSITION = Trait("ImagePositionPatient", "PlanePositionSequence", "ImagePositionPatient", np.inf)
_SLOPE = Trait("RescaleSlope", "PixelValueTransformationSequence", "RescaleSlope", np.inf)
_INTERCEPT = Trait("RescaleIntercept", "PixelValueTransformationSequence", "RescaleIntercept", np.inf)
_THICKNESS = Trait("SliceThickness", "PixelMeasuresSequence", "SliceThickness", np.inf)
_SPACING = Trait("SpacingBetweenSlices", "PixelMeasuresSequence", "SpacingBetweenSlices", np.inf)


class SliceHeader(NamedTuple):
    """One slice.

    Attributes:
        position: centre of the first pixel, LPS, mm.
        orientation: direction of a row, then of a column; six cosines.
        pixel_spacing: distance of rows, of columns, mm.
        slope: from stored values to the image's.
        intercept: of the image's values.
        thickness: of the slice, mm; None if the header has none.
        spacing: between slices as the header has it, mm; None if it has none.
        traits: values of ``TRAITS``.
    """

    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    pixel_spacing: NDArray[np.float64]
    slope: float
    intercept: float
    thickness: float | None
    spacing: float | None
    traits: dict[str, tuple[Any, ...]]


def slice_headers(dataset: Dataset) -> list[SliceHeader]:
    """Read the geometry and the traits of every slice of an instance.

    Args:
        dataset: classic or enhanced MR instance; pixel data are not looked at. To be called within ``quiet``.

    Returns:
        One entry (classic), one a frame (enhanced) in the order of the frames, or one a slice of a Siemens mosaic.

    Raises:
        DicomError: if position, orientation or pixel spacing are missing or no finite numbers, the rescale slope is 0, or a mosaic
            cannot be unpacked; quotes no value.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> classic = [slice_headers(dataset)[0] for dataset in example_datasets(slices=2)]
        >>> enhanced = slice_headers(example_datasets("enhanced", slices=2)[0])
        >>> [bool(np.allclose(a.position, b.position)) for a, b in zip(classic, enhanced)]
        [True, True]
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames is None:
        header, mosaic = _slice_header([dataset]), mosaic_of(dataset)
        return [header] if mosaic is None else _of_mosaic(header, mosaic)
    if len(frames) != int(dataset.get("NumberOfFrames", 0)):
        raise DicomError(
            f"the multi-frame instance must describe each of its {int(dataset.get('NumberOfFrames', 0))} frames, "
            f"found {len(frames)} descriptions."
        )
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    return [_slice_header([frame, *shared, dataset]) for frame in frames]


def _of_mosaic(header: SliceHeader, mosaic: Mosaic) -> list[SliceHeader]:
    """The slices of a mosaic, from the header of its picture."""
    rows, columns = (int(header.traits[label][0]) for label in ("rows", "columns"))
    along = _directions(header.orientation)
    first = header.position + along[:, :2] @ mosaic.corner((rows, columns), header.pixel_spacing)
    if abs(cosine := float(mosaic.normal @ along[:, 2])) < 1 - NOT_ORTHONORMAL:
        raise DicomError(
            "the Siemens mosaic's private header states another slice normal than ImageOrientationPatient."
        )
    step = mosaic.spacing * np.sign(cosine) * along[:, 2]
    size = {"rows": (float(rows // mosaic.side),), "columns": (float(columns // mosaic.side),)}
    header = header._replace(traits=header.traits | size)
    return [header._replace(position=first + number * step) for number in range(mosaic.slices)]


def _slice_header(places: Sequence[Dataset]) -> SliceHeader:
    required = {_POSITION: 3, TRAITS["orientation"]: 6, TRAITS["pixel spacing"]: 2}
    numbers = [_numbers(places, trait, count) for trait, count in required.items()]
    for trait, value in zip(required, numbers, strict=True):
        if value is None:
            raise DicomError(f"an image must have {trait.keyword}; it is missing.")
    position, orientation, pixel_spacing = (np.array(value) for value in numbers)
    if not (pixel_spacing > 0).all():
        raise DicomError("PixelSpacing must be positive.")
    single = [_numbers(places, trait, 1) for trait in (_SLOPE, _INTERCEPT, _THICKNESS, _SPACING)]
    slope, intercept, thickness, spacing = (None if value is None else value[0] for value in single)
    if slope == 0:
        raise DicomError("RescaleSlope must not be 0: it would make all pixels equal.")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    traits = {label: _values(places, trait) for label, trait in TRAITS.items()} | {"image type": image_words(places)}
    return SliceHeader(position, orientation, pixel_spacing, slope, intercept, thickness, spacing, traits)


def _values(places: Sequence[Dataset], trait: Trait) -> tuple[Any, ...]:
    """The first place that has the element; functional groups of the frame, shared ones, then the instance."""
    value = None
    for place in places[:-1]:
        group = place.get(trait.group) if trait.group else None
        if group:
            value = group[0].get(trait.enhanced)
        if value is not None:
            break
    if value is None:
        value = places[-1].get(trait.keyword)
    if value is None or value == "":
        return ()
    several = isinstance(value, Sequence) and not isinstance(value, str)
    kind = str if trait.tolerance is None else float
    return tuple(kind(v) for v in (value if several else [value]))


def _numbers(places: Sequence[Dataset], trait: Trait, count: int) -> tuple[float, ...] | None:
    values = _values(places, trait)
    if values and not (len(values) == count and np.isfinite(values).all()):
        raise DicomError(f"{trait.keyword} must hold {count} finite number{'s' * (count > 1)}; it is damaged.")
    return values or None


def mixture(slices: Sequence[SliceHeader]) -> str:
    """What differs between slices that should be one acquisition; "" if nothing does.

    Args:
        slices: of one series.

    Returns:
        Words such as "echo time (2 values), orientation (3 values)"; no value itself.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> datasets = example_datasets(slices=2)
        >>> datasets[1].EchoTime = 80
        >>> mixture([slice_headers(dataset)[0] for dataset in datasets])
        'echo time (2 values)'
    """
    found = []
    for label, trait in TRAITS.items():
        values = [s.traits[label] for s in slices]
        distinct = len(set(values))
        if distinct > 1 and not _within(values, trait.tolerance):
            found.append(f"{label} ({distinct} values)")
    return ", ".join(found)


def _within(values: Sequence[tuple[Any, ...]], tolerance: float | None) -> bool:
    """Whether tuples of numbers of one length differ by no more than the tolerance."""
    if tolerance is None or len({len(v) for v in values}) > 1:
        return False
    return bool(np.ptp(np.array(values), axis=0).max() <= tolerance)


#: share of the spacing by which gaps may differ, for positions written with few decimals
IRREGULAR = 0.02
#: mm; slices nearer than this lie at the same position
SAME_POSITION = 1e-2
#: largest deviation of the two directions from unit length and from a right angle
NOT_ORTHONORMAL = 1e-2
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Stack(NamedTuple):
    """How slices make a volume.

    Attributes:
        order: number (from 0) of the slice at each place, along the normal (row direction x column direction).
        affine: (column, row, slice) index to RAS, mm, 4 x 4.
        warnings: what is odd about it.
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64]
    warnings: tuple[str, ...]


def stack_slices(slices: Sequence[SliceHeader]) -> Stack:
    """Order slices along their normal, with the affine that MONAI's ITK reader gives.

    Directions are made orthonormal, and the spacing is the mean distance of the slices. A single slice is as thick as
    SpacingBetweenSlices, else SliceThickness, else 1 mm (ITK: 1 mm where SpacingBetweenSlices is missing).

    Args:
        slices: at least one, of one orientation.

    Raises:
        DicomError: if the directions are not orthonormal, slices share a position, are missing, are spaced irregularly, or
            are not stacked along their normal. Names slices by their place in the order, from 1.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> from infomri_monai.data.dicom.slices import slice_headers
        >>> headers = [slice_headers(d)[0] for d in example_datasets(slices=3, oblique=False, spacing=5.0)]
        >>> stack = stack_slices(headers[::-1])
        >>> stack.order, float(stack.affine[2, 2])
        ((2, 1, 0), 5.0)

    References:
        DICOM PS3.3 (2024), C.7.6.2.1.1 Image Position and Image Orientation.
    """
    directions = _directions(slices[0].orientation)
    positions = np.stack([s.position for s in slices])
    distances = positions @ directions[:, 2]
    order = np.argsort(distances, kind="stable")
    spacing, warnings = _single_spacing(slices[0]) if len(slices) == 1 else _spacing(distances[order], slices[0])
    first = positions[order[0]]
    aside = (positions[order] - first) - np.outer(distances[order] - distances[order[0]], directions[:, 2])
    if np.linalg.norm(aside, axis=1).max() > max(0.05, IRREGULAR * spacing):
        raise DicomError(
            "the slices must be stacked along their normal; these are shifted sideways (sheared or curved)."
        )
    rows, columns = slices[0].pixel_spacing
    affine = np.eye(4)
    affine[:3, :3] = directions * [columns, rows, spacing]
    affine[:3, 3] = first
    return Stack(tuple(int(n) for n in order), _LPS_TO_RAS @ affine, warnings)


def _directions(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row direction, column direction and normal in columns, made orthonormal as ITK does: rows give way."""
    row, column = orientation[:3], orientation[3:]
    defects = (np.linalg.norm(row) - 1, np.linalg.norm(column) - 1, row @ column)
    if np.abs(defects).max() > NOT_ORTHONORMAL:
        raise DicomError("ImageOrientationPatient must hold two orthogonal unit vectors.")
    normal = np.cross(row, column)
    column, normal = column / np.linalg.norm(column), normal / np.linalg.norm(normal)
    return np.stack([np.cross(column, normal), column, normal], axis=1)


def _single_spacing(header: SliceHeader) -> tuple[float, tuple[str, ...]]:
    for value in (header.spacing, header.thickness):
        if value is not None and value > 0:
            return value, ()
    return 1.0, ("the slice has neither SpacingBetweenSlices nor SliceThickness; 1 mm is taken.",)


def _spacing(distances: NDArray[np.float64], header: SliceHeader) -> tuple[float, tuple[str, ...]]:
    """Mean distance of ordered slices, mm, once they are known to be regular."""
    gaps = np.diff(distances)
    if (same := int((gaps < SAME_POSITION).sum())) > 0:
        place = int(np.argmax(gaps < SAME_POSITION)) + 1
        raise DicomError(
            f"each position must hold one image; {same} of {len(distances)} images lie where another one does (first at slice "
            f"{place}): several acquisitions in one series, or copies of files."
        )
    step = _step(gaps, header)
    if not _are_multiples(gaps, step):
        raise DicomError(
            f"the slices must be evenly spaced; the gaps range from {gaps.min():.4g} to {gaps.max():.4g} mm."
        )
    missing = np.round(gaps / step).astype(int) - 1
    if missing.any():
        place = int(np.argmax(missing > 0)) + 1
        raise DicomError(f"missing slices: gap of {missing[place - 1]} between slice {place} and {place + 1}.")
    spacing = float(distances[-1] - distances[0]) / len(gaps)
    declared = spacing if header.spacing is None else header.spacing
    if abs(declared - spacing) <= max(SAME_POSITION, IRREGULAR * spacing):
        return spacing, ()
    return spacing, (
        f"the header declares {declared:.4g} mm between slices, their positions are {spacing:.4g} mm apart; the positions count.",
    )


def _step(gaps: NDArray[np.float64], header: SliceHeader) -> float:
    """Distance of neighbouring slices, were none missing: the header's if it explains all gaps, else the smallest gap.

    A header's spacing below the thickness is not trusted: some scanners write the gap between slices there.
    """
    declared, thickness = header.spacing or 0.0, header.thickness or 0.0
    if declared > 0 and declared >= 0.99 * thickness > 0 and _are_multiples(gaps, declared):
        return declared
    return float(gaps[gaps <= 1.2 * gaps.min()].mean())


def _are_multiples(gaps: NDArray[np.float64], step: float) -> bool:
    """Whether gaps are whole multiples of a step, within the tolerances."""
    ratio = gaps / step
    count = np.maximum(np.round(ratio), 1)
    return bool((np.abs(ratio / count - 1) <= max(SAME_POSITION / step, IRREGULAR)).all())
