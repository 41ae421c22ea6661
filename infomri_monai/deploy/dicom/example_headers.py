"""The headers of an example MR series: invented patient, oblique geometry, and the classic MR image itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray

from infomri_monai.deploy.dicom.geometry import decimal

pydicom, _ = optional_import("pydicom")
pydicom_uid, _ = optional_import("pydicom.uid")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ExampleGeometry", "ExamplePatient", "classic_dataset", "common_dataset", "example_uid"]

_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


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


def example_uid(seed: int, *what: object) -> str:
    """A unique identifier that depends on nothing but the seed and what it is of.

    Example:
        >>> example_uid(0, "study") == example_uid(0, "study") != example_uid(1, "study")
        True
    """
    return str(pydicom_uid.generate_uid(entropy_srcs=["infomri-example", str(seed), *map(str, what)]))


def common_dataset(pixels: NDArray[np.uint16], patient: ExamplePatient, kind: str, seed: int, number: int) -> Dataset:
    """What classic and enhanced instances have in common: patient, study, series, equipment, pixels.

    Args:
        pixels: (rows, columns) or (frames, rows, columns).
        patient: invented identifiers.
        kind: of the series; gives its UID and number.
        seed: of the UIDs.
        number: of the instance, from 1.

    Returns:
        A dataset with file meta information; SOP class, image type and geometry are missing.
    """
    d = pydicom.Dataset()
    d.SpecificCharacterSet = "ISO_IR 100"
    d.SOPInstanceUID = example_uid(seed, kind, "instance", number)
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = (
        patient.name,
        patient.identifier,
        patient.birth_date,
        "F",
    )
    d.StudyInstanceUID, d.StudyID = example_uid(seed, "study"), patient.study_id
    d.AccessionNumber, d.ReferringPhysicianName = patient.accession_number, patient.physician
    d.StudyDescription, d.SeriesDescription = "Example study of a synthetic head", f"Example {kind} MR"
    d.StudyDate = d.SeriesDate = d.ContentDate = "20240305"
    d.StudyTime, d.SeriesTime, d.ContentTime = "101500", "102000", "102500"
    d.SeriesInstanceUID, d.SeriesNumber = example_uid(seed, kind, "series"), {"classic": 3, "enhanced": 4}[kind]
    d.Modality, d.PatientPosition, d.BodyPartExamined, d.ProtocolName = "MR", "HFS", "BRAIN", "Example protocol"
    d.FrameOfReferenceUID, d.PositionReferenceIndicator = example_uid(seed, "frame of reference"), ""
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
    d.file_meta.TransferSyntaxUID = pydicom_uid.UID(_EXPLICIT_LITTLE_ENDIAN)
    return d


def classic_dataset(
    pixels: NDArray[np.uint16], index: int, geometry: ExampleGeometry, patient: ExamplePatient, seed: int
) -> Dataset:
    """One slice as MR Image Storage.

    Args:
        pixels: of the whole stack, (slices, rows, columns).
        index: of the slice.
        geometry: of the stack.
        patient: invented identifiers.
        seed: of the UIDs.

    Returns:
        A dataset with file meta information.

    Example:
        >>> stack = np.zeros((2, 4, 6), np.uint16)
        >>> dataset = classic_dataset(stack, 1, ExampleGeometry((0, 0), (1, 1), 5), ExamplePatient(), seed=0)
        >>> [float(x) for x in dataset.ImagePositionPatient]
        [-2.5, -1.5, 2.5]
    """
    d = common_dataset(pixels[index], patient, "classic", seed, index + 1)
    d.SOPClassUID = pydicom_uid.UID(_MR_IMAGE)
    d.ImageType = ["ORIGINAL", "PRIMARY", "OTHER", "NONE"]
    position, directions = geometry.position(pixels.shape, index), geometry.directions()
    d.ImagePositionPatient = [decimal(x) for x in position]
    d.ImageOrientationPatient = [decimal(x) for x in directions[:, :2].T.ravel()]
    d.PixelSpacing = [decimal(x) for x in geometry.pixel_spacing]
    d.SliceThickness, d.SpacingBetweenSlices = decimal(0.9 * geometry.slice_spacing), decimal(geometry.slice_spacing)
    d.SliceLocation = decimal(float(position @ directions[:, 2]))
    d.ScanningSequence, d.SequenceVariant, d.ScanOptions, d.MRAcquisitionType = "GR", "SP", "", "2D"
    d.RepetitionTime, d.EchoTime, d.EchoTrainLength, d.EchoNumbers, d.FlipAngle = 250, 2.5, 1, 1, 70
    d.AcquisitionDate, d.AcquisitionTime, d.WindowCenter, d.WindowWidth = "20240305", "102030", 2048, 4096
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    return d
