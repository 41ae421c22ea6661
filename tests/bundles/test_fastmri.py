"""The bundles on fastMRI knees, with fastMRI+ labels (multi-label, complex) or without: small volumes in the published layouts."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from bundle_table import PRIVACY, RECON
from running import run_bundle, succeeded, table

FINDINGS = ("Ligament - ACL Low Grade sprain", "Meniscus Tear", "Joint Effusion")
pytestmark = pytest.mark.slow


@pytest.fixture
def knees(tmp_path):
    """Nine volumes of four slices; of each, slices 0 to 2 have one finding each and slice 3 has none. Three are in split lists."""
    draw, folder, rows, names = np.random.default_rng(0), tmp_path / "knees", [], []
    (folder / "splits").mkdir(parents=True)
    decay = np.exp(-((np.arange(40) - 20) ** 2)[:, None] / 50 - ((np.arange(48) - 24) ** 2)[None] / 50)
    for number in range(9):
        names.append(f"file{1000000 + number}")
        with h5py.File(folder / f"{names[-1]}.h5", "w") as file:
            noise = draw.normal(size=(4, 40, 48, 2)).astype(np.float32)
            file["kspace"] = ((noise[..., 0] + 1j * noise[..., 1]) * decay * 1e-5).astype(np.complex64)
            file.attrs["patient_id"] = "never-to-be-seen"
            file.attrs["acquisition"] = "CORPDFS_FBK" if number % 2 else "CORPD_FBK"
        rows += [f"{names[-1]},{place},No,1,2,3,4,{finding}" for place, finding in enumerate(FINDINGS)]
    (folder / "knee.csv").write_text("\n".join(["file,slice,study_level,x,y,width,height,label", *rows]) + "\n")
    (folder / "knee_file_list.csv").write_text("\n".join([*names, "Knee data"]) + "\n")
    for split, name in zip(("train", "val", "test"), names, strict=False):
        (folder / "splits" / f"knee_{split}.txt").write_text(f"{name}.h5\n")
    return folder


def runs(bundle, folder, output, *steps):
    """Run configurations one after the other, each with its values; nobody is named."""
    text = ""
    for configs, values in steps:
        values = {"dataset_dir": folder, "grid": [32, 32], "num_workers": 0, **bundle.tiny_model, **values}
        text += succeeded(run_bundle(bundle, ["train", *configs], output, values))
    assert "never-to-be-seen" not in text


def test_reconstruction(knees, tmp_path):
    overlay = "data/fastmri_knee"
    steps = ([overlay], {"max_epochs": 1, "batch_size": 2}), (["evaluate", overlay], {})
    runs(RECON, knees, tmp_path / "out", *steps)
    assert len(table(tmp_path / "out/evaluation")) == 4


def test_classification_and_its_audit(knees, tmp_path):
    attack = {"attack_steps": 2, "attack_val_interval": 1, "attack_batch_size": 4, "attack_epochs": 1}
    overlay, training = "data/fastmri_plus_knee", {"max_epochs": 2, "batch_size": 4}
    steps = ([overlay], training), ([overlay, "evaluate"], {"bootstrap": 20}), ([overlay, "audit"], attack)
    runs(PRIVACY, knees, tmp_path / "out", *steps)
    for row in table(tmp_path / "out/evaluation", "classification"):
        assert row["auroc_acl_sprain"] is not None
        assert row["auroc_abnormal"] is not None
    assert "not a guarantee" in (tmp_path / "out/audit/report.md").read_text()
