"""Files of whole cases: geometry, numbers, provenance; failures leave nothing and stop nobody; a diagnosis leaves no image."""

import csv
import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from helper import refuses
from ignite.engine import Events
from known_diagnoses import classifier, evaluator, write_case
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from PIL import Image
from threshold_network import ThresholdNetwork

import infomri_monai
from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement, image_to_kspace
from infomri_monai.data import CaseDataset, ReadCased, inference_cases
from infomri_monai.engines import (
    ClassificationInferer,
    PrepareCase,
    SegmentationInferer,
    TolerantInferer,
    VolumeInferer,
)
from infomri_monai.handlers import WriteClassification, WriteReconstruction, WriteSegmentation
from infomri_monai.handlers.cases import voxel_volume
from infomri_monai.networks import DeterministicSegmenter, UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom, VariableDensity
from infomri_monai.triage import choose_threshold, save_threshold

AFFINE = np.array([[1.8, 0.3, 0, -20], [-0.3, 1.9, 0.2, 5], [0, -0.1, 3, 7], [0, 0, 0, 1.0]])
VOXEL = abs(np.linalg.det(AFFINE[:3, :3]))
MAPS = ("entropy", "mask", "mutual_information", "probability", "segmentation")
THRESHOLDS = (4.5, 6.5, 9.5, 3.5)
LOGITS = [[1.0, 0.2], [0.1, 1.4], [0.6, 0.6]]
#: of a case: the images by name; the report of all
FILES = {"reconstruction": ("mask", "mean", "sigma"), "segmentation": MAPS, "classification": ()}
REPORTS = {"reconstruction": [], "segmentation": ["worklist.csv", "worklist.json"], "classification": ["report.csv"]}


def write_volume(path, shape=(21, 18, 3), seed=0, affine=AFFINE, scale=1.0):
    """Whole numbers, which ThresholdNetwork segments exactly when they are fully sampled without noise."""
    volume = scale * np.random.default_rng(seed).integers(0, 30, shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(volume, affine).to_filename(path)
    return volume


def parts(task, output, policy, inferer, options):
    """Network, inferer and handler of a task, small."""
    if task == "reconstruction":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = UnrolledReconstructor(phases=1, channels=4)
        measurement = FourierMeasurement(noise=ComplexGaussianNoise(1e-3))
        arguments = {"ratio": 0.25, "seed": 3, "progress": False} | inferer
        return (
            network,
            VolumeInferer(policy or VariableDensity(), measurement, **arguments),
            WriteReconstruction(output, **options),
        )
    arguments = {"ratio": 1.0, "seed": 3, "progress": False} | inferer
    if task == "segmentation":
        segment = SegmentationInferer(
            policy or UniformRandom(), FourierMeasurement(), **{"samples": len(THRESHOLDS)} | arguments
        )
        return ThresholdNetwork(), segment, WriteSegmentation(output, **options)
    classify = ClassificationInferer(policy or UniformRandom(), FourierMeasurement(), **arguments)
    return classifier(), classify, WriteClassification(output, **options)


def engine_of(task, folder, output, kind="image", network=None, policy=None, inferer=None, **options):
    """The evaluator of the bundle."""
    own, infer, handler = parts(task, output, policy, inferer or {}, options)
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(CaseDataset(inference_cases(folder, kind=kind), ReadCased()), batch_size=1),
        network=network or own,
        prepare_batch=PrepareCase(),
        inferer=TolerantInferer(infer),
        val_handlers=[handler],
        decollate=False,
    )


def run(*args, **options):
    engine_of(*args, **options).run()


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def files_of(task, *cases):
    """All files that a run of these cases leaves."""
    own = [f"{case}{end}" for case in cases for end in (".json", *(f"_{name}.nii.gz" for name in FILES[task]))]
    return sorted(own + REPORTS[task])


def load(path):
    image = nibabel.load(path)
    return image, np.asanyarray(image.dataobj)


def descrip(image):
    return bytes(image.header["descrip"].item()).decode()


