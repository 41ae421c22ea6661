"""A map of real numbers as a DICOM parametric map: float32, exactly the values given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import highdicom
import highdicom.pm
import numpy as np
from numpy.typing import ArrayLike
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.derivation import Derivation
from infomri_monai.deploy.dicom.geometry import dicom_frames, slice_geometry
from infomri_monai.deploy.dicom.identity import identity_arguments, series_attributes
from infomri_monai.deploy.dicom.mr_series import display_window
from infomri_monai.deploy.dicom.references import slice_references, source_image_item, source_proxies
from infomri_monai.deploy.dicom.report import SCHEME
from infomri_monai.deploy.logs import guarded

__all__ = ["QUANTITIES", "Quantity", "parametric_map"]


class Quantity(NamedTuple):
    """What the numbers of a map are.

    Attributes:
        code: of the quantity.
        explanation: in words, at most 53 characters.
    """

    code: Code
    explanation: str


#: none of them has a unit of UCUM: intensities of MR are arbitrary, and UCUM does not know the nat
QUANTITIES = {
    "sigma": Quantity(
        Code("386136009", "SCT", "Standard Deviation"), "Standard deviation of magnitude, unit of the image"
    ),
    "entropy": Quantity(Code("ENTROPY", SCHEME, "Predictive entropy"), "Entropy of the class probabilities, in nats"),
    "mutual_information": Quantity(
        Code("MUTUALINFO", SCHEME, "Mutual information"), "Mutual information of class and sample, in nats"
    ),
}


def parametric_map(
    values: Any, affine: ArrayLike, source: CaseSource, derivation: Derivation, quantity: str, series_number: int
) -> Dataset:
    """Write a volume of real numbers as Parametric Map Storage in 32-bit floating point.

    The standard fixes the first values of a parametric map's ImageType to DERIVED, PRIMARY. That k-space was simulated stands in
    the series description, the content description and every frame's derivation description.

    Args:
        values: real and finite, shape ``(columns, rows)``, ``(columns, rows, slices)`` or ``(1, columns, rows, slices)``;
            stored as float32, so float32 values come back exactly.
        affine: (column, row, slice) index to RAS in mm, 4 x 4.
        source: patient and study; its instances are what the map was derived from, in the order of the slices: for raw k-space the
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
    frames = dicom_frames(values)
    if frames.dtype != np.float32:
        with np.errstate(over="ignore"):  # what is infinite in single precision is refused, too
            frames = dicom_frames(frames.astype(np.float32).transpose(2, 1, 0))
    geometry = slice_geometry(affine, len(frames))
    references = slice_references(source, geometry, frames.shape[1:])
    series = series_attributes(source, derivation, series_number, "MR")
    # highdicom's normal is columns x rows, ours and most readers' is rows x columns
    order = list(reversed(geometry.order))
    references, geometry = [references[i] for i in order], replace(geometry, positions=geometry.positions[order])
    what, label = QUANTITIES[quantity], quantity.upper()[:16]
    with guarded("writing the parametric map"):
        mapping = highdicom.pm.RealWorldValueMapping(
            lut_label=label,
            lut_explanation=what.explanation,
            unit=codes.UCUM.NoUnits,
            value_range=(float(frames.min()), float(frames.max())),
            slope=1.0,
            intercept=0.0,
            quantity_definition=what.code,
        )
        window = highdicom.VOILUTTransformation(*display_window(frames), voi_lut_function="LINEAR_EXACT")
        result = highdicom.pm.ParametricMap(
            source_images=source_proxies(references, geometry, series),
            pixel_array=frames[order],
            **identity_arguments(series),
            contains_recognizable_visual_features=True,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[window],
            content_label=label,
            content_description=derivation.content(what.explanation),
        )
        result.update(series)
        result.DerivationDescription = derivation.description
        # highdicom sorts the frames as they are given here, and refers to the stand-ins; complete that
        for frame, reference in zip(result.PerFrameFunctionalGroupsSequence, references, strict=True):
            (made,) = frame.DerivationImageSequence
            made.DerivationDescription = derivation.description
            made.SourceImageSequence = [source_image_item(reference)]
    return result
