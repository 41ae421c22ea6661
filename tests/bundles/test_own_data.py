"""Trainings on data of the user's own: fastMRI knees in the published layouts, and the overlay that a README shows for a list."""

from __future__ import annotations

import json
import math
import os
import re

import h5py
import nibabel
import numpy as np
import pytest
import torch
from bundle_table import PRIVACY, RECON, SEGMENTATION, TINY_MODEL
from monai.bundle import ConfigParser
from monai.data import DataLoader
from running import files, run_bundle, succeeded, table

from infomri_monai.losses import SegmentationTarget


def write_knee(path, draw, slices, **attributes):
    """Noise under the decay of an image's k-space."""
    with h5py.File(path, "w") as file:
        noise = draw.normal(size=(slices, 40, 48, 2)).astype(np.float32)
        decay = np.exp(-((np.arange(40) - 20) ** 2)[:, None] / 50 - ((np.arange(48) - 24) ** 2)[None] / 50)
        file["kspace"] = ((noise[..., 0] + 1j * noise[..., 1]) * decay * 1e-5).astype(np.complex64)
        file.attrs.update({"patient_id": "never-to-be-seen", **attributes})


@pytest.mark.slow
def test_fastmri_overlay_trains_and_evaluates(tmp_path):
    draw = np.random.default_rng(0)
    data, splits = tmp_path / "knees", tmp_path / "knees/splits"
    splits.mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test")):
        name = f"file100000{number}.h5"
        write_knee(data / name, draw, 3)
        (splits / f"knee_{split}.txt").write_text(name + "\n")
    values = {"dataset_dir": data, "grid": [32, 32], "num_workers": 0}
    overlay, once = "data/fastmri_knee", {"max_epochs": 1, "batch_size": 2}
    text = succeeded(run_bundle(RECON, ["train", overlay], tmp_path / "out", {**values, **once}))
    text += succeeded(run_bundle(RECON, ["train", "evaluate", overlay], tmp_path / "out", values))
    assert (tmp_path / "out/evaluation/rate_distortion.csv").read_text().count("\n") == 5
    assert "never-to-be-seen" not in text


FINDINGS = ("Ligament - ACL Low Grade sprain", "Meniscus Tear", "Joint Effusion")


@pytest.fixture
def knees(tmp_path):
    """Nine volumes of four slices; of each, slices 0 to 2 have one finding each and slice 3 has none."""
    draw, folder, rows, names = np.random.default_rng(0), tmp_path / "knees", [], []
    folder.mkdir()
    for number in range(9):
        names.append(f"file{1000000 + number}")
        write_knee(folder / f"{names[-1]}.h5", draw, 4, acquisition="CORPDFS_FBK" if number % 2 else "CORPD_FBK")
        rows += [f"{names[-1]},{place},No,1,2,3,4,{finding}" for place, finding in enumerate(FINDINGS)]
    (folder / "knee.csv").write_text("\n".join(["file,slice,study_level,x,y,width,height,label", *rows]) + "\n")
    (folder / "knee_file_list.csv").write_text("\n".join([*names, "Knee data"]) + "\n")
    return folder


@pytest.mark.slow
def test_trains_evaluates_and_audits(knees, tmp_path):
    values = {"dataset_dir": knees, "grid": [32, 32], "num_workers": 0, **PRIVACY.tiny_model}
    attack = {"attack_steps": 2, "attack_val_interval": 1, "attack_batch_size": 4, "attack_epochs": 1}
    overlay, out = "data/fastmri_plus_knee", tmp_path / "out"
    text = succeeded(run_bundle(PRIVACY, ["train", overlay], out, {**values, "max_epochs": 2, "batch_size": 4}))
    text += succeeded(run_bundle(PRIVACY, ["train", overlay, "evaluate"], out, {**values, "bootstrap": 20}))
    text += succeeded(run_bundle(PRIVACY, ["train", overlay, "audit"], out, {**values, **attack}))
    assert "never-to-be-seen" not in text
    for row in table(out / "evaluation", "classification"):
        assert row["auroc_acl_sprain"] is not None
        assert row["auroc_abnormal"] is not None
    assert "not a guarantee" in (out / "audit" / "report.md").read_text()


@pytest.fixture
def overlay(tmp_path):
    """The README's overlay in a file, with the folder of ten volumes of two slices in it."""
    (block,) = re.findall(r"```json\n(.*?)```", (SEGMENTATION.root / "docs" / "README.md").read_text(), re.DOTALL)
    content = json.loads(block)
    content |= {"dataset_dir": str(tmp_path / "data"), "grid": [32, 32]}
    (tmp_path / "data").mkdir()
    items = []
    for n in range(10):
        label = np.zeros((30, 33, 2), np.uint8)
        label[8 : 18 + n % 3, 9:21], label[12:16, 12:16] = 1, 2
        image = (2 * label + np.random.default_rng(n).random(label.shape)).astype(np.float32)
        for name, array in ((f"{n}.nii.gz", image), (f"{n}_label.nii.gz", label)):
            nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "data" / name)
        items.append({"image": f"{n}.nii.gz", "label": f"{n}_label.nii.gz"})
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"training": items}))
    (tmp_path / "own.json").write_text(json.dumps(content))
    return tmp_path / "own.json"


def test_its_loss_is_finite(overlay):
    parser = ConfigParser()
    parser.read_config([str(SEGMENTATION.root / "configs" / "train.json"), str(overlay)])
    parser.update({**TINY_MODEL, "bundle_root": str(SEGMENTATION.root)})
    frequencies = parser.get_parsed_content("class_frequencies")
    assert sum(frequencies) == pytest.approx(1)
    assert frequencies[0] > frequencies[1] > frequencies[2] > 0.01
    batch = next(iter(DataLoader(parser.get_parsed_content("train#dataset"), batch_size=2)))
    assert batch["image"].shape == (2, 1, 32, 32)
    assert batch["label"].shape == (2, 1, 32, 32)
    label = torch.cat([batch["label"] == 1, batch["label"] == 2], 1).float()
    passed = parser.get_parsed_content("system")(batch["image"], 0.25, label, torch.Generator().manual_seed(0))
    loss = parser.get_parsed_content("loss")(passed, SegmentationTarget(batch["image"], label))
    assert math.isfinite(float(loss.detach()))
    assert parser.get_parsed_content("simulated_raters") is False


@pytest.mark.slow
def test_the_documented_order_of_overlays(overlay, tmp_path):
    own = os.path.relpath(overlay.with_suffix(""), SEGMENTATION.root / "configs")
    values = {**TINY_MODEL, "max_epochs": 1}
    succeeded(run_bundle(SEGMENTATION, ["train", own], tmp_path / "out", values))
    succeeded(run_bundle(SEGMENTATION, ["train", own, "evaluate"], tmp_path / "out", values))
    assert {"model.pt", "policy.pt", "triage.json", "evaluation/cases.csv"} <= files(tmp_path / "out")
    assert [row["images"] for row in table(tmp_path / "out" / "evaluation", "segmentation")] == [4] * 4
    assert "simulated" not in (tmp_path / "out" / "evaluation" / "segmentation.md").read_text()
