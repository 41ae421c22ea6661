"""What the header of a classic or enhanced MR instance says about each of its slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infomri_monai.deploy.case import DeployError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["TRAITS", "SliceHeader", "Trait", "mixture", "slice_headers"]


class Trait(NamedTuple):
    """Where a property of a slice stands, and by how much it may vary within one acquisition.

    Attributes:
        keyword: in a classic instance.
        group: functional group of an enhanced instance; "" if it stands in the instance itself.
        enhanced: keyword within that group.
        tolerance: largest range of numbers within a series; None for words, which must be equal.
        values: how many values count; None for all.
    """

    keyword: str
    group: str = ""
    enhanced: str = ""
    tolerance: float | None = None
    values: int | None = None


#: what must be the same in all slices of a case
TRAITS = {
    "rows": Trait("Rows", tolerance=0),
    "columns": Trait("Columns", tolerance=0),
    "pixel spacing": Trait("PixelSpacing", "PixelMeasuresSequence", "PixelSpacing", 1e-3),
    "orientation": Trait("ImageOrientationPatient", "PlaneOrientationSequence", "ImageOrientationPatient", 1e-3),
    "patient": Trait("PatientID"),
    "study": Trait("StudyInstanceUID"),
    "frame of reference": Trait("FrameOfReferenceUID"),
    "image type": Trait("ImageType", "MRImageFrameTypeSequence", "FrameType", values=3),
    "complex component": Trait("ComplexImageComponent", "MRImageFrameTypeSequence", "ComplexImageComponent"),
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
        One entry (classic) or one a frame (enhanced), in the order of the frames.

    Raises:
        DeployError: if position, orientation or pixel spacing are missing or no finite numbers; quotes no value.

    Example:
        >>> from hospital.mr_series import example_datasets
        >>> classic = [slice_headers(dataset)[0] for dataset in example_datasets(slices=2)]
        >>> enhanced = slice_headers(example_datasets("enhanced", slices=2)[0])
        >>> [bool(np.allclose(a.position, b.position)) for a, b in zip(classic, enhanced)]
        [True, True]
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames is None:
        return [_slice_header([dataset])]
    if len(frames) != int(dataset.get("NumberOfFrames", 0)):
        raise DeployError(
            f"the multi-frame instance must describe each of its {int(dataset.get('NumberOfFrames', 0))} frames, "
            f"found {len(frames)} descriptions."
        )
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    return [_slice_header([frame, *shared, dataset]) for frame in frames]


def _slice_header(places: Sequence[Dataset]) -> SliceHeader:
    numbers = {
        "ImagePositionPatient": _numbers(places, _POSITION, 3),
        "ImageOrientationPatient": _numbers(places, TRAITS["orientation"], 6),
        "PixelSpacing": _numbers(places, TRAITS["pixel spacing"], 2),
    }
    for keyword, value in numbers.items():
        if value is None:
            raise DeployError(f"an image must have {keyword}; it is missing.")
    position, orientation, pixel_spacing = (np.array(value) for value in numbers.values())
    if not (pixel_spacing > 0).all():
        raise DeployError("PixelSpacing must be positive.")
    slope, intercept, thickness, spacing = (_numbers(places, t, 1) for t in (_SLOPE, _INTERCEPT, _THICKNESS, _SPACING))
    traits = {label: _values(places, trait) for label, trait in TRAITS.items()}
    return SliceHeader(
        position,
        orientation,
        pixel_spacing,
        1.0 if slope is None else slope[0],
        0.0 if intercept is None else intercept[0],
        None if thickness is None else thickness[0],
        None if spacing is None else spacing[0],
        traits,
    )


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
    return tuple(kind(v) for v in (value if several else [value]))[: trait.values]


def _numbers(places: Sequence[Dataset], trait: Trait, count: int) -> tuple[float, ...] | None:
    values = _values(places, trait)
    if values and not (len(values) == count and np.isfinite(values).all()):
        raise DeployError(f"{trait.keyword} must hold {count} finite number{'s' * (count > 1)}; it is damaged.")
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
