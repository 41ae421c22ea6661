"""The bundle on fastMRI knees: small volumes in the published format, with split lists as published."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from bundle_table import RECON
from running import run_bundle, succeeded


@pytest.mark.slow
def test_fastmri_overlay_trains_and_evaluates(tmp_path):
    draw = np.random.default_rng(0)
    data, splits = tmp_path / "knees", tmp_path / "knees/splits"
    splits.mkdir(parents=True)
    for number, split in enumerate(("train", "val", "test")):
        name = f"file100000{number}.h5"
        with h5py.File(data / name, "w") as file:
            noise = draw.normal(size=(3, 40, 48, 2)).astype(np.float32)
            decay = np.exp(-((np.arange(40) - 20) ** 2)[:, None] / 50 - ((np.arange(48) - 24) ** 2)[None] / 50)
            file["kspace"] = ((noise[..., 0] + 1j * noise[..., 1]) * decay * 1e-5).astype(np.complex64)
            file.attrs["patient_id"] = "never-to-be-seen"
        (splits / f"knee_{split}.txt").write_text(name + "\n")
    values = {"dataset_dir": data, "grid": [32, 32], "num_workers": 0}
    overlay, once = "data/fastmri_knee", {"max_epochs": 1, "batch_size": 2}
    text = succeeded(run_bundle(RECON, ["train", overlay], tmp_path / "out", {**values, **once}))
    text += succeeded(run_bundle(RECON, ["train", "evaluate", overlay], tmp_path / "out", values))
    assert (tmp_path / "out/evaluation/rate_distortion.csv").read_text().count("\n") == 5
    assert "never-to-be-seen" not in text
