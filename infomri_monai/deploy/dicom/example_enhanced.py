"""The example MR series as a single multi-frame instance (Enhanced MR Image Storage)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.deploy.dicom.common import item
from infomri_monai.deploy.dicom.example_headers import (
    ExampleGeometry,
    ExamplePatient,
    common_dataset,
    example_uid,
)
from infomri_monai.deploy.dicom.geometry import decimal

pydicom, _ = optional_import("pydicom")
pydicom_uid, _ = optional_import("pydicom.uid")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["enhanced_dataset"]

_ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"
_ACQUIRED = "20240305102030"
#: stands in the instance and in MR Image Frame Type (C.8.13.1 and C.8.13.5.1)
_DESCRIPTION = {
    "PixelPresentation": "MONOCHROME",
    "ComplexImageComponent": "MAGNITUDE",
    "AcquisitionContrast": "T1",
    "VolumetricProperties": "VOLUME",
    "VolumeBasedCalculationTechnique": "NONE",
}
#: MR Pulse Sequence module (C.8.13.4): a spoiled 2D gradient echo
_PULSE_SEQUENCE = {
    "PulseSequenceName": "GRE",
    "MRAcquisitionType": "2D",
    "EchoPulseSequence": "GRADIENT",
    "MultiPlanarExcitation": "NO",
    "PhaseContrast": "NO",
    "TimeOfFlightContrast": "NO",
    "SteadyStatePulseSequence": "NONE",
    "EchoPlanarPulseSequence": "NO",
    "SaturationRecovery": "NO",
    "SpectrallySelectedSuppression": "NONE",
    "OversamplingPhase": "NONE",
    "GeometryOfKSpaceTraversal": "RECTILINEAR",
    "SegmentedKSpaceTraversal": "SINGLE",
    "RectilinearPhaseEncodeReordering": "LINEAR",
    "NumberOfKSpaceTrajectories": 1,
}


def enhanced_dataset(
    pixels: NDArray[np.uint16], geometry: ExampleGeometry, patient: ExamplePatient, seed: int
) -> Dataset:
    """A stack as Enhanced MR Image Storage, one frame a slice.

    Args:
        pixels: (slices, rows, columns).
        geometry: of the stack.
        patient: invented identifiers.
        seed: of the UIDs.

    Returns:
        A dataset with file meta information.

    Example:
        >>> stack = np.zeros((2, 4, 6), np.uint16)
        >>> int(enhanced_dataset(stack, ExampleGeometry((0, 0), (1, 1), 5), ExamplePatient(), seed=0).NumberOfFrames)
        2

    References:
        DICOM PS3.3 (2024), A.36.2 Enhanced MR Image IOD, C.8.13.
    """
    d = common_dataset(pixels, patient, "enhanced", seed, 1)
    d.SOPClassUID = pydicom_uid.UID(_ENHANCED_MR_IMAGE)
    d.ImageType = ["ORIGINAL", "PRIMARY", "OTHER", "NONE"]
    d.NumberOfFrames = len(pixels)
    for key, value in {**_DESCRIPTION, **_PULSE_SEQUENCE}.items():
        setattr(d, key, value)
    d.AcquisitionDateTime, d.AcquisitionDuration, d.ContentQualification = _ACQUIRED, 60.0, "RESEARCH"
    d.ResonantNucleus, d.KSpaceFiltering, d.PresentationLUTShape = "1H", "NONE", "IDENTITY"
    d.ApplicableSafetyStandardAgency, d.AcquisitionContextSequence = "IEC", []
    organization = example_uid(seed, "enhanced", "dimensions")
    d.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    d.DimensionOrganizationType = "3D"
    d.DimensionIndexSequence = [_dimension("StackID", organization), _dimension("InStackPositionNumber", organization)]
    d.SharedFunctionalGroupsSequence = [_shared_groups(pixels.shape, geometry)]
    d.PerFrameFunctionalGroupsSequence = [_frame_groups(pixels.shape, index, geometry) for index in range(len(pixels))]
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    return d


def _dimension(keyword: str, organization: str) -> Dataset:
    return item(
        DimensionOrganizationUID=organization,
        DimensionIndexPointer=pydicom.datadict.tag_for_keyword(keyword),
        FunctionalGroupPointer=pydicom.datadict.tag_for_keyword("FrameContentSequence"),
        DimensionDescriptionLabel=keyword,
    )


def _frame_groups(shape: tuple[int, ...], index: int, geometry: ExampleGeometry) -> Dataset:
    """What differs from frame to frame: position and place in the stack."""
    content = item(
        FrameReferenceDateTime=_ACQUIRED,
        FrameAcquisitionDateTime=_ACQUIRED,
        FrameAcquisitionDuration=60.0,
        FrameAcquisitionNumber=1,
        StackID="1",
        InStackPositionNumber=index + 1,
        DimensionIndexValues=[1, index + 1],
    )
    position = [decimal(x) for x in geometry.position((shape[0], shape[1], shape[2]), index)]
    return item(FrameContentSequence=[content], PlanePositionSequence=[item(ImagePositionPatient=position)])


def _shared_groups(shape: tuple[int, ...], geometry: ExampleGeometry) -> Dataset:
    """What all frames have in common: geometry, meaning of the pixels, acquisition."""
    measures = item(
        PixelSpacing=[decimal(x) for x in geometry.pixel_spacing],
        SliceThickness=decimal(0.9 * geometry.slice_spacing),
        SpacingBetweenSlices=decimal(geometry.slice_spacing),
    )
    orientation = [decimal(x) for x in geometry.directions()[:, :2].T.ravel()]
    brain = item(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Brain")
    groups = item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[item(ImageOrientationPatient=orientation)],
        FrameAnatomySequence=[item(AnatomicRegionSequence=[brain], FrameLaterality="U")],
        PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")],
        FrameVOILUTSequence=[item(WindowCenter=2048, WindowWidth=4096)],
        MRImageFrameTypeSequence=[item(FrameType=["ORIGINAL", "PRIMARY", "OTHER", "NONE"], **_DESCRIPTION)],
    )
    groups.update(_acquisition_groups(shape))
    return groups


def _acquisition_groups(shape: tuple[int, ...]) -> Dataset:
    """The macros of a spoiled 2D gradient echo (C.8.13.5)."""
    mode = item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL")
    absorption = item(SpecificAbsorptionRateDefinition="IEC_HEAD", SpecificAbsorptionRateValue=0.5)
    timing = item(RepetitionTime=250, FlipAngle=70, EchoTrainLength=1, RFEchoTrainLength=0, GradientEchoTrainLength=1)
    timing.update(item(GradientOutputType="DB_DT", GradientOutput=0.0, OperatingModeSequence=[mode]))
    timing.SpecificAbsorptionRateSequence = [absorption]
    view = item(InPlanePhaseEncodingDirection="COLUMN", MRAcquisitionFrequencyEncodingSteps=shape[2])
    view.update(item(MRAcquisitionPhaseEncodingStepsInPlane=shape[1], PercentSampling=100, PercentPhaseFieldOfView=100))
    modifier = item(InversionRecovery="NO", FlowCompensation="NONE", Spoiling="RF", T2Preparation="NO")
    modifier.update(item(SpectrallySelectedExcitation="NONE", SpatialPresaturation="NONE"))
    modifier.update(item(PartialFourier="NO", ParallelAcquisition="NO"))
    imaging = item(MagnetizationTransfer="NONE", BloodSignalNulling="NO", Tagging="NONE")
    imaging.update(item(TransmitterFrequency=127.7, PixelBandwidth=200.0))
    receive = item(ReceiveCoilName="HEAD", ReceiveCoilManufacturerName="", ReceiveCoilType="VOLUME")
    receive.QuadratureReceiveCoil = "YES"
    transmit = item(TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY")
    return item(
        MRTimingAndRelatedParametersSequence=[timing],
        MRFOVGeometrySequence=[view],
        MREchoSequence=[item(EffectiveEchoTime=2.5)],
        MRModifierSequence=[modifier],
        MRImagingModifierSequence=[imaging],
        MRReceiveCoilSequence=[receive],
        MRTransmitCoilSequence=[transmit],
        MRAveragesSequence=[item(NumberOfAverages=1)],
    )