def sidecar(path):
    """The JSON file; NaN, which the standard does not know, is an error."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def rows(folder, name="report.csv"):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


every_task = pytest.mark.parametrize("task", FILES)
tasks_with_images = pytest.mark.parametrize("task", ["reconstruction", "segmentation"])


def write_broken(folder):
    """Cases 1 (NaN, a patient's name) and 3 (nothing to see) fail, 2 and 4 do not."""
    for name in ("a", "b", "DOE_JANE", "z"):
        volume = write_volume(folder / f"{name}.nii.gz")
    volume[3, 4, 0] = np.nan
    nibabel.Nifti1Image(volume, AFFINE).to_filename(folder / "DOE_JANE.nii.gz")


@every_task
def test_broken_cases_leave_no_file_and_are_reported_by_number(task, tmp_path, caplog):
    write_broken(tmp_path / "in")
    if task == "classification":
        nibabel.Nifti1Image(np.zeros((9, 8, 2), np.float32), AFFINE).to_filename(tmp_path / "in" / "b.nii.gz")
        reason = "no signal"
    else:
        write_volume(tmp_path / "in" / "b.nii.gz", shape=(1, 1, 2))  # no mask of this grid has a ratio of 0.25
        reason = "cannot be met"
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(RuntimeError, match=rf"2 of 4 cases failed.*case 1: .*NaN.*case 3: .*{reason}"),
    ):
        run(task, tmp_path / "in", tmp_path / "out", inferer={"ratio": 0.25}, name_by="index")
    assert files(tmp_path / "out") == files_of(task, "case_0002", "case_0004")
    assert "case 1 failed" in caplog.text
    assert "DOE" not in caplog.text
    assert b"DOE" not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    if task == "segmentation":
        failed = rows(tmp_path / "out", "worklist.csv")[:2]
        assert [(row["case"], row["name"], row["review"]) for row in failed] == [
            ("1", "case_0001", "yes"),
            ("3", "case_0003", "yes"),
        ]
        assert failed[0]["agreement"] == failed[0]["structure_1_median_mm3"] == ""
    if task == "classification":
        report = rows(tmp_path / "out")
        assert [(row["case"], row["name"], row["status"]) for row in report] == [
            (str(i), f"case_000{i}", status) for i, status in enumerate(("failed", "ok", "failed", "ok"), 1)
        ]
        assert report[0]["reason"] == "ValueError: image holds NaN or Inf values."
        assert report[0]["probability_class_0"] == report[0]["most_probable"] == report[0]["ratio_realised"] == ""


