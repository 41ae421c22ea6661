"""A map of real numbers as a DICOM parametric map: float32, exactly the values given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import ArrayLike, NDArray

from infomri_monai.deploy.case import CaseSource, Derivation
from infomri_monai.deploy.dicom.common import content_description, derivation_text, guarded, series_attributes
from infomri_monai.deploy.dicom.geometry import dicom_frames, slice_geometry
from infomri_monai.deploy.dicom.mr_series import display_window
from infomri_monai.deploy.dicom.references import (
    SliceReference,
    identity_arguments,
    slice_references,
    source_image_item,
    source_proxies,
)
from infomri_monai.deploy.dicom.report_content import SCHEME

highdicom, _ = optional_import("highdicom")
highdicom_pm, _ = optional_import("highdicom.pm")
codes, _ = optional_import("pydicom.sr.codedict", name="codes")
code, _ = optional_import("pydicom.sr.coding", name="Code")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["QUANTITIES", "Quantity", "parametric_map"]


class Quantity(NamedTuple):
    """What the numbers of a map are.

    Attributes:
        code: value, scheme and meaning of the coded quantity.
        explanation: in words, at most 53 characters.
    """

    code: tuple[str, str, str]
    explanation: str


#: none of them has a unit of UCUM: intensities of MR are arbitrary, and UCUM does not know the nat
QUANTITIES = {
    "sigma": Quantity(("386136009", "SCT", "Standard Deviation"), "Posterior standard deviation, unit of the image"),
    "entropy": Quantity(("ENTROPY", SCHEME, "Predictive entropy"), "Entropy of the class probabilities, in nats"),
    "mutual_information": Quantity(
        ("MUTUALINFO", SCHEME, "Mutual information"), "Mutual information of class and sample, in nats"
    ),
}


def parametric_map(
    values: Any,
    affine: ArrayLike,
    source: CaseSource,
    reference_instances: Sequence[Any],
    derivation: Derivation,
    quantity: str,
    series_number: int,
) -> Dataset:
    """Write a volume of real numbers as Parametric Map Storage in 32-bit floating point.

    The standard fixes the first values of a parametric map's ImageType to DERIVED, PRIMARY. That k-space was simulated stands in
    the series description, the content description and every frame's derivation description.

    Args:
        values: real and finite, shape ``(columns, rows)``, ``(columns, rows, slices)`` or ``(1, columns, rows, slices)``;
            stored as float32, so float32 values come back exactly.
        affine: (column, row, slice) index to RAS in mm, 4 x 4.
        source: patient and study; its ``frames`` belong to ``reference_instances`` if these are its instances.
        reference_instances: what the map was derived from, in the order of the slices: ``source.instances``, or for raw k-space the
            reconstruction that :func:`~infomri_monai.deploy.dicom.mr_series.mr_series` made of it.
        derivation: title, text, model, and whether k-space was simulated.
        quantity: one of ``QUANTITIES``: "sigma" (unit of the image's intensity), "entropy" or "mutual_information" (nats).
        series_number: at least 1.

    Returns:
        A ``highdicom.pm.ParametricMap``. As highdicom sorts frames, the first one is the last along the slices' normal; every frame
        states its position.

    Raises:
        ValueError: if an argument is not as said above, or the instances do not fit the map.
        DeployError: if highdicom refuses it for another reason.

    Example:
        >>> sorted(QUANTITIES)
        ['entropy', 'mutual_information', 'sigma']

    References:
        DICOM PS3.3 2024e, A.75 (Parametric Map IOD), C.7.6.16.2.11 (Real World Value Mapping).
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity must be one of {sorted(QUANTITIES)}, got {quantity!r}.")
    frames = _float_frames(values)
    geometry = slice_geometry(affine, len(frames))
    frames_used = source.frames_of(reference_instances)
    references = slice_references(reference_instances, frames_used, geometry, frames.shape[1:])
    series, text = series_attributes(source, derivation, series_number, "MR"), derivation_text(derivation)
    # highdicom's normal is columns x rows, ours and most readers' is rows x columns
    order = list(reversed(geometry.order))
    references, geometry = [references[i] for i in order], replace(geometry, positions=geometry.positions[order])
    with guarded("writing the parametric map"):
        result = highdicom_pm.ParametricMap(
            source_images=source_proxies(references, geometry, series),
            pixel_array=frames[order],
            **identity_arguments(series, derivation),
            **_meaning(frames, quantity),
            content_description=content_description(QUANTITIES[quantity].explanation, derivation),
        )
        result.update(series)
        _link(result, references, text)
    return result


def _float_frames(values: Any) -> NDArray[np.float32]:
    """Frames in single precision, if they are finite there."""
    frames = dicom_frames(values)
    if frames.dtype != np.float32:
        with np.errstate(over="ignore"):
            frames = dicom_frames(frames.astype(np.float32).transpose(2, 1, 0))
    return frames


def _meaning(frames: NDArray[np.float32], quantity: str) -> dict[str, Any]:
    """What the numbers are and how to show them, as the constructor takes it."""
    return {
        "contains_recognizable_visual_features": True,
        "real_world_value_mappings": [_mapping(frames, quantity)],
        "voi_lut_transformations": [_window(frames)],
        "content_label": quantity.upper()[:16],
    }


def _mapping(frames: NDArray[np.float32], quantity: str) -> Any:
    """Stored values are the quantity itself, without a unit."""
    what = QUANTITIES[quantity]
    return highdicom_pm.RealWorldValueMapping(
        lut_label=quantity.upper()[:16],
        lut_explanation=what.explanation,
        unit=codes.UCUM.NoUnits,
        value_range=(float(frames.min()), float(frames.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=code(*what.code),
    )


def _window(frames: NDArray[np.float32]) -> Any:
    """How to show the map."""
    centre, width = display_window(frames)
    return highdicom.VOILUTTransformation(
        window_center=centre, window_width=width, voi_lut_function=highdicom.VOILUTFunctionValues.LINEAR_EXACT
    )


def _link(result: Any, references: Sequence[SliceReference], text: str) -> None:
    """Complete the references that highdicom made of the stand-ins, and say how the frames were derived."""
    by_instance = {reference.instance.SOPInstanceUID: reference for reference in references}
    result.DerivationDescription = text
    for frame in result.PerFrameFunctionalGroupsSequence:
        derivation = frame.DerivationImageSequence[0]
        derivation.DerivationDescription = text
        made = derivation.SourceImageSequence[0]
        if "ReferencedFrameNumber" in made:
            reference = references[made.ReferencedFrameNumber - 1]
        else:
            reference = by_instance[made.ReferencedSOPInstanceUID]
        derivation.SourceImageSequence = [source_image_item(reference)]
