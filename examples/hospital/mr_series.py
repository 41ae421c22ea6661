"""MR series to try the applications with: synthetic heads written as DICOM, classic or enhanced. No patients.

``python examples/hospital/mr_series.py FOLDER --kind enhanced`` writes one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat
from scipy import ndimage

from infomri_monai.data.embedded import FIELD_OF_VIEW, embedded_subjects
from infomri_monai.files import atomic_path

__all__ = ["KINDS", "ExampleGeometry", "ExamplePatient", "example_datasets", "write_example_series"]

#: MR Image Storage, one file a slice; Enhanced MR Image Storage, one file with a frame a slice
KINDS = ("classic", "enhanced")
#: angles about the x and the y axis that make a series oblique, degrees
OBLIQUE = (14.0, -9.0)
#: stored value of the brightest pixel
PEAK = 4095
_ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"
_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
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


class ExamplePatient(NamedTuple):
    """Invented identifiers, easy to recognise wherever they must not turn up.

    Attributes:
        name: PatientName.
        identifier: PatientID.
        birth_date: PatientBirthDate.
        accession_number: AccessionNumber.
        study_id: StudyID.
        physician: ReferringPhysicianName.
        institution: InstitutionName.
    """

    name: str = "DOE^JANE TEST"
    identifier: str = "ID-4711-SECRET"
    birth_date: str = "19470229"
    accession_number: str = "ACC-0815-SECRET"
    study_id: str = "STUDY-SECRET"
    physician: str = "QUINCY^REFERRER"
    institution: str = "SECRET HOSPITAL"


class ExampleGeometry(NamedTuple):
    """Where the slices lie, in DICOM's patient coordinates (LPS, mm), centred on the origin.

    Attributes:
        tilt: rotation of the axial stack about the x and then the y axis, degrees.
        pixel_spacing: distance of rows, distance of columns, mm (PixelSpacing).
        slice_spacing: distance of slices, mm.
    """

    tilt: tuple[float, float]
    pixel_spacing: tuple[float, float]
    slice_spacing: float

    def directions(self) -> NDArray[np.float64]:
        """Unit vectors along a row (to the next column), along a column (to the next row), to the next slice; in columns."""
        x, y = np.deg2rad(self.tilt)
        about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        return about_y @ about_x

    def position(self, shape: tuple[int, int, int], index: int) -> NDArray[np.float64]:
        """Centre of the first pixel of slice ``index`` of a stack (slices, rows, columns)."""
        slices, rows, columns = shape
        steps = np.array([self.pixel_spacing[1], self.pixel_spacing[0], self.slice_spacing])
        offset = np.array([0, 0, index]) - (np.array([columns, rows, slices]) - 1) / 2
        return self.directions() @ (offset * steps)


def example_datasets(
    kind: str = "classic",
    slices: int = 8,
    grid: Sequence[int] = (64, 64),
    oblique: bool = True,
    seed: int = 0,
    *,
    aspect: float = 1.0,
    spacing: float = 8.0,
    patient: ExamplePatient | None = None,
    images: NDArray | None = None,
) -> list[Dataset]:
    """Make a valid MR series in memory; one seed gives one series, identical to the byte.

    Both kinds of one seed belong to one study and share the frame of reference and the pixels.

    Args:
        kind: one of ``KINDS``.
        slices: number of slices, 1 to 16; of one subject of :func:`~infomri_monai.data.embedded_subjects`.
        grid: (columns, rows) in pixels, each from 16 to 512.
        oblique: tilt the stack by ``OBLIQUE``; otherwise it is axial.
        seed: of anatomy and UIDs; any non-negative integer.
        aspect: distance of rows over distance of columns, in [0.5, 2]; other than 1 gives pixels that are not square.
        spacing: between slices, mm; their thickness is 90 % of it.
        patient: invented identifiers; a test searches outputs for them. None gives the default ones.
        images: own anatomy instead, shape (slices, rows, columns), not negative, drawn to the same scale; gives ``slices``.

    Returns:
        One dataset a slice, from the lowest to the highest (classic), or a single one (enhanced), each with file meta
        information; ``pydicom``'s ``save_as`` writes them.

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> first = example_datasets(slices=2, grid=(48, 32))[0]
        >>> first.Modality, first.Columns, first.Rows, str(first.PatientName)
        ('MR', 48, 32, 'DOE^JANE TEST')

    References:
        DICOM PS3.3 (2024), A.4 MR Image IOD, A.36 Enhanced MR Image IOD.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
    if not 0.5 <= aspect <= 2:
        raise ValueError(f"aspect must lie in [0.5, 2], got {aspect}.")
    if not spacing > 0:
        raise ValueError(f"spacing must be positive, got {spacing}.")
    if images is not None:
        _check_images(images)
    columns, rows = grid if images is None else images.shape[:0:-1]
    side = max(FIELD_OF_VIEW[0] / (rows * aspect), FIELD_OF_VIEW[1] / columns)
    stack = _anatomy(slices, columns, rows, aspect, seed) if images is None else np.asarray(images, dtype=np.float64)
    pixels = np.round(stack * (PEAK / max(stack.max(), 1e-12))).astype(np.uint16)
    geometry = ExampleGeometry(OBLIQUE if oblique else (0.0, 0.0), (side * aspect, side), spacing)
    who = ExamplePatient() if patient is None else patient
    if kind == "enhanced":
        return [_enhanced_dataset(pixels, geometry, who, seed)]
    return [_classic_dataset(pixels, k, geometry, who, seed) for k in range(len(pixels))]


