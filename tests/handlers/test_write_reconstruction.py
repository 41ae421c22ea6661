"""Files of reconstructed cases: geometry, units, provenance; failures leave nothing and stop nobody."""

import json
import logging

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator

import infomri_monai
from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.data import CaseDataset, ReadCased, inference_cases
from infomri_monai.engines import PrepareCase, TolerantInferer, VolumeInferer
from infomri_monai.handlers import WriteReconstruction
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork, VariableDensity

AFFINE = np.array([[1.8, 0.3, 0, -20], [-0.3, 1.9, 0.2, 5], [0, -0.1, 3, 7], [0, 0, 0, 1.0]])


def write_volume(path, shape=(21, 18, 3), scale=1.0, affine=AFFINE):
    volume = scale * np.random.default_rng(0).random(shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(volume, affine).to_filename(path)
    return volume


def run(folder, output, kind="image", policy=None, grid_mode="adapt", **options):
    """The evaluator of the bundle, small."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UnrolledReconstructor(phases=1, channels=4)
    measurement = FourierMeasurement(noise=ComplexGaussianNoise(1e-3))
    inferer = VolumeInferer(policy or VariableDensity(), measurement, 0.25, 3, grid_mode=grid_mode, progress=False)
    handler = WriteReconstruction(output, **options)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(CaseDataset(inference_cases(folder, kind=kind), ReadCased()), batch_size=1),
        network=network,
        prepare_batch=PrepareCase(),
        inferer=TolerantInferer(inferer),
        val_handlers=[handler],
        decollate=False,
    )
    evaluator.run()
    return handler


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def load(path):
    image = nibabel.load(path)
    return image, np.asanyarray(image.dataobj)


def descrip(image):
    return bytes(image.header["descrip"].item()).decode()


def test_files_keep_shape_affine_and_units(tmp_path):
    write_volume(tmp_path / "in" / "sub-1" / "t1.nii.gz")
    write_volume(tmp_path / "in" / "sub-2" / "t1.nii.gz", scale=1000)
    run(tmp_path / "in", tmp_path / "out")
    names = ("mask.nii.gz", "mean.nii.gz", "sigma.nii.gz")
    expected = [f"sub-{i}/t1{end}" for i in (1, 2) for end in (".json", *(f"_{name}" for name in names))]
    assert files(tmp_path / "out") == sorted(expected)
    for name in ("mean", "sigma"):
        (unit, a), (scaled, b) = (load(tmp_path / "out" / f"sub-{i}" / f"t1_{name}.nii.gz") for i in (1, 2))
        assert unit.shape == (21, 18, 3)
        assert unit.get_data_dtype() == np.float32
        assert np.allclose(unit.affine, AFFINE, atol=1e-6)
        assert np.allclose(unit.header.get_zooms(), np.linalg.norm(AFFINE[:3, :3], axis=0))
        assert np.allclose(b / 1000, a, rtol=1e-3, atol=1e-4)
        assert len(descrip(scaled)) < 80
        assert descrip(scaled) == "InfoMRI simulated acquisition ratio=0.25 seed=3"


def test_sidecar_is_the_acquisition_and_agrees_with_the_mask(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    run(tmp_path / "in", tmp_path / "out")
    image, mask = load(tmp_path / "out" / "t1_mask.nii.gz")
    record = json.loads((tmp_path / "out" / "t1.json").read_text())
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


def test_2d_oblique_image(tmp_path):
    affine = np.array([[0, 0, 3, 1], [2, 0.5, 0, 2], [0.5, 2, 0, 3], [0, 0, 0, 1.0]])
    write_volume(tmp_path / "in" / "plane.nii", shape=(15, 22), affine=affine)
    run(tmp_path / "in", tmp_path / "out")
    for name in ("mean", "sigma", "mask"):
        image, data = load(tmp_path / "out" / f"plane_{name}.nii.gz")
        assert data.shape == (15, 22)
        assert np.allclose(image.affine, affine, atol=1e-6)


def test_measured_kspace_is_called_measured(tmp_path):
    draw = np.random.default_rng(0)
    kspace = (draw.normal(size=(2, 8, 10)) + 1j * draw.normal(size=(2, 8, 10))).astype(np.complex64)
    kspace[:, :, ::2] = 0
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "scan.npz", kspace=kspace)
    run(tmp_path / "in", tmp_path / "out", kind="kspace", figure=True)
    image, mask = load(tmp_path / "out" / "scan_mask.nii.gz")
    record = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert np.array_equal(mask, (kspace != 0).transpose(1, 2, 0))
    assert descrip(image) == "InfoMRI reconstruction of measured k-space ratio=0.5"
    assert record["simulated"] is False
    assert [record[key] for key in ("ratio_requested", "seed", "noise_std", "policy")] == [None] * 4
    assert np.array_equal(image.affine, np.eye(4))
    assert not (tmp_path / "out" / "scan.png").exists()


def test_empty_measurement_has_no_acceleration(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "zero.npy", np.zeros((8, 8), np.complex64))
    run(tmp_path / "in", tmp_path / "out", kind="kspace")
    assert json.loads((tmp_path / "out" / "zero.json").read_text())["acceleration"] is None
    assert not load(tmp_path / "out" / "zero_mean.nii.gz")[1].any()
    assert not load(tmp_path / "out" / "zero_sigma.nii.gz")[1].any()


@pytest.mark.parametrize("shape", [(21, 18, 2), (13, 30, 2)])
def test_cropped_and_padded_images_keep_the_worlds_place(tmp_path, shape):
    """Pixel n // 2 of the source and pixel m // 2 of the mask's grid are the same point of the world."""
    write_volume(tmp_path / "in" / "t1.nii.gz", shape)
    run(tmp_path / "in", tmp_path / "out", policy=PatternGenerationNetwork((20, 20)), grid_mode="crop_pad", figure=True)
    (mean, _), (mask, data) = (load(tmp_path / "out" / f"t1_{name}.nii.gz") for name in ("mean", "mask"))
    assert mean.shape == shape
    assert data.shape == (20, 20, 2)
    assert np.allclose(mean.affine, AFFINE, atol=1e-6)
    centre = AFFINE @ [shape[0] // 2, shape[1] // 2, 1, 1]
    assert np.allclose(mask.affine @ [10, 10, 1, 1], centre, atol=1e-4)
    assert (tmp_path / "out" / "t1.png").stat().st_size > 10_000


def test_broken_cases_leave_no_file_and_are_reported_by_number(tmp_path, caplog):
    for name in ("a", "b", "DOE_JANE", "z"):
        volume = write_volume(tmp_path / "in" / f"{name}.nii.gz")
    volume[3, 4, 0] = np.nan
    nibabel.Nifti1Image(volume, AFFINE).to_filename(tmp_path / "in" / "DOE_JANE.nii.gz")
    write_volume(tmp_path / "in" / "b.nii.gz", shape=(1, 1, 2))  # no mask of this grid has a ratio of 0.25
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(RuntimeError, match=r"2 of 4 cases failed.*case 1: .*NaN.*case 3: .*cannot be met"),
    ):
        run(tmp_path / "in", tmp_path / "out", figure=True)
    assert {name.split("_")[0].split(".")[0] for name in files(tmp_path / "out")} == {"a", "z"}
    assert len(files(tmp_path / "out")) == 10
    assert "case 1 failed" in caplog.text
    assert "DOE" not in caplog.text


def test_a_write_that_fails_leaves_no_part_of_the_case(tmp_path):
    for name in ("a", "b"):
        write_volume(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "out" / "a_sigma.nii.gz").mkdir(parents=True)  # a folder where a file should go
    with pytest.raises(RuntimeError, match=r"1 of 2 cases failed.*cannot be written"):
        run(tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == ["b.json", "b_mask.nii.gz", "b_mean.nii.gz", "b_sigma.nii.gz"]


def test_names_by_index_hide_the_source(tmp_path):
    write_volume(tmp_path / "in" / "DOE_JANE" / "t1.nii.gz")
    run(tmp_path / "in", tmp_path / "out", name_by="index")
    ends = (".json", "_mask.nii.gz", "_mean.nii.gz", "_sigma.nii.gz")
    assert files(tmp_path / "out") == [f"case_0001{end}" for end in ends]
    assert b"DOE" not in b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_the_same_run_writes_the_same_bytes(tmp_path):
    write_volume(tmp_path / "in" / "t1.nii.gz")
    for out in ("first", "second"):
        run(tmp_path / "in", tmp_path / out)
    for name in files(tmp_path / "first"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_refuses_names():
    with pytest.raises(ValueError, match="'stem' or 'index'"):
        WriteReconstruction("out", name_by="patient")
