"""Files of whole cases: geometry, numbers, provenance; failures leave nothing and stop nobody."""

import json
import logging

import nibabel
import numpy as np
import pytest
from case_runs import AFFINE, FILES, descrip, engine_of, files, files_of, load, rows, run, says, sidecar, write_volume
from helper import refuses
from threshold_network import ThresholdNetwork

import infomri_monai
from infomri_monai.handlers import WriteClassification, WriteReconstruction, WriteSegmentation
from infomri_monai.sampling import PatternGenerationNetwork

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
    reason = "no signal" if task == "classification" else "one pixel wide"
    if task == "classification":
        nibabel.Nifti1Image(np.zeros((9, 8, 2), np.float32), AFFINE).to_filename(tmp_path / "in" / "b.nii.gz")
    else:
        write_volume(tmp_path / "in" / "b.nii.gz", shape=(1, 1, 2))
    caplog.set_level(logging.INFO)
    message = rf"2 of 4 cases failed.*case 1: .*NaN.*case 3: .*{reason}"
    refuses(
        RuntimeError, message, run, task, tmp_path / "in", tmp_path / "out", inferer={"ratio": 0.25}, name_by="index"
    )
    assert files(tmp_path / "out") == files_of(task, "case_0002", "case_0004")
    assert "case 1 failed" in caplog.text
    assert "DOE" not in caplog.text
    assert b"DOE_J" not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    if task == "segmentation":
        failed = rows(tmp_path / "out", "worklist.csv")[:2]
        found = [(row["name"], row["review"], row["agreement"], row["structure_1_median_mm3"]) for row in failed]
        assert found == [("case_0001", "yes", "", ""), ("case_0003", "yes", "", "")]
    if task == "classification":
        report = rows(tmp_path / "out")
        assert [row["name"] for row in report] == [f"case_000{i}" for i in range(1, 5)]
        assert [row["status"] for row in report] == ["failed", "ok", "failed", "ok"]
        assert report[0]["reason"] == "ValueError: image holds NaN or Inf, first at index (3, 4, 0)."
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
    says(record, simulated=False, ratio_requested=None, seed=None, noise_std=None, policy=None)
    assert (tmp_path / "out" / "scan.png").exists() == (task == "segmentation")  # there is no truth to show
    if task == "segmentation":
        says(record, samples_seed=3, volume_unit="voxels")
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
    says(record, simulated=True, ratio_requested=0.25, ratio_extrapolated=None, seed=3, policy="VariableDensity")
    says(record, noise="ComplexGaussianNoise", noise_std=1e-3, noise_reference="peak")
    says(record, network="UnrolledReconstructor", grid=[21, 18], grid_mode="adapt", version=infomri_monai.__version__)


@pytest.mark.parametrize(
    ("handler", "options", "message"),
    [
        (WriteReconstruction, {"name_by": "patient"}, "'stem' or 'index'"),
        (WriteSegmentation, {"name_by": "patient"}, "'stem' or 'index'"),
        (WriteSegmentation, {"figure": "yes"}, "figure must be True or False"),
        (WriteSegmentation, {"structures": ["white", "white"]}, "structures must be different names"),
        (WriteSegmentation, {"structures": "tumour"}, "structures must be different names"),
        (WriteSegmentation, {"save_samples": "false"}, "save_samples must be True or False"),
        (WriteClassification, {"labels": ["lesion", "lesion"]}, "labels must be different names"),
        (WriteClassification, {"labels": []}, "labels must be different names"),
        (WriteClassification, {"multi_label": "true"}, "multi_label must be True or False"),
    ],
)
def test_refuses_options(handler, options, message):
    refuses(ValueError, message, handler, "out", **options)
