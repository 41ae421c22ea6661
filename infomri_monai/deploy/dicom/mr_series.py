"""A volume as a classic DICOM MR series, one instance a slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.derivation import SIMULATED, Derivation
from infomri_monai.deploy.dicom.geometry import decimal, decimals, dicom_frames, quantise, slice_geometry
from infomri_monai.deploy.dicom.identity import copied, copy_elements, new_uid, series_attributes
from infomri_monai.deploy.dicom.references import SliceReference, slice_references, source_image_item
from infomri_monai.deploy.logs import guarded

__all__ = ["display_window", "mr_attributes", "mr_series"]

# keywords, separated by spaces
#: contrast, hardware and time of the acquisition. What describes how k-space was filled (PercentSampling, AcquisitionMatrix,
#: NumberOfPhaseEncodingSteps, ParallelReductionFactorInPlane, AcquisitionDuration ...) is not true of a derived image.
KEPT = (
    "ScanningSequence SequenceVariant ScanOptions MRAcquisitionType SequenceName AngioFlag RepetitionTime EchoTime "
    "EchoTrainLength InversionTime TriggerTime NumberOfAverages ImagingFrequency ImagedNucleus EchoNumbers "
    "MagneticFieldStrength PixelBandwidth FlipAngle VariableFlipAngleFlag InPlanePhaseEncodingDirection ReceiveCoilName "
    "TransmitCoilName ContrastBolusAgent ContrastBolusRoute DiffusionBValue DiffusionGradientOrientation "
    "TemporalPositionIdentifier NumberOfTemporalPositions TemporalResolution AcquisitionNumber AcquisitionDate AcquisitionTime "
    "ProtocolName SliceThickness LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod BurnedInAnnotation"
)
#: type 2: empty where it is not known
EMPTY = "ScanOptions MRAcquisitionType EchoTime EchoTrainLength RepetitionTime"
#: enumerated values (C.8.3.1, C.7.6.1)
TERMS = {
    "ScanningSequence": "SE IR GR EP RM",
    "SequenceVariant": "SK MTC SS TRSS SP MP OSP NONE",
    "MRAcquisitionType": "2D 3D",
    "InPlanePhaseEncodingDirection": "ROW COL",
    "AngioFlag": "Y N",
    "VariableFlipAngleFlag": "Y N",
    "BurnedInAnnotation": "YES NO",
    "LossyImageCompression": "00 01",
}
#: attribute of an enhanced frame: attribute of a classic image
ENHANCED = {
    "EffectiveEchoTime": "EchoTime",
    "TransmitterFrequency": "ImagingFrequency",
    "InversionTimes": "InversionTime",
    "ResonantNucleus": "ImagedNucleus",
    "PulseSequenceName": "SequenceName",
}
ECHO_PULSE = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}


#: the window shows the intensities between these percentiles
SHOWN = (0.5, 99.5)
#: of so many pixels, evenly spread, at most twice as many
LOOKED_AT = 100_000


def mr_series(
    image: Any, affine: ArrayLike, source: CaseSource, derivation: Derivation, series_number: int
) -> list[Dataset]:
    """Write a volume as MR Image Storage in 16 bits.

    Intensities are those of the image by RescaleSlope and RescaleIntercept, the same for all slices: exact for integers that span
    at most 65535, else off by no more than (max - min) / 65535 / 2; see :func:`~infomri_monai.deploy.dicom.geometry.quantise`.

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
        One instance per slice, in the order of the image's slices. InstanceNumber counts along the slices' normal.

    Raises:
        ValueError: if an argument is not as said above, or the source's instances do not fit the image.
        DeployError: if an attribute of the source cannot be taken over.

    Example:
        >>> from infomri_monai.deploy.derivation import ModelIdentity
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
        references = slice_references(source, geometry, frames.shape[1:])
    stored, slope, intercept = quantise(frames)
    centre, width = display_window(frames)
    shared = series_attributes(source, derivation, series_number, "MR")
    shared.SOPClassUID, shared.DerivationDescription = MRImageStorage, derivation.description
    # values 4 and on are an implementation's own (C.8.3.1.1.1)
    shared.ImageType = ["DERIVED", "SECONDARY", "OTHER", *[SIMULATED] * derivation.simulated]
    shared.RescaleSlope, shared.RescaleIntercept, shared.RescaleType = decimal(slope), decimal(intercept), "US"
    shared.WindowCenter, shared.WindowWidth = decimal(centre), decimal(width)
    shared.VOILUTFunction = "LINEAR_EXACT"
    shared.ImageOrientationPatient = decimals(geometry.orientation)
    shared.PixelSpacing, shared.SpacingBetweenSlices = decimals(geometry.pixel_spacing), decimal(geometry.slice_spacing)
    series = []
    with guarded("writing the MR series"):
        for index, (reference, position) in enumerate(zip(references, geometry.positions, strict=True)):
            instance = Dataset({element.tag: copied(element) for element in shared})
            instance.update(mr_attributes(reference, source.attributes))
            instance.SOPInstanceUID, instance.InstanceNumber = new_uid(), geometry.order.index(index) + 1
            instance.ImagePositionPatient = decimals(position)
            instance.SliceLocation = decimal(float(position @ geometry.normal))
            instance.SliceThickness = instance.get("SliceThickness") or decimal(geometry.slice_spacing)
            if reference is not None:
                instance.SourceImageSequence = [source_image_item(reference)]
            instance.set_pixel_data(stored[index], "MONOCHROME2", 16, generate_instance_uid=False)
            series.append(instance)
    return series