def _check_images(images: NDArray) -> None:
    if images.ndim != 3 or 0 in images.shape:
        raise ValueError(f"images must have the shape (slices, rows, columns), got {images.shape}.")
    if not (np.isfinite(images).all() and images.min() >= 0):
        raise ValueError("images must be finite and not negative.")


def _anatomy(slices: int, columns: int, rows: int, aspect: float, seed: int) -> NDArray[np.float64]:
    """Magnitudes of a subject's slices, (slices, rows, columns); drawn with square pixels, then resampled along the columns."""
    square = round(rows * aspect)
    subject = embedded_subjects("test", 1, slices, (square, columns), seed, complex_valued=False)
    stack = np.concatenate([entry["image"] for entry in subject]).astype(np.float64)
    if square != rows:
        stack = ndimage.zoom(stack, (1, rows / square, 1), order=1, mode="nearest", grid_mode=True)
    return stack


def write_example_series(
    folder: str | Path,
    kind: str = "classic",
    slices: int = 8,
    grid: Sequence[int] = (64, 64),
    oblique: bool = True,
    seed: int = 0,
    *,
    aspect: float = 1.0,
    spacing: float = 8.0,
    patient: ExamplePatient | None = None,
    images: NDArray | None = None,
) -> list[Path]:
    """Write a valid MR series; the arguments are those of :func:`example_datasets`.

    Args:
        folder: where to; made if absent. The files are called image0001.dcm and so on.

    Returns:
        The files, in the order of the slices.

    Raises:
        ValueError: if an argument is outside its range; nothing is written.

    Example:
        >>> import tempfile
        >>> [path.name for path in write_example_series(tempfile.mkdtemp(), "enhanced", slices=2)]
        ['image0001.dcm']
    """
    datasets = example_datasets(
        kind, slices, grid, oblique, seed, aspect=aspect, spacing=spacing, patient=patient, images=images
    )
    paths = [Path(folder) / f"image{number:04d}.dcm" for number in range(1, len(datasets) + 1)]
    for path, dataset in zip(paths, datasets, strict=True):
        with atomic_path(path) as part:
            dataset.save_as(part, enforce_file_format=True)
    return paths


def _common_dataset(pixels: NDArray[np.uint16], patient: ExamplePatient, kind: str, seed: int, number: int) -> Dataset:
    """What classic and enhanced instances have in common; SOP class, image type and geometry are missing.

    ``pixels`` are (rows, columns) or (frames, rows, columns), ``number`` is the instance's, from 1.
    """
    d = Dataset()
    d.SpecificCharacterSet = "ISO_IR 100"
    d.SOPInstanceUID = _uid(seed, kind, "instance", number)
    d.PatientName, d.PatientID = patient.name, patient.identifier
    d.PatientBirthDate, d.PatientSex = patient.birth_date, "F"
    d.StudyInstanceUID, d.StudyID = _uid(seed, "study"), patient.study_id
    d.AccessionNumber, d.ReferringPhysicianName = patient.accession_number, patient.physician
    d.StudyDescription, d.SeriesDescription = "Example study of a synthetic head", f"Example {kind} MR"
    d.StudyDate = d.SeriesDate = d.ContentDate = "20240305"
    d.StudyTime, d.SeriesTime, d.ContentTime = "101500", "102000", "102500"
    d.SeriesInstanceUID, d.SeriesNumber = _uid(seed, kind, "series"), {"classic": 3, "enhanced": 4}[kind]
    d.Modality, d.PatientPosition, d.BodyPartExamined, d.ProtocolName = "MR", "HFS", "BRAIN", "Example protocol"
    d.FrameOfReferenceUID, d.PositionReferenceIndicator = _uid(seed, "frame of reference"), ""
    d.Manufacturer, d.ManufacturerModelName, d.DeviceSerialNumber = "InfoMRI", "Synthetic head", "0"
    d.SoftwareVersions, d.InstitutionName = "1", patient.institution
    d.InstanceNumber, d.AcquisitionNumber = number, 1
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.Rows, d.Columns = pixels.shape[-2:]
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    d.MagneticFieldStrength, d.BurnedInAnnotation, d.LossyImageCompression = 3, "NO", "00"
    d.PixelData = pixels.astype("<u2").tobytes()
    d["PixelData"].VR = "OW"
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return d


