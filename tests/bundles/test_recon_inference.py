"""configs/inference.json as a user runs it, with random weights."""

import json

import nibabel
import numpy as np
import pytest
import torch
from inferring import (
    AFFINE,
    copied_bundle,
    infer,
    network,
    pixels,
    record,
    refusal,
    workflow,
    write_broken,
    write_kspace,
    write_volumes,
)
from running import ROOT, command

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import VolumeInferer
from infomri_monai.networks import GaussianUNet, load_network


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A copy of the bundle with random weights; the working directory is its root, as the model zoo's commands want it."""
    root = copied_bundle(ROOT, tmp_path / "bundle", network(ROOT))
    monkeypatch.chdir(root)
    return root


def test_the_command_on_a_folder_of_which_one_case_is_broken(bundle, tmp_path):
    write_volumes(tmp_path / "in", ("a", "DOE_JANE", "z"))
    write_broken(tmp_path / "in", "DOE_JANE")
    done = command(
        ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json"],
        ["--dataset_dir", str(tmp_path / "in"), "--ratio", "0.25", "--output_dir", str(tmp_path / "out")],
        root=bundle,
    )
    assert done.returncode != 0
    assert "1 of 3 cases failed" in done.stderr
    assert "case 1: ValueError: image holds NaN or Inf values." in done.stderr
    assert "DOE" not in done.stdout + done.stderr
    assert "3/3" in done.stderr  # the progress bar
    for name in ("a", "z"):
        sidecar = record(tmp_path / "out" / f"{name}.json")
        mean, sigma, mask = (nibabel.load(tmp_path / "out" / f"{name}_{k}.nii.gz") for k in ("mean", "sigma", "mask"))
        assert sidecar["grid"] == [29, 34]
        assert sidecar["ratio_requested"] == 0.25
        assert sidecar["ratio_realised"] == pytest.approx(np.asanyarray(mask.dataobj).mean(), abs=1e-6)
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
    sidecar = record(bundle / "output" / "inference" / written[0])
    assert sidecar["simulated"] is True
    assert sidecar["ratio_requested"] == 0.125
    assert sidecar["shape"] == [96, 96, 4]


def test_raw_kspace_is_the_python_call(bundle, tmp_path):
    kspace, mask = write_kspace(tmp_path / "in" / "scan.npz")
    infer(dataset_dir=str(tmp_path / "in"), kind="kspace", output_dir=str(tmp_path / "out"))
    expected = VolumeInferer(None, FourierMeasurement(), 0.5, progress=False)(
        torch.from_numpy((kspace * mask).transpose(1, 2, 0)[None, None]),
        load_network(network(bundle), "models/model.pt"),
        domain="kspace",
    )
    for name in ("mean", "sigma", "mask"):
        written = pixels(tmp_path / "out" / f"scan_{name}.nii.gz")
        np.testing.assert_allclose(written, getattr(expected, name), rtol=1e-4, atol=1e-5)
    assert record(tmp_path / "out" / "scan.json")["ratio_realised"] == pytest.approx(mask.mean())


def test_crop_pad_and_names_by_index(bundle, tmp_path):
    write_volumes(tmp_path / "in", ("a",))
    infer(
        dataset_dir=str(tmp_path / "in"),
        grid_mode="crop_pad",
        name_by="index",
        output_dir=str(tmp_path / "out"),
        seed=7,
    )
    sidecar = record(tmp_path / "out" / "case_0001.json")
    assert sidecar["grid"] == [32, 32]
    assert sidecar["seed"] == 7
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
    assert message in refusal(**overrides)
    assert not (bundle / "output").exists()


def test_a_checkpoint_of_another_architecture_is_refused(bundle):
    torch.save(GaussianUNet(features=(4, 4, 8, 8, 8, 4)).state_dict(), bundle / "models" / "model.pt")
    assert "another architecture" in refusal()


def test_inference_has_the_network_and_the_measurement_of_training():
    train, inference = (json.loads((ROOT / "configs" / f"{name}.json").read_text()) for name in ("train", "inference"))
    for name in ("network_def", "measurement", "noise_std", "real_valued"):
        assert inference[name] == train[name]
