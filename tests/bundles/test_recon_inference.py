"""configs/inference.json of the reconstruction bundle as a user runs it, with random weights."""

import json

import nibabel
import numpy as np
import pytest
import torch
from bundle_table import RECON
from inferring import (
    AFFINE,
    command_with_a_broken_case,
    copied_bundle,
    infer,
    network,
    pixels,
    record,
    refusal,
    write_kspace,
    write_volumes,
)

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import VolumeInferer
from infomri_monai.networks import GaussianUNet, load_network


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A copy of the bundle with random weights; the working directory is its root, as the model zoo's commands want it."""
    root = copied_bundle(RECON.root, tmp_path / "bundle", network(RECON.root))
    monkeypatch.chdir(root)
    return root


def test_the_command_on_a_folder_of_which_one_case_is_broken(bundle, tmp_path):
    command_with_a_broken_case(bundle, tmp_path, ratio=0.25)
    for name in ("a", "z"):
        sidecar = record(tmp_path / "out" / f"{name}.json")
        mean, sigma, mask = (nibabel.load(tmp_path / "out" / f"{name}_{k}.nii.gz") for k in ("mean", "sigma", "mask"))
        assert sidecar["grid"] == [29, 34]
        assert sidecar["ratio_requested"] == 0.25
        assert sidecar["ratio_realised"] == pytest.approx(np.asanyarray(mask.dataobj).mean(), abs=1e-6)
        assert all(image.shape == (29, 34, 3) and np.allclose(image.affine, AFFINE) for image in (mean, sigma, mask))
        assert 10 < np.asanyarray(mean.dataobj).mean() < 1000  # the source's units, of which the mean is 500
        assert (tmp_path / "out" / f"{name}.png").exists()


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


def test_a_checkpoint_of_another_architecture_is_refused(bundle):
    torch.save(GaussianUNet(features=(4, 4, 8, 8, 8, 4)).state_dict(), bundle / "models" / "model.pt")
    assert "another architecture" in refusal()


def test_inference_has_the_network_and_the_measurement_of_training():
    train, inference = (
        json.loads((RECON.root / "configs" / f"{name}.json").read_text()) for name in ("train", "inference")
    )
    for name in ("network_def", "measurement", "noise_std", "real_valued"):
        assert inference[name] == train[name]