def _classic_dataset(
    pixels: NDArray[np.uint16], index: int, geometry: ExampleGeometry, patient: ExamplePatient, seed: int
) -> Dataset:
    """Slice ``index`` of the stack (slices, rows, columns) as MR Image Storage."""
    d = _common_dataset(pixels[index], patient, "classic", seed, index + 1)
    d.SOPClassUID = pydicom.uid.UID(_MR_IMAGE)
    d.ImageType = ["ORIGINAL", "PRIMARY", "OTHER", "NONE"]
    position, directions = geometry.position(pixels.shape, index), geometry.directions()
    d.ImagePositionPatient = [_decimal(x) for x in position]
    d.ImageOrientationPatient = [_decimal(x) for x in directions[:, :2].T.ravel()]
    d.PixelSpacing = [_decimal(x) for x in geometry.pixel_spacing]
    d.SliceThickness, d.SpacingBetweenSlices = _decimal(0.9 * geometry.slice_spacing), _decimal(geometry.slice_spacing)
    d.SliceLocation = _decimal(float(position @ directions[:, 2]))
    d.ScanningSequence, d.SequenceVariant, d.ScanOptions, d.MRAcquisitionType = "GR", "SP", "", "2D"
    d.RepetitionTime, d.EchoTime, d.EchoTrainLength, d.EchoNumbers, d.FlipAngle = 250, 2.5, 1, 1, 70
    d.AcquisitionDate, d.AcquisitionTime, d.WindowCenter, d.WindowWidth = "20240305", "102030", 2048, 4096
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    return d


def _enhanced_dataset(
    pixels: NDArray[np.uint16], geometry: ExampleGeometry, patient: ExamplePatient, seed: int
) -> Dataset:
    """The stack (slices, rows, columns) as Enhanced MR Image Storage, one frame a slice (PS3.3 A.36.2, C.8.13)."""
    d = _common_dataset(pixels, patient, "enhanced", seed, 1)
    d.SOPClassUID = pydicom.uid.UID(_ENHANCED_MR_IMAGE)
    d.ImageType = ["ORIGINAL", "PRIMARY", "OTHER", "NONE"]
    d.NumberOfFrames = len(pixels)
    for key, value in {**_DESCRIPTION, **_PULSE_SEQUENCE}.items():
        setattr(d, key, value)
    d.AcquisitionDateTime, d.AcquisitionDuration, d.ContentQualification = _ACQUIRED, 60.0, "RESEARCH"
    d.ResonantNucleus, d.KSpaceFiltering, d.PresentationLUTShape = "1H", "NONE", "IDENTITY"
    d.ApplicableSafetyStandardAgency, d.AcquisitionContextSequence = "IEC", []
    organization = _uid(seed, "enhanced", "dimensions")
    d.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    d.DimensionOrganizationType = "3D"
    d.DimensionIndexSequence = [_dimension("StackID", organization), _dimension("InStackPositionNumber", organization)]
    d.SharedFunctionalGroupsSequence = [_shared_groups(pixels.shape, geometry)]
    d.PerFrameFunctionalGroupsSequence = [_frame_groups(pixels.shape, index, geometry) for index in range(len(pixels))]
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    return d


def _dimension(keyword: str, organization: str) -> Dataset:
    return _item(
        DimensionOrganizationUID=organization,
        DimensionIndexPointer=pydicom.datadict.tag_for_keyword(keyword),
        FunctionalGroupPointer=pydicom.datadict.tag_for_keyword("FrameContentSequence"),
        DimensionDescriptionLabel=keyword,
    )


def _frame_groups(shape: tuple[int, ...], index: int, geometry: ExampleGeometry) -> Dataset:
    """What differs from frame to frame: position and place in the stack."""
    content = _item(
        FrameReferenceDateTime=_ACQUIRED,
        FrameAcquisitionDateTime=_ACQUIRED,
        FrameAcquisitionDuration=60.0,
        FrameAcquisitionNumber=1,
        StackID="1",
        InStackPositionNumber=index + 1,
        DimensionIndexValues=[1, index + 1],
    )
    position = [_decimal(x) for x in geometry.position((shape[0], shape[1], shape[2]), index)]
    return _item(FrameContentSequence=[content], PlanePositionSequence=[_item(ImagePositionPatient=position)])


