"""The overlay that the segmentation bundle's README shows for a user's own data, on a small data list."""

from __future__ import annotations

import json
import math
import os
import re

import nibabel
import numpy as np
import pytest
import torch
from bundle_table import SEGMENTATION, TINY_MODEL
from monai.bundle import ConfigParser
from monai.data import DataLoader
from running import files, run_bundle, succeeded, table

from infomri_monai.losses import SegmentationTarget


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