@every_task
def test_a_write_that_fails_leaves_no_part_of_the_case(task, tmp_path):
    for name in ("a", "b"):
        write_volume(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "out" / files_of(task, "a")[0]).mkdir(parents=True)  # a folder where a file should go
    refuses(RuntimeError, r"1 of 2 cases failed.*cannot be written", run, task, tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == files_of(task, "b")
    if task == "segmentation":
        cases = json.loads((tmp_path / "out" / "worklist.json").read_text())["cases"]
        assert [case["name"] for case in cases] == ["a", "b"]
        assert cases[0]["agreement"] is None
    if task == "classification":
        assert [row["status"] for row in rows(tmp_path / "out")] == ["failed", "ok"]


@every_task
def test_a_second_run_forgets_the_first_and_writes_the_same_bytes(task, tmp_path):
    write_volume(tmp_path / "in" / "sub-1" / "t1.nii.gz")
    engine, written = engine_of(task, tmp_path / "in", tmp_path / "out", inferer={"ratio": 0.4}), []
    for _ in range(2):
        engine.run()
        written.append([(tmp_path / "out" / name).read_bytes() for name in files_of(task, "sub-1/t1")])
        assert files(tmp_path / "out") == files_of(task, "sub-1/t1")
    assert written[0] == written[1]


@tasks_with_images
@pytest.mark.parametrize("shape", [(21, 18, 2), (13, 30, 2)])
def test_cropped_and_padded_images_keep_the_worlds_place(task, tmp_path, shape):
    """Pixel n // 2 of the source and pixel m // 2 of the mask's grid are the same point of the world."""
    write_volume(tmp_path / "in" / "t1.nii.gz", shape)
    policy = PatternGenerationNetwork((20, 20))
    run(task, tmp_path / "in", tmp_path / "out", policy=policy, inferer={"grid_mode": "crop_pad"}, figure=True)
    shown = {"reconstruction": "mean", "segmentation": "segmentation"}[task]
    (image, _), (mask, data) = (load(tmp_path / "out" / f"t1_{name}.nii.gz") for name in (shown, "mask"))
    assert image.shape == shape
    assert data.shape == (20, 20, 2)
    assert np.allclose(image.affine, AFFINE, atol=1e-6)
    centre = AFFINE @ [shape[0] // 2, shape[1] // 2, 1, 1]
    assert np.allclose(mask.affine @ [10, 10, 1, 1], centre, atol=1e-4)
    assert (tmp_path / "out" / "t1.png").stat().st_size > 10_000


@tasks_with_images
def test_measured_kspace_is_called_measured_and_counted_in_voxels(task, tmp_path):
    draw = np.random.default_rng(0)
    kspace = (draw.normal(size=(2, 8, 10)) + 1j * draw.normal(size=(2, 8, 10))).astype(np.complex64)
    kspace[:, :, ::2] = 0
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "scan.npz", kspace=kspace)
    network = ThresholdNetwork(thresholds=(0.25, 0.5, 0.75, 1.0), step=0.5) if task == "segmentation" else None
    run(task, tmp_path / "in", tmp_path / "out", kind="kspace", network=network, figure=True)
    image, mask = load(tmp_path / "out" / "scan_mask.nii.gz")
    record = sidecar(tmp_path / "out" / "scan.json")
    assert np.array_equal(mask, (kspace != 0).transpose(1, 2, 0))
    assert np.array_equal(image.affine, np.eye(4))
    assert descrip(image) == f"InfoMRI {task} of measured k-space ratio=0.5"
    assert record["simulated"] is False
    assert [record[key] for key in ("ratio_requested", "seed", "noise_std", "policy")] == [None] * 4
    assert (tmp_path / "out" / "scan.png").exists() == (task == "segmentation")  # there is no truth to show
    if task == "segmentation":
        assert record["samples_seed"] == 3
        assert record["volume_unit"] == "voxels"
        assert "structure_1_median_voxels" in (tmp_path / "out" / "worklist.csv").read_text()


@tasks_with_images
def test_an_empty_measurement_has_no_acceleration_and_nothing_in_it(task, tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "zero.npy", np.zeros((8, 8), np.complex64))
    run(task, tmp_path / "in", tmp_path / "out", kind="kspace", figure=True)
    assert sidecar(tmp_path / "out" / "zero.json")["acceleration"] is None
    for name in {"reconstruction": ("mean", "sigma"), "segmentation": ("segmentation",)}[task]:
        assert not load(tmp_path / "out" / f"zero_{name}.nii.gz")[1].any()
    if task == "segmentation":
        assert json.loads((tmp_path / "out" / "worklist.json").read_text())["cases"][0]["acceleration"] is None


def test_reconstructions_keep_shape_affine_and_units(tmp_path):
    for name, scale in (("sub-1", 1), ("sub-2", 1000)):
        write_volume(tmp_path / "in" / name / "t1.nii.gz", scale=scale)
    affine = np.array([[0, 0, 3, 1], [2, 0.5, 0, 2], [0.5, 2, 0, 3], [0, 0, 0, 1.0]])
    write_volume(tmp_path / "in" / "plane.nii", shape=(15, 22), affine=affine)
    run("reconstruction", tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == files_of("reconstruction", "plane", "sub-1/t1", "sub-2/t1")
    for name in ("mean", "sigma"):
        (unit, a), (scaled, b) = (load(tmp_path / "out" / f"sub-{i}" / f"t1_{name}.nii.gz") for i in (1, 2))
        assert unit.shape == (21, 18, 3)
        assert unit.get_data_dtype() == np.float32
        assert np.allclose(unit.affine, AFFINE, atol=1e-6)
        assert np.allclose(unit.header.get_zooms(), np.linalg.norm(AFFINE[:3, :3], axis=0))
        assert np.allclose(b / 1000, a, rtol=1e-3, atol=2e-3)
        assert descrip(scaled) == "InfoMRI simulated acquisition ratio=0.25 seed=3"
    for name in ("mean", "sigma", "mask"):
        image, data = load(tmp_path / "out" / f"plane_{name}.nii.gz")
        assert data.shape == (15, 22)
        assert np.allclose(image.affine, affine, atol=1e-6)


def test_sidecar_is_the_acquisition_and_agrees_with_the_mask(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    run("reconstruction", tmp_path / "in", tmp_path / "out")
    image, mask = load(tmp_path / "out" / "t1_mask.nii.gz")
    record = sidecar(tmp_path / "out" / "t1.json")
    assert image.get_data_dtype() == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert record["ratio_realised"] == pytest.approx(mask.mean(), abs=1e-6)
    assert record["ratio_realised_per_slice"] == pytest.approx(mask.mean((0, 1)).tolist(), abs=1e-6)
    assert record["acceleration"] == pytest.approx(1 / mask.mean(), rel=1e-5)
    expected = {
        "simulated": True,
        "ratio_requested": 0.25,
        "ratio_extrapolated": None,
        "seed": 3,
        "noise": "ComplexGaussianNoise",
        "noise_std": 1e-3,
        "noise_relative_to_dc": True,
        "policy": "VariableDensity",
        "network": "UnrolledReconstructor",
        "grid": [21, 18],
        "grid_mode": "adapt",
        "version": infomri_monai.__version__,
    }
    assert expected.items() <= record.items()


@pytest.mark.parametrize(
    ("handler", "options", "message"),
    [
        *(
            (handler, {"name_by": "patient"}, "'stem' or 'index'")
            for handler in (WriteReconstruction, WriteSegmentation)
        ),
        (WriteSegmentation, {"figure": "yes"}, "figure must be True or False"),
        (WriteSegmentation, {"structures": ["white", "white"]}, "structures must be different names"),
        (WriteSegmentation, {"structures": "tumour"}, "structures must be different names"),
        (WriteSegmentation, {"save_samples": "false"}, "save_samples must be True or False"),
        (WriteClassification, {"labels": "lesion"}, "labels must be different names"),
        (WriteClassification, {"labels": ["lesion", "lesion"]}, "labels must be different names"),
        (WriteClassification, {"labels": []}, "labels must be different names"),
        (WriteClassification, {"multi_label": "true"}, "multi_label must be True or False"),
    ],
)
def test_refuses_options(handler, options, message):
    refuses(ValueError, message, handler, "out", **options)


def sampled_volumes(volume):
    """Pixels of the two structures in every sample, counted in the image."""
    return np.array([[((volume > t) & (volume <= t + 10)).sum(), (volume > t + 10).sum()] for t in THRESHOLDS])


def test_segmentations_keep_shape_and_affine_and_hold_the_result(tmp_path):
    volume = write_volume(tmp_path / "in" / "sub-1" / "t1.nii.gz")
    run("segmentation", tmp_path / "in", tmp_path / "out")
    names = [f"sub-1/t1_{name}.nii.gz" for name in MAPS]
    assert files(tmp_path / "out") == sorted(["sub-1/t1.json", *names, "worklist.csv", "worklist.json"])
    loaded = {name: load(tmp_path / "out" / "sub-1" / f"t1_{name}.nii.gz") for name in MAPS}
    for name, (image, data) in loaded.items():
        assert data.shape == ((21, 18, 3, 3) if name == "probability" else (21, 18, 3))
        assert image.get_data_dtype() == (np.uint8 if name in ("mask", "segmentation") else np.float32)
        assert np.allclose(image.affine, AFFINE, atol=1e-6)
        assert descrip(image) == "InfoMRI simulated acquisition ratio=1 seed=3"
    inner = np.mean([volume > t + 10 for t in THRESHOLDS], axis=0)
    outer = np.mean([volume > t for t in THRESHOLDS], axis=0) - inner
    expected = np.stack([1 - outer - inner, outer, inner], -1)
    np.testing.assert_allclose(loaded["probability"][1], expected, atol=1e-6)
    assert np.array_equal(loaded["segmentation"][1], expected.argmax(-1))
    logs = np.log(np.where(expected > 0, expected, 1))
    np.testing.assert_allclose(loaded["entropy"][1], -(expected * logs).sum(-1), atol=1e-5)


def test_sidecar_of_a_segmentation_says_how_and_how_sure(tmp_path):
    volume = write_volume(tmp_path / "in" / "t1.nii.gz")
    run("segmentation", tmp_path / "in", tmp_path / "out", structures=["grey", "white"])
    record = sidecar(tmp_path / "out" / "t1.json")
    expected = {
        "simulated": True,
        "ratio_requested": 1.0,
        "ratio_realised": 1.0,
        "acceleration": 1.0,
        "seed": 3,
        "samples_seed": 3,
        "samples": 4,
        "classes": 3,
        "multi_label": False,
        "network": "ThresholdNetwork",
        "shape": [21, 18, 3],
        "volume_unit": "mm3",
        "review": None,
        "review_below_agreement": None,
        "version": infomri_monai.__version__,
    }
    assert expected.items() <= record.items()
    counts = sampled_volumes(volume) * VOXEL
    for i, name in enumerate(("grey", "white")):
        assert record["volumes"][name]["median"] == pytest.approx(np.median(counts[:, i]))
        assert record["volumes"][name]["interval_90"] == pytest.approx(np.quantile(counts[:, i], [0.05, 0.95]))
    assert 0 < record["agreement"] < 1
    assert record["mean_entropy"] == pytest.approx(load(tmp_path / "out" / "t1_entropy.nii.gz")[1].mean(), rel=1e-5)


def test_2d_image_has_one_slice_where_classes_are_the_fourth_axis(tmp_path):
    affine = np.array([[0, 0, 3, 1], [2, 0.5, 0, 2], [0.5, 2, 0, 3], [0, 0, 0, 1.0]])
    volume = write_volume(tmp_path / "in" / "plane.nii", shape=(15, 22), affine=affine)
    run(
        "segmentation",
        tmp_path / "in",
        tmp_path / "out",
        inferer={"keep_samples": True, "reconstruct": True},
        save_samples=True,
    )
    for name in (*MAPS, "mean", "sigma", "samples"):
        image, data = load(tmp_path / "out" / f"plane_{name}.nii.gz")
        assert data.shape == {"probability": (15, 22, 1, 3), "samples": (15, 22, 1, 4)}.get(name, (15, 22))
        assert np.allclose(image.affine, affine, atol=1e-6)
    samples = load(tmp_path / "out" / "plane_samples.nii.gz")[1]
    for k, threshold in enumerate(THRESHOLDS):
        expected = (volume > threshold).astype(np.uint8) + (volume > threshold + 10)
        assert np.array_equal(samples[:, :, 0, k], expected)
    np.testing.assert_allclose(load(tmp_path / "out" / "plane_mean.nii.gz")[1], volume, atol=1e-4)


def test_labels_that_overlap_lie_on_the_fourth_axis(tmp_path):
    volume = write_volume(tmp_path / "in" / "t1.nii.gz")
    options = {"network": ThresholdNetwork(multi_label=True), "inferer": {"keep_samples": True}, "save_samples": True}
    run("segmentation", tmp_path / "in", tmp_path / "out", **options)
    segmentation, samples = (load(tmp_path / "out" / f"t1_{name}.nii.gz")[1] for name in ("segmentation", "samples"))
    assert segmentation.shape == (21, 18, 3, 2)
    assert samples.shape == (21, 18, 3, 8)
    for k, threshold in enumerate(THRESHOLDS):
        assert np.array_equal(samples[..., 2 * k], volume > threshold)
        assert np.array_equal(samples[..., 2 * k + 1], volume > threshold + 10)
    assert np.array_equal(segmentation[..., 1], np.mean([volume > t + 10 for t in THRESHOLDS], axis=0) > 0.5)
    assert sidecar(tmp_path / "out" / "t1.json")["multi_label"] is True


def write_png(path, shape=(21, 18)):
    """An image without geometry, of whole numbers as :func:`write_volume`."""
    pixels = np.random.default_rng(0).integers(0, 30, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def test_a_picture_without_geometry_is_counted_in_voxels(tmp_path):
    counts = sampled_volumes(write_png(tmp_path / "in" / "plane.png"))
    run("segmentation", tmp_path / "in", tmp_path / "out")
    record = sidecar(tmp_path / "out" / "plane.json")
    assert record["volume_unit"] == "voxels"
    assert record["volumes"]["structure_2"]["median"] == np.median(counts[:, 1])
    (row,) = csv.DictReader((tmp_path / "out" / "worklist.csv").read_text().splitlines())
    assert float(row["structure_2_median_voxels"]) == np.median(counts[:, 1])
    assert "mm3" not in (tmp_path / "out" / "worklist.json").read_text()


def test_embedded_arrays_are_counted_in_voxels(tmp_path):
    run(
        "segmentation",
        "embedded",
        tmp_path / "out",
        network=ThresholdNetwork(thresholds=(0.25, 0.5, 0.75, 1.0), step=0.5),
    )
    assert [sidecar(path)["volume_unit"] for path in (tmp_path / "out").glob("subject_*.json")] == ["voxels"] * 2
    assert "_mm3" not in (tmp_path / "out" / "worklist.csv").read_text()


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_worklist_of_both_kinds_has_one_unit(tmp_path, names):
    """Voxels, which every case has; each sidecar keeps its own unit."""
    volume = write_volume(tmp_path / "in" / f"{names[0]}.nii.gz")
    pixels = write_png(tmp_path / "in" / f"{names[1]}.png")
    run("segmentation", tmp_path / "in", tmp_path / "out")
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "out" / "worklist.csv").read_text().splitlines())}
    for name, image, voxel, unit in zip(names, (volume, pixels), (VOXEL, 1), ("mm3", "voxels"), strict=True):
        median = np.median(sampled_volumes(image)[:, 0])
        record = sidecar(tmp_path / "out" / f"{name}.json")
        assert float(rows[name]["structure_1_median_voxels"]) == median
        assert record["volumes"]["structure_1"]["median"] == pytest.approx(voxel * median)
        assert record["volume_unit"] == unit


def test_a_case_that_says_nothing_of_its_geometry_has_no_voxel_size():
    image = MetaTensor(torch.ones(1, 1, 4, 4), affine=torch.from_numpy(AFFINE))
    assert voxel_volume({"image": image}) is None
    assert voxel_volume({"image": image, "has_geometry": torch.tensor([False])}) is None
    assert voxel_volume({"image": image, "has_geometry": torch.tensor([True])}) == pytest.approx(VOXEL)
    flat = MetaTensor(torch.ones(1, 1, 4, 4), affine=torch.diag(torch.tensor([1.0, 2.0, 0.0, 1.0])))
    assert math.isnan(voxel_volume({"image": flat, "has_geometry": torch.tensor([True])}))


def test_worklist_has_the_least_agreement_first_and_the_review_of_the_threshold(tmp_path):
    for seed, name in enumerate(("a", "b", "c")):
        write_volume(tmp_path / "in" / f"{name}.nii.gz", seed=seed)
    nibabel.Nifti1Image(np.full((9, 9, 1), 8.0), AFFINE).to_filename(tmp_path / "in" / "d.nii.gz")  # samples disagree
    save_threshold(
        choose_threshold([0.5, 0.1], [0.9, 0.1], acceptable=0.7, error_rate=0.1), tmp_path / "threshold.json"
    )
    run("segmentation", tmp_path / "in", tmp_path / "out", threshold_path=tmp_path / "threshold.json", figure=True)
    cases = json.loads((tmp_path / "out" / "worklist.json").read_text())["cases"]
    assert cases[0]["name"] == "d"
    # one structure: one sample of four is empty, so that half of the pairs agree; the other is empty everywhere
    assert cases[0]["agreement"] == pytest.approx((3 / 6 + 1) / 2)
    agreements = [case["agreement"] for case in cases]
    assert agreements == sorted(agreements)
    for case in cases:
        assert case["review"] is (case["agreement"] < 0.5)
        assert case["picture"] == f"{case['name']}.png"
        assert (tmp_path / "out" / case["picture"]).exists()
        record = sidecar(tmp_path / "out" / f"{case['name']}.json")
        assert record["review"] is case["review"]
        assert record["review_below_agreement"] == 0.5
        assert record["agreement"] == case["agreement"]


def test_a_case_may_not_take_the_worklists_name(tmp_path):
    write_volume(tmp_path / "in" / "worklist.nii.gz")
    with pytest.raises(RuntimeError, match=r"case 1: FileExistsError: the files cannot be written \(File exists\)"):
        run("segmentation", tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == ["worklist.csv", "worklist.json"]


def test_one_segmentation_has_no_agreement_and_no_interval(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    save_threshold(
        choose_threshold([0.5, 0.1], [0.9, 0.1], acceptable=0.7, error_rate=0.1), tmp_path / "threshold.json"
    )
    network = DeterministicSegmenter(channels=(8, 8)).eval()
    run("segmentation", tmp_path / "in", tmp_path / "out", network=network, threshold_path=tmp_path / "threshold.json")
    record = sidecar(tmp_path / "out" / "t1.json")
    assert record["samples"] == 1
    assert record["agreement"] is None
    assert record["review"] is True
    assert record["volumes"]["structure_1"]["interval_90"] == [None, None]
    assert record["volumes"]["structure_1"]["median"] is not None


def test_segmentation_refuses_what_does_not_fit_before_any_file(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    with pytest.raises(FileNotFoundError, match=r"threshold_path: there is no file .*nowhere\.json"):
        WriteSegmentation("out", threshold_path=tmp_path / "nowhere.json")
    with pytest.raises(ValueError, match="structures must be different names, one for each of 2"):
        run("segmentation", tmp_path / "in", tmp_path / "out", structures=["tumour"])
    refuses(ValueError, "keep_samples=True", run, "segmentation", tmp_path / "in", tmp_path / "out", save_samples=True)
    assert not (tmp_path / "out").exists()


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(-1, keepdims=True)


def leaves(value):
    """All lists and all other values below a JSON value."""
    if isinstance(value, dict):
        return [leaf for own in value.values() for leaf in leaves(own)]
    return [value]


def test_report_and_json_hold_the_known_diagnosis(tmp_path):
    write_case(tmp_path / "in" / "sub-1" / "t1.nii.gz", LOGITS)
    evaluator(tmp_path / "in", tmp_path / "out", labels=["no lesion", "lesion"]).run()
    assert files(tmp_path / "out") == ["report.csv", "sub-1/t1.json"]
    of_slices = softmax(LOGITS)
    mean = of_slices.mean(0)
    entropy = -(mean * np.log(mean)).sum()
    (row,) = rows(tmp_path / "out")
    expected = {
        "case": "1",
        "name": "sub-1/t1",
        "status": "ok",
        "reason": "",
        "simulated": "yes",
        "ratio_requested": "1.0",
        "ratio_realised": "1.0",
        "ratio_of_all_masks": "1.0",
        "acceleration": "1.0",
        "masks": "1",
        "slices": "3",
        "case_rule": "mean",
        "most_probable": "lesion",
        "mutual_information_nats": "",
        "warnings": "k-space was simulated from an image",
    }
    numbers = {"probability_no lesion": mean[0], "probability_lesion": mean[1], "entropy_nats": entropy}
    assert {**expected, **{name: row[name] for name in numbers}} == row
    assert {name: float(row[name]) for name in numbers} == pytest.approx(numbers, abs=1e-5)
    case = sidecar(tmp_path / "out" / "sub-1" / "t1.json")
    told = {
        "simulated": True,
        "ratio_requested": 1.0,
        "seed": 3,
        "labels": ["no lesion", "lesion"],
        "multi_label": False,
        "masks": 1,
        "case_rule": "mean",
        "slices": 3,
        "most_probable": "lesion",
        "mutual_information": None,
        "slice_mutual_information": None,
        "network": "ImageClassifier",
        "warnings": ["k-space was simulated from an image"],
        "version": infomri_monai.__version__,
    }
    assert told.items() <= case.items()
    assert list(case["probabilities"].values()) == pytest.approx(mean, abs=1e-5)
    np.testing.assert_allclose(np.transpose(list(case["slice_probabilities"].values())), of_slices, atol=1e-5)
    np.testing.assert_allclose(case["slice_entropy"], -(of_slices * np.log(of_slices)).sum(1), atol=1e-5)
    assert case["entropy"] == float(row["entropy_nats"])


def test_independent_labels_and_several_masks(tmp_path):
    write_case(tmp_path / "in" / "knee.nii.gz", [[0.2, 1.5, 0.4], [1.1, 0.3, 0.2]])
    options = {
        "policy": VariableDensity(),
        "inferer": {"ratio": 0.6, "masks": 3},
        "network": classifier(3, multi_label=True),
    }
    evaluator(
        tmp_path / "in", tmp_path / "out", labels=["acl", "meniscus", "abnormal"], multi_label=True, **options
    ).run()
    (row,), case = rows(tmp_path / "out"), sidecar(tmp_path / "out" / "knee.json")
    known = {name: float(row[f"probability_{name}"]) for name in ("acl", "meniscus", "abnormal")}
    assert known == case["probabilities"]
    assert row["above_one_half"] == "; ".join(name for name, probability in known.items() if probability > 0.5)
    assert row["most_probable"] == max(known, key=known.get)
    assert (row["case_rule"], row["masks"]) == ("max", "3")
    assert float(row["mutual_information_nats"]) == case["mutual_information"] > 0
    assert len(case["slice_mutual_information"]) == 2
    assert float(row["ratio_of_all_masks"]) > float(row["ratio_realised"]) == pytest.approx(0.6, abs=0.01)
    assert "3 masks are as many acquisitions, see ratio_of_all_masks" in row["warnings"].split("; ")


@pytest.mark.parametrize("kind", ["image", "kspace"])
def test_no_file_is_an_image_and_no_array_is_in_the_json(tmp_path, kind):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS, shape=(40, 36))
    if kind == "kspace":
        (tmp_path / "in" / "a.nii.gz").unlink()
        spectra = np.stack(
            [image_to_kspace(torch.from_numpy(plane.copy())).numpy() for plane in np.moveaxis(volume, -1, 0)]
        )
        np.savez(tmp_path / "in" / "a.npz", kspace=spectra, mask=np.arange(36) % 3 == 0)
    evaluator(tmp_path / "in", tmp_path / "out", kind=kind, inferer={"ratio": 0.5}).run()
    assert files(tmp_path / "out") == ["a.json", "report.csv"]
    case = sidecar(tmp_path / "out" / "a.json")
    lists = [leaf for leaf in leaves(case) if isinstance(leaf, list)]
    assert max(map(len, lists)) == len(LOGITS)  # one value a slice
    assert not [item for own in lists for item in own if isinstance(item, (list, dict))]
    numbers = [
        item
        for leaf in leaves(case)
        for item in (leaf if isinstance(leaf, list) else [leaf])
        if isinstance(item, float)
    ]
    assert len(numbers) < 30
    assert (tmp_path / "out" / "a.json").stat().st_size < 4000
    (row,) = rows(tmp_path / "out")
    assert row["simulated"] == ("yes" if kind == "image" else "no")
    assert row["ratio_requested"] == ("0.5" if kind == "image" else "")
    assert row["warnings"] == ("k-space was simulated from an image" if kind == "image" else "")
    assert float(row["ratio_realised"]) == pytest.approx(0.5 if kind == "image" else 1 / 3, abs=1e-3)


def test_an_interruption_loses_nothing(tmp_path):
    for name in ("a", "b", "c", "d"):
        volume = write_case(tmp_path / "in" / f"{name}.nii.gz", LOGITS)
    nibabel.Nifti1Image(volume * np.nan, np.eye(4)).to_filename(tmp_path / "in" / "b.nii.gz")

    def interrupt():
        raise KeyboardInterrupt

    engine = evaluator(tmp_path / "in", tmp_path / "out")
    engine.add_event_handler(Events.ITERATION_STARTED(once=3), interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert [(row["name"], row["status"]) for row in rows(tmp_path / "out")] == [("a", "ok"), ("b", "failed")]
    assert files(tmp_path / "out") == ["a.json", "report.csv"]


def test_slices_without_signal_are_null_and_said(tmp_path):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    volume[..., 1] = 0
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "in" / "a.nii.gz")
    evaluator(tmp_path / "in", tmp_path / "out").run()
    case = sidecar(tmp_path / "out" / "a.json")
    for values in (*case["slice_probabilities"].values(), case["slice_entropy"]):
        assert [value is None for value in values] == [False, True, False]
    assert list(case["probabilities"].values()) == pytest.approx(softmax(LOGITS)[[0, 2]].mean(0), abs=1e-5)
    assert "1 of 3 slices have no signal and do not count" in case["warnings"]


def test_a_ratio_beyond_the_trained_ones_and_a_phase_that_is_not_modelled_are_said(tmp_path):
    volume = write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    policy = PatternGenerationNetwork((13, 11), ratio_range=(0.1, 0.3))
    evaluator(tmp_path / "in", tmp_path / "image", policy=policy, inferer={"ratio": 0.5}).run()
    assert "the sampling ratio lies outside the range" in rows(tmp_path / "image")[0]["warnings"]
    np.save(tmp_path / "in" / "a.npy", image_to_kspace(torch.from_numpy(volume[..., 0].copy())).numpy())
    evaluator(tmp_path / "in", tmp_path / "kspace", network=classifier(real_valued=True), kind="kspace").run()
    assert rows(tmp_path / "kspace")[0]["warnings"] == "the network takes the measured object for real-valued"


def test_several_masks_of_measured_kspace_are_a_reason_in_clear_words(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.ones((6, 5), np.complex64))
    with pytest.raises(RuntimeError, match="masks must be 1 for measured k-space"):
        evaluator(tmp_path / "in", tmp_path / "out", kind="kspace", inferer={"masks": 2}).run()
    assert rows(tmp_path / "out")[0]["status"] == "failed"


def test_classification_refuses_what_does_not_fit_before_any_file(tmp_path):
    write_case(tmp_path / "in" / "a.nii.gz", LOGITS)
    with pytest.raises(ValueError, match=r"labels must be 2 names, .*got \('lesion',\)"):
        evaluator(tmp_path / "in", tmp_path / "out", labels=["lesion"]).run()
    with pytest.raises(ValueError, match="multi_label=True, but the network has multi_label=False"):
        evaluator(tmp_path / "in", tmp_path / "out", multi_label=True).run()
    assert not (tmp_path / "out").exists()


def test_the_handler_knows_nothing_of_pictures():
    refuses(TypeError, "figure", WriteClassification, "out", figure=True)
    refuses(TypeError, "reconstruct", ClassificationInferer, None, None, 0.25, reconstruct=True)


@pytest.mark.slow
def test_two_processes_write_what_one_writes(tmp_path):
    for i in range(5):
        volume = write_case(tmp_path / "in" / f"{i}.nii.gz", LOGITS, seed=i)
    nibabel.Nifti1Image(volume * np.nan, np.eye(4)).to_filename(tmp_path / "in" / "2.nii.gz")
    script = Path(__file__).with_name("ranks_diagnosis.py")
    folders = [str(tmp_path / "in"), str(tmp_path / "two")]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), *folders]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    refuses(RuntimeError, "1 of 5 cases failed", evaluator(tmp_path / "in", tmp_path / "one").run)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