def _shared_groups(shape: tuple[int, ...], geometry: ExampleGeometry) -> Dataset:
    """What all frames have in common: geometry, meaning of the pixels, acquisition."""
    measures = _item(
        PixelSpacing=[_decimal(x) for x in geometry.pixel_spacing],
        SliceThickness=_decimal(0.9 * geometry.slice_spacing),
        SpacingBetweenSlices=_decimal(geometry.slice_spacing),
    )
    orientation = [_decimal(x) for x in geometry.directions()[:, :2].T.ravel()]
    brain = _item(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Brain")
    groups = _item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=orientation)],
        FrameAnatomySequence=[_item(AnatomicRegionSequence=[brain], FrameLaterality="U")],
        PixelValueTransformationSequence=[_item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")],
        FrameVOILUTSequence=[_item(WindowCenter=2048, WindowWidth=4096)],
        MRImageFrameTypeSequence=[_item(FrameType=["ORIGINAL", "PRIMARY", "OTHER", "NONE"], **_DESCRIPTION)],
    )
    groups.update(_acquisition_groups(shape))
    return groups


def _acquisition_groups(shape: tuple[int, ...]) -> Dataset:
    """The macros of a spoiled 2D gradient echo (C.8.13.5)."""
    mode = _item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL")
    absorption = _item(SpecificAbsorptionRateDefinition="IEC_HEAD", SpecificAbsorptionRateValue=0.5)
    timing = _item(RepetitionTime=250, FlipAngle=70, EchoTrainLength=1, RFEchoTrainLength=0, GradientEchoTrainLength=1)
    timing.update(_item(GradientOutputType="DB_DT", GradientOutput=0.0, OperatingModeSequence=[mode]))
    timing.SpecificAbsorptionRateSequence = [absorption]
    view = _item(InPlanePhaseEncodingDirection="COLUMN", MRAcquisitionFrequencyEncodingSteps=shape[2])
    view.update(
        _item(MRAcquisitionPhaseEncodingStepsInPlane=shape[1], PercentSampling=100, PercentPhaseFieldOfView=100)
    )
    modifier = _item(InversionRecovery="NO", FlowCompensation="NONE", Spoiling="RF", T2Preparation="NO")
    modifier.update(_item(SpectrallySelectedExcitation="NONE", SpatialPresaturation="NONE"))
    modifier.update(_item(PartialFourier="NO", ParallelAcquisition="NO"))
    imaging = _item(MagnetizationTransfer="NONE", BloodSignalNulling="NO", Tagging="NONE")
    imaging.update(_item(TransmitterFrequency=127.7, PixelBandwidth=200.0))
    receive = _item(ReceiveCoilName="HEAD", ReceiveCoilManufacturerName="", ReceiveCoilType="VOLUME")
    receive.QuadratureReceiveCoil = "YES"
    transmit = _item(TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY")
    return _item(
        MRTimingAndRelatedParametersSequence=[timing],
        MRFOVGeometrySequence=[view],
        MREchoSequence=[_item(EffectiveEchoTime=2.5)],
        MRModifierSequence=[modifier],
        MRImagingModifierSequence=[imaging],
        MRReceiveCoilSequence=[receive],
        MRTransmitCoilSequence=[transmit],
        MRAveragesSequence=[_item(NumberOfAverages=1)],
    )


def _uid(seed: int, *what: object) -> str:
    """A unique identifier that depends on nothing but the seed and what it is of."""
    return str(generate_uid(entropy_srcs=["infomri-example", str(seed), *map(str, what)]))


def _decimal(value: float) -> DSfloat:
    """A number as a decimal string of at most 16 characters."""
    return DSfloat(float(value), auto_format=True)


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Write an example series into a folder.

    Example:
        >>> import tempfile
        >>> main([tempfile.mkdtemp(), "--slices", "2", "--grid", "48", "32"])
        2 files of a classic MR series written
    """
    parser = argparse.ArgumentParser(description="Write an example MR series into a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="classic")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--grid", type=int, nargs=2, default=(64, 64), metavar=("COLUMNS", "ROWS"))
    parser.add_argument("--axial", action="store_true", help="not oblique")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        paths = write_example_series(given.folder, given.kind, given.slices, given.grid, not given.axial, given.seed)
    except ValueError as error:
        parser.error(str(error))
    files = f"{len(paths)} file{'s' * (len(paths) > 1)}"
    print(f"{files} of {'an' if given.kind == 'enhanced' else 'a'} {given.kind} MR series written")


if __name__ == "__main__":
    main()
