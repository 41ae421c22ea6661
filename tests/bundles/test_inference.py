"""configs/inference.json of every bundle as a user runs it, with small random weights."""

from __future__ import annotations

import csv
import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
from bundle_table import PRIVACY, RECON, every_bundle
from inferring import (
    AFFINE,
    command_with_a_broken_case,
    copied_bundle,
    infer,
    network,
    pixels,
    record,
    refusal,
    workflow,
    write_kspace,
    write_volumes,
)
from running import files

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import VolumeInferer
from infomri_monai.networks import GaussianUNet, load_network


@pytest.fixture
def root(bundle, tmp_path, monkeypatch):
    """The root of a copy of the bundle; it is the working directory, as the model zoo's commands want it."""
    copied = copied_bundle(bundle.root, tmp_path / "bundle", network(bundle.root, **bundle.tiny_model))
    for name in bundle.models:
        shutil.copy(bundle.root / "models" / name, copied / "models" / name)
    monkeypatch.chdir(copied)
    return copied


@every_bundle
def test_it_works_out_of_the_box_and_has_the_zoos_properties(bundle, root):
    flow = workflow(**bundle.tiny_model, **bundle.tiny_inference)
    flow.initialize()
    assert not flow.check_properties()
    flow.run()
    output = root / "output" / "inference"
    subjects = sorted(path.stem for path in output.glob("subject_*.json"))
    assert len(subjects) == bundle.embedded_cases
    assert files(output) == {name + end for name in subjects for end in bundle.case_files} | bundle.folder_files
    sidecar = record(output / f"{subjects[0]}.json")
    assert (sidecar["simulated"], sidecar["ratio_requested"]) == (True, 0.125)
    size = sidecar["shape"] if bundle.maps else [*sidecar["grid"], sidecar["slices"]]
    assert size == [*bundle.grid, 4]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 0}, "ratio must lie in"),
        ({"ratio": 8}, "An acceleration of 4 is a ratio of 0.25"),
        ({"dataset_dir": "nowhere"}, "there is no nowhere"),
        ({"grid_mode": "stretch"}, "grid_mode must be"),
        ({"model_path": "models/policy.pt"}, "not a plain state dict"),
        ({"policy_path": "models/model.pt"}, "not a policy checkpoint"),
    ],
)
@every_bundle
def test_bad_input_is_refused_before_any_work(bundle, root, values, message):
    assert message in refusal(**{**bundle.tiny_model, **values})
    assert not (root / "output").exists()


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


@pytest.fixture
def root_privacy_inference(tmp_path, monkeypatch):
    copied = copied_bundle(PRIVACY.root, tmp_path / "bundle", network(PRIVACY.root, **PRIVACY.tiny_model))
    monkeypatch.chdir(copied)
    return copied


def largest_list(content):
    """Length of the longest list anywhere in a JSON value."""
    if isinstance(content, dict):
        return max((largest_list(value) for value in content.values()), default=0)
    if isinstance(content, list):
        return max([len(content), *(largest_list(value) for value in content)])
    return 0


def rows(folder):
    with (folder / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("masks", [1, 3])
def test_of_volumes_there_is_a_report_and_no_image(root_privacy_inference, tmp_path, masks):
    write_volumes(tmp_path / "in", ("a", "b"), (29, 34, 3))
    infer(dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"), masks=masks, **PRIVACY.tiny_model)
    assert files(tmp_path / "out") == {"a.json", "b.json", "report.csv"}
    for name in ("a", "b"):
        content = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert largest_list(content) <= 3  # slices, axes or classes: nothing as long as a row of pixels
    table = rows(tmp_path / "out")
    assert [(row["case"], row["name"]) for row in table] == [("1", "a"), ("2", "b")]
    for row in table:
        probabilities = [float(value) for name, value in row.items() if name.startswith("probability")]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)


def test_measured_kspace_has_one_mask(root_privacy_inference, tmp_path):
    write_kspace(tmp_path / "in" / "scan.npz")
    values = {"dataset_dir": str(tmp_path / "in"), "output_dir": str(tmp_path / "out"), "kind": "kspace"}
    infer(**values, **PRIVACY.tiny_model)
    assert files(tmp_path / "out") == {"scan.json", "report.csv"}
    assert "masks" in refusal(**values, masks=2, **PRIVACY.tiny_model)
