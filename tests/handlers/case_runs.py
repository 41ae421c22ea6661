"""Small runs of the three handlers that write whole cases, and readers of what they wrote."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import torch
from known_diagnoses import classifier
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from threshold_network import ThresholdNetwork

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.data import CaseDataset, ReadCased, inference_cases
from infomri_monai.engines import (
    ClassificationInferer,
    PrepareCase,
    SegmentationInferer,
    TolerantInferer,
    VolumeInferer,
)
from infomri_monai.handlers import WriteClassification, WriteReconstruction, WriteSegmentation
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import UniformRandom, VariableDensity

AFFINE = np.array([[1.8, 0.3, 0, -20], [-0.3, 1.9, 0.2, 5], [0, -0.1, 3, 7], [0, 0, 0, 1.0]])
THRESHOLDS = (4.5, 6.5, 9.5, 3.5)
MAPS = ("entropy", "mask", "mutual_information", "probability", "segmentation")
#: of a case: the images by name; the report of all
FILES = {"reconstruction": ("mask", "mean", "sigma"), "segmentation": MAPS, "classification": ()}
REPORTS = {"reconstruction": [], "segmentation": ["worklist.csv", "worklist.json"], "classification": ["report.csv"]}


def write_volume(path, shape=(21, 18, 3), seed=0, affine=AFFINE, scale=1.0):
    """Whole numbers, which ThresholdNetwork segments exactly when they are fully sampled without noise."""
    volume = scale * np.random.default_rng(seed).integers(0, 30, shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(volume, affine).to_filename(path)
    return volume


def reconstructor():
    """One phase of four channels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UnrolledReconstructor(phases=1, channels=4)


def engine_of(task, cases, output, kind="image", network=None, policy=None, inferer=None, sampler=None, **options):
    """The evaluator of the task's bundle, small; ``cases`` is a folder or a list of cases."""
    arguments = {"ratio": 0.25 if task == "reconstruction" else 1.0, "seed": 3, "progress": False} | (inferer or {})
    if task == "reconstruction":
        measurement = FourierMeasurement(noise=ComplexGaussianNoise(1e-3))
        infer = VolumeInferer(policy or VariableDensity(), measurement, **arguments)
        network, handler = network or reconstructor(), WriteReconstruction(output, **options)
    elif task == "segmentation":
        arguments = {"samples": len(THRESHOLDS)} | arguments
        infer = SegmentationInferer(policy or UniformRandom(), FourierMeasurement(), **arguments)
        network, handler = network or ThresholdNetwork(), WriteSegmentation(output, **options)
    else:
        infer = ClassificationInferer(policy or UniformRandom(), FourierMeasurement(), **arguments)
        network, handler = network or classifier(), WriteClassification(output, **options)
    found = cases if isinstance(cases, list) else inference_cases(cases, kind=kind)
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(CaseDataset(found, ReadCased()), batch_size=1, sampler=sampler),
        network=network,
        prepare_batch=PrepareCase(),
        inferer=TolerantInferer(infer),
        val_handlers=[handler],
        decollate=False,
    )


def run(*args, **options):
    """Such an evaluation."""
    engine_of(*args, **options).run()


def files(folder):
    """All files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def files_of(task, *cases):
    """All files that a run of these cases leaves."""
    own = [f"{case}{end}" for case in cases for end in (".json", *(f"_{name}.nii.gz" for name in FILES[task]))]
    return sorted(own + REPORTS[task])


def load(path):
    """The NIfTI image and its array."""
    image = nibabel.load(path)
    return image, np.asanyarray(image.dataobj)


def descrip(image):
    """What a NIfTI image says of itself."""
    return bytes(image.header["descrip"].item()).decode()


def sidecar(path):
    """The JSON file; NaN, which the standard does not know, is an error."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def rows(folder, name="report.csv"):
    """Rows of a CSV file."""
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def says(record, **expected):
    """Of a sidecar: these keys have these values."""
    assert {key: record[key] for key in expected} == expected
