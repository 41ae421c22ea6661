"""Attributes of the MR Image module that stay true of a derived image, from classic and enhanced sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.utils import optional_import

from infomri_monai.deploy.dicom.common import copy_elements
from infomri_monai.deploy.dicom.geometry import decimal
from infomri_monai.deploy.dicom.references import SliceReference

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["mr_attributes"]

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
#: attribute of an enhanced frame: attribute of a classic image
ENHANCED = {
    "EffectiveEchoTime": "EchoTime",
    "TransmitterFrequency": "ImagingFrequency",
    "InversionTimes": "InversionTime",
    "ResonantNucleus": "ImagedNucleus",
    "PulseSequenceName": "SequenceName",
}
ECHO_PULSE = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}


def mr_attributes(reference: SliceReference | None, attributes: Any) -> Dataset:
    """Attributes of the MR Image module of one slice.

    Args:
        reference: the slice of the source; None for raw k-space.
        attributes: of the source, where the slice has none.

    Returns:
        What is known and valid. ScanningSequence is RM (research mode) and SequenceVariant NONE where the source does not say.

    Example:
        >>> found = mr_attributes(None, pydicom.Dataset())
        >>> found.ScanningSequence, found.SequenceVariant, found.EchoTime
        ('RM', 'NONE', None)

    References:
        DICOM PS3.3 2024e, C.8.3.1 (MR Image), C.8.13.5 (macros of the enhanced MR image).
    """
    sources = [attributes]
    if reference is not None:
        flat = reference.instance if reference.frame is None else _flat(reference)
        sources = [flat, attributes]
    found = pydicom.Dataset()
    copy_elements(found, sources, KEPT.split())
    found.ScanningSequence = found.get("ScanningSequence") or "RM"
    found.SequenceVariant = found.get("SequenceVariant") or "NONE"
    for keyword in EMPTY.split():
        if keyword not in found:
            setattr(found, keyword, None)
    return found


def _flat(reference: SliceReference) -> Dataset:
    """A frame of an enhanced instance as if it were a classic one: its own macros first, then the shared ones."""
    instance, frame = reference.instance, reference.frame or 1
    flat = pydicom.Dataset()
    copy_elements(flat, [instance], [*KEPT.split(), "ResonantNucleus", "PulseSequenceName"])
    groups = list(instance.get("SharedFunctionalGroupsSequence", []))
    groups += list(instance.get("PerFrameFunctionalGroupsSequence", []))[frame - 1 : frame]
    for group in groups:
        for macro in (element for element in group if element.VR == "SQ" and len(element.value) == 1):
            item = macro.value[0]
            copy_elements(flat, [item], [keyword for keyword in (*KEPT.split(), *ENHANCED) if keyword in item])
    for keyword, classic in ENHANCED.items():
        if keyword in flat:
            value = flat[keyword].value
            first = value if isinstance(value, str) or flat[keyword].VM < 2 else value[0]
            setattr(flat, classic, first if isinstance(first, str) else decimal(first))
    _translate(flat, instance, groups)
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
