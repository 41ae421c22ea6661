"""configs/inference.json as a user runs it, with random weights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import VolumeInferer
from infomri_monai.networks import GaussianUNet, load_network
from infomri_monai.sampling import PatternGenerationNetwork, save_policy

CONFIGS = Path(__file__).parents[2] / "bundles" / "infomri_recon" / "configs"
AFFINE = np.array([[0, 0.2, 3, -20], [1.9, -0.3, 0, 5], [0.3, 1.8, -0.1, 7], [0, 0, 0, 1.0]])


def network():
    parser = ConfigParser()
    parser.read_config(CONFIGS / "inference.json")
    return parser.get_parsed_content("network_def")


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A copy of the bundle with random weights; the working directory is its root, as the model zoo's commands want it."""
    root = tmp_path / "bundle"
    (root / "models").mkdir(parents=True)
    shutil.copytree(CONFIGS, root / "configs")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(network().state_dict(), root / "models" / "model.pt")
    save_policy(PatternGenerationNetwork((32, 32)), root / "models" / "policy.pt")
    monkeypatch.chdir(root)
    return root


def workflow(**overrides):
    return ConfigWorkflow(
        config_file="configs/inference.json", meta_file=None, logging_file=False, workflow_type="infer", **overrides
    )


def infer(**overrides):
    flow = workflow(**overrides)
    flow.initialize()
    flow.run()
    flow.finalize()


def write_volumes(folder, names=("a", "b"), shape=(29, 34, 3)):
    folder.mkdir()
    for seed, name in enumerate(names):
        data = 1000 * np.random.default_rng(seed).random(shape).astype(np.float32)
        nibabel.Nifti1Image(data, AFFINE).to_filename(folder / f"{name}.nii.gz")


def test_the_command_on_a_folder_of_which_one_case_is_broken(bundle, tmp_path):
    write_volumes(tmp_path / "in", ("a", "DOE_JANE", "z"))
    nan = np.full((8, 8, 1), np.nan, np.float32)
    nibabel.Nifti1Image(nan, AFFINE).to_filename(tmp_path / "in" / "DOE_JANE.nii.gz")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    done = subprocess.run(
        [*command, "--dataset_dir", str(tmp_path / "in"), "--ratio", "0.25", "--output_dir", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode != 0
    assert "1 of 3 cases failed" in done.stderr
    assert "case 1: ValueError: image holds NaN or Inf values." in done.stderr
    assert "DOE" not in done.stdout + done.stderr
    assert "3/3" in done.stderr  # the progress bar
    for name in ("a", "z"):
        record = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        mean, sigma, mask = (nibabel.load(tmp_path / "out" / f"{name}_{k}.nii.gz") for k in ("mean", "sigma", "mask"))
        assert record["grid"] == [29, 34]
        assert record["ratio_requested"] == 0.25
        assert record["ratio_realised"] == pytest.approx(np.asanyarray(mask.dataobj).mean(), abs=1e-6)
        assert all(image.shape == (29, 34, 3) and np.allclose(image.affine, AFFINE) for image in (mean, sigma, mask))
        assert 10 < np.asanyarray(mean.dataobj).mean() < 1000  # the source's units, of which the mean is 500
        assert (tmp_path / "out" / f"{name}.png").exists()
    assert not list((tmp_path / "out").glob("*DOE*"))


def test_it_works_out_of_the_box_and_has_the_zoos_properties(bundle):
    flow = workflow(figure=False)
    flow.initialize()
    assert not flow.check_properties()
    flow.run()
    written = sorted(path.name for path in (bundle / "output" / "inference").iterdir())
    assert len(written) == 8  # two subjects
    record = json.loads((bundle / "output" / "inference" / written[0]).read_text())
    assert record["simulated"] is True
    assert record["ratio_requested"] == 0.125
    assert record["shape"] == [96, 96, 4]


def test_raw_kspace_is_the_python_call(bundle, tmp_path):
    draw = np.random.default_rng(0)
    kspace = (draw.normal(size=(2, 20, 27)) + 1j * draw.normal(size=(2, 20, 27))).astype(np.complex64)
    mask = (draw.random(27) < 0.4).astype(np.float32)
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "scan.npz", kspace=kspace, mask=mask)
    infer(dataset_dir=str(tmp_path / "in"), kind="kspace", output_dir=str(tmp_path / "out"))
    expected = VolumeInferer(None, FourierMeasurement(), 0.5, progress=False)(
        torch.from_numpy((kspace * mask).transpose(1, 2, 0)[None, None]),
        load_network(network(), "models/model.pt"),
        domain="kspace",
    )
    for name in ("mean", "sigma", "mask"):
        written = np.asanyarray(nibabel.load(tmp_path / "out" / f"scan_{name}.nii.gz").dataobj)
        np.testing.assert_allclose(written, getattr(expected, name), rtol=1e-4, atol=1e-5)
    assert json.loads((tmp_path / "out" / "scan.json").read_text())["ratio_realised"] == pytest.approx(mask.mean())


def test_crop_pad_and_names_by_index(bundle, tmp_path):
    write_volumes(tmp_path / "in", ("a",))
    infer(
        dataset_dir=str(tmp_path / "in"),
        grid_mode="crop_pad",
        name_by="index",
        output_dir=str(tmp_path / "out"),
        seed=7,
    )
    record = json.loads((tmp_path / "out" / "case_0001.json").read_text())
    assert record["grid"] == [32, 32]
    assert record["seed"] == 7
    assert nibabel.load(tmp_path / "out" / "case_0001_mean.nii.gz").shape == (29, 34, 3)
    assert nibabel.load(tmp_path / "out" / "case_0001_mask.nii.gz").shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"ratio": 0}, "ratio must lie in"),
        ({"ratio": 8}, "An acceleration of 4 is a ratio of 0.25"),
        ({"dataset_dir": "nowhere"}, "there is no nowhere"),
        ({"grid_mode": "stretch"}, "grid_mode must be"),
        ({"model_path": "models/policy.pt"}, "not a plain state dict"),
        ({"policy_path": "models/model.pt"}, "not a policy checkpoint"),
    ],
)
def test_bad_input_is_refused_before_any_work(bundle, overrides, message):
    with pytest.raises(RuntimeError) as error:  # MONAI's wrapping of what a _target_ raises
        infer(**overrides)
    causes, cause = [], error.value
    while cause is not None:
        causes.append(str(cause))
        cause = cause.__cause__
    assert message in " ".join(causes)
    assert not (bundle / "output").exists()


def test_a_checkpoint_of_another_architecture_is_refused(bundle):
    torch.save(GaussianUNet(features=(4, 4, 8, 8, 8, 4)).state_dict(), bundle / "models" / "model.pt")
    with pytest.raises(RuntimeError) as error:
        infer()
    assert "another architecture" in str(error.value.__cause__)


def test_inference_has_the_network_and_the_measurement_of_training():
    train, inference = (json.loads((CONFIGS / f"{name}.json").read_text()) for name in ("train", "inference"))
    for name in ("network_def", "measurement", "noise_std", "real_valued"):
        assert inference[name] == train[name]
