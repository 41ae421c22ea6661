"""A case of an oblique example series, read by MONAI: image, affine, source; shared by the tests of the DICOM writers."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
from monai.data import ITKReader
from pydicom import Dataset

from hospital.mr_series import example_datasets
from infomri_monai.deploy.case import CaseSource
from infomri_monai.deploy.derivation import Derivation, ModelIdentity

MODEL = ModelIdentity("infomri_reconstruction", "0.3.0", "0123456789abcdef" * 4)
SIMULATED = Derivation("InfoMRI reconstruction 8x", "Posterior mean of 16 samples, 8x.", True, MODEL)
ACQUIRED = SIMULATED._replace(simulated=False)
GRID = (44, 36)


#: of a patient and a study
KNOWN_TO_RAW_DATA = (
    "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID StudyDate StudyTime AccessionNumber "
    "ReferringPhysicianName FrameOfReferenceUID"
)


class Case(NamedTuple):
    """Image (columns, rows, slices), its affine as MONAI reads them from the files, and the datasets without pixels."""

    image: np.ndarray
    affine: np.ndarray
    source: CaseSource


def read_volume(paths):
    """Image and RAS affine of DICOM files as MONAI's ITKReader reads them, which knows nothing of this package."""
    reader = ITKReader()
    paths = [str(path) for path in paths]
    image, meta = reader.get_data(reader.read(str(paths[0]) if len(paths) == 1 else str(paths[0].rsplit("/", 1)[0])))
    image = image if image.ndim == 3 else image[..., None]
    return image, np.asarray(meta["affine"], dtype=np.float64)


def write(datasets, folder):
    """Write datasets with pydicom alone."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.dcm" for number in range(len(datasets))]
    for path, dataset in zip(paths, datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def without_pixels(dataset):
    light = copy.deepcopy(dataset)
    del light.PixelData
    return light


def make_case(folder, kind="classic", slices=4, change=None):
    """Write an oblique series with pixels that are not square, and read it."""
    datasets = example_datasets(kind, slices=slices, grid=GRID, aspect=1.25)
    if change is not None:
        for dataset in datasets:
            change(dataset)
    image, affine = read_volume(write(datasets, folder / "source"))
    frames = tuple(range(1, slices + 1)) if kind == "enhanced" else ()
    instances = tuple(without_pixels(dataset) for dataset in datasets)
    return Case(image, affine, CaseSource(instances, instances[0], frames))


def raw_source():
    """What raw k-space knows: patient and study, no instance."""
    (header,) = example_datasets(slices=1)
    attributes = Dataset()
    for keyword in KNOWN_TO_RAW_DATA.split():
        attributes[keyword] = header[keyword]
    return CaseSource((), attributes)