def mr_attributes(reference: SliceReference | None, attributes: Dataset) -> Dataset:
    """Attributes of the MR Image module of one slice.

    Args:
        reference: the slice of the source; None for raw k-space.
        attributes: of raw k-space.

    Returns:
        What is known and valid. ScanningSequence is RM (research mode) and SequenceVariant NONE where the source does not say.

    Example:
        >>> found = mr_attributes(None, Dataset())
        >>> found.ScanningSequence, found.SequenceVariant, found.EchoTime
        ('RM', 'NONE', None)

    References:
        DICOM PS3.3 2024e, C.8.3.1 (MR Image), C.8.13.5 (macros of the enhanced MR image).
    """
    sources = [attributes]
    if reference is not None:
        sources = [reference.instance if reference.frame is None else _flat(reference)]
    found = Dataset()
    copy_elements(found, sources, KEPT.split())
    _keep_terms(found)
    _keep_conditions(found)
    for keyword in EMPTY.split():
        if keyword not in found:
            setattr(found, keyword, None)
    return found


def _keep_terms(found: Dataset) -> None:
    """Leave out what is none of the terms that the standard enumerates."""
    for keyword, terms in TERMS.items():
        values = [value for value in _several(found, keyword) if value in terms.split()]
        if values:
            setattr(found, keyword, values)
        else:
            found.pop(keyword, None)
    found.ScanningSequence = found.get("ScanningSequence") or "RM"
    found.SequenceVariant = found.get("SequenceVariant") or "NONE"


def _keep_conditions(found: Dataset) -> None:
    """Attributes of types 1C and 2C are there if, and only if, their condition holds."""
    recovery = "IR" in _several(found, "ScanningSequence")
    gated = bool({"CG", "PPG"} & set(_several(found, "ScanOptions")))
    for keyword, holds in (("InversionTime", recovery), ("TriggerTime", gated)):
        if holds:
            found.setdefault(keyword, None)
        else:
            found.pop(keyword, None)
    if found.get("LossyImageCompression") != "01":
        found.pop("LossyImageCompressionRatio", None)
        found.pop("LossyImageCompressionMethod", None)
    if "ContrastBolusAgent" not in found:
        found.pop("ContrastBolusRoute", None)
    if not found.get("DiffusionBValue"):
        found.pop("DiffusionGradientOrientation", None)


def _several(dataset: Dataset, keyword: str) -> list[str]:
    """The values of a text."""
    value = dataset.get(keyword)
    return [] if not value else [value] if isinstance(value, str) else [str(v) for v in value]


def _flat(reference: SliceReference) -> Dataset:
    """A frame of an enhanced instance as if it were a classic one: its own macros first, then the shared ones."""
    instance, flat = reference.instance, Dataset()
    copy_elements(flat, [instance], [*KEPT.split(), "ResonantNucleus", "PulseSequenceName"])
    for group in reversed(reference.groups):
        standard = (e for e in group if e.VR == "SQ" and not e.tag.is_private)
        for macro in (element for element in standard if len(element.value) == 1):
            copy_elements(flat, macro.value, [*KEPT.split(), *ENHANCED])
    for keyword, classic in ENHANCED.items():
        if keyword in flat:
            value = flat[keyword].value
            first = value if isinstance(value, str) or flat[keyword].VM < 2 else value[0]
            setattr(flat, classic, first if isinstance(first, str) else decimal(first))
    _translate(flat, instance, reference.groups)
    return flat


def _translate(flat: Dataset, instance: Any, groups: list[Any]) -> None:
    """Attributes whose values have other names in classic images."""
    sequence = list(ECHO_PULSE.get(instance.get("EchoPulseSequence", ""), ["RM"]))
    sequence += ["EP"] if instance.get("EchoPlanarPulseSequence") == "YES" else []
    modifiers = [item for group in groups for item in group.get("MRModifierSequence", [])]
    sequence += ["IR"] if any(item.get("InversionRecovery") == "YES" for item in modifiers) else []
    flat.ScanningSequence = sequence
    if any(item.get("Spoiling") in ("RF", "GRADIENT", "RF_AND_GRADIENT") for item in modifiers):
        flat.SequenceVariant = "SP"
    if flat.get("InPlanePhaseEncodingDirection") == "COLUMN":
        flat.InPlanePhaseEncodingDirection = "COL"
    elif flat.get("InPlanePhaseEncodingDirection") != "ROW":
        flat.pop("InPlanePhaseEncodingDirection", None)
    acquired = str(instance.get("AcquisitionDateTime", ""))
    if len(acquired) >= 14 and acquired[:14].isdigit():
        flat.AcquisitionDate, flat.AcquisitionTime = acquired[:8], acquired[8:14]


def display_window(frames: NDArray[Any]) -> tuple[float, float]:
    """Centre and width of a window from the 0.5th to the 99.5th percentile; for VOILUTFunction LINEAR_EXACT, which may be narrow.

    Of many pixels it takes every n-th, n being odd, so that all columns of the usual sizes are among them.

    Example:
        >>> display_window(np.linspace(0, 1, 201))
        (0.5, 0.99)
        >>> display_window(np.zeros((2, 2))), display_window(np.r_[5, np.zeros(9999)])[1]  # it is never empty
        ((0.0, 1.0), 5.0)
    """
    some = np.asarray(frames).reshape(-1)[:: frames.size // LOOKED_AT | 1]
    low, high = (float(value) for value in np.percentile(some.astype(np.float64), SHOWN))
    width = high - low if high > low else float(frames.max()) - float(frames.min())
    return (low + high) / 2, width if width > 0 else 1.0
