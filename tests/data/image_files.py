"""Files of images as people have them: NIfTI, a DICOM series, PNG."""

import nibabel
import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

PATIENT = "DOE^JANE"


def write_nifti(path, shape=(7, 6, 3), seed=0):
    """Write a volume with an oblique affine and return both."""
    volume = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    affine = np.array([[1.8, 0.3, 0, -20], [-0.3, 1.9, 0.2, 5], [0, -0.1, 3, 7], [0, 0, 0, 1.0]])
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(volume, affine).to_filename(path)
    return volume, affine


def write_dicom_series(folder, shape=(3, 6, 8), spacing=(0.9, 0.7), step=4.0, suffix=".dcm", number=1, prefix="IM"):
    """Write a series of (slice, row, column), the files' names in reverse order of position, and return the pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 1000, shape).astype(np.uint16)
    series, study = generate_uid(), generate_uid()
    for index, plane in enumerate(pixels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid()
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        ds.PatientName, ds.PatientID, ds.Modality = PATIENT, "secret-4711", "MR"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SeriesNumber, ds.InstanceNumber, ds.SeriesDate = number, index + 1, "20200101"
        ds.Rows, ds.Columns, ds.PixelSpacing, ds.SliceThickness = *plane.shape, list(spacing), step
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [10.0, 20.0, 30 + step * index]
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = plane.tobytes()
        ds.save_as(folder / f"{prefix}{len(pixels) - index:04d}{suffix}", enforce_file_format=True)
    return pixels


def write_png(path, shape=(6, 8), depth=np.uint8, seed=0):
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(depth).max, shape).astype(depth)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def random_kspace(*shape, seed=0):
    """Complex standard normal deviates."""
    draw = np.random.default_rng(seed)
    return (draw.normal(size=shape) + 1j * draw.normal(size=shape)).astype(np.complex64)
