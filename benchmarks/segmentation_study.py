"""The segmentation study on real images: every run is the bundle itself with an overlay, at one equal budget.

    python benchmarks/segmentation_study.py train --data ../shared/data --runs runs/segmentation --jobs 2
    python benchmarks/segmentation_study.py report --runs runs/segmentation

``train`` skips what is finished, so that it survives interruption. ``report`` writes
benchmarks/results/segmentation_study.json, its pictures and the page docs/results/segmentation.md.
Raters are simulated: both sets have one label.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from study_runner import SEEDS, mark_finished, run_bundle, study_main

RATIOS = [1 / 32, 1 / 16, 1 / 8, 1 / 4]
SAMPLES = 32
#: data set -> overlay, overrides, epochs
DATA: dict[str, tuple[str, dict[str, Any], int]] = {
    "hippocampus": ("data/hippocampus_200.json", {}, 12),
    "tumour": ("data/brain_tumour_1380.json", {"stretches": 1}, 12),
    "tumour_mixed": ("data/brain_tumour_1380.json", {"stretches": 20}, 14),
}
SYSTEMS: dict[str, list[str]] = {
    "infomri": [],
    "deterministic": ["systems/deterministic.json"],
    "tradpat_unet_rs": ["systems/tradpat_unet_rs.json"],
}
KL_WEIGHTS = (10, 50, 100)  # 1 is the overlay's

#: name -> data set, system, overrides on top of train.json and the data's overlay
EXPERIMENTS: dict[str, dict[str, Any]] = {
    f"{data}_{system}": {"data": data, "system": system} for data in DATA for system in SYSTEMS
}
EXPERIMENTS |= {
    f"hippocampus_kl_{weight}": {"data": "hippocampus", "system": "infomri", "kl_weight": float(weight)}
    for weight in KL_WEIGHTS
}
EXPERIMENTS["tumour_kl_5"] = {"data": "tumour", "system": "infomri", "kl_weight": 5.0}
EXPERIMENTS["hippocampus_paper_posterior"] = {
    "data": "hippocampus",
    "system": "infomri",
    "noise_stride": 1,
    "network_def#posterior_form": "paper",
    "mean_task_weight": 0.0,
}
EXPERIMENTS["hippocampus_without_mean_task"] = {"data": "hippocampus", "system": "infomri", "mean_task_weight": 0.0}
GROUPS = {
    **{data: [f"{data}_{system}" for system in SYSTEMS] for data in DATA},
    "Form of the posterior and of the loss, hippocampus": [
        "hippocampus_infomri",
        "hippocampus_without_mean_task",
        "hippocampus_paper_posterior",
    ],
    "KL weight, hippocampus": ["hippocampus_infomri", *(f"hippocampus_kl_{weight}" for weight in KL_WEIGHTS)],
    "KL weight, tumours": ["tumour_infomri", "tumour_kl_5"],
}


def run_one(name: str, seed: int, data: Path, runs: Path, mixed_precision: bool) -> None:
    """Train one system, evaluate it on the test split, and mark the folder finished."""
    import torch

    torch.set_num_threads(1)
    folder = runs / f"{name}-seed{seed}"
    overrides = dict(EXPERIMENTS[name])
    data_set, system = overrides.pop("data"), overrides.pop("system")
    overlay, of_data, epochs = DATA[data_set]
    overrides |= {**of_data, "seed": seed, "dataset_dir": str(data), "max_epochs": epochs, "validation_samples": 16}
    overrides["mixed_precision"] = mixed_precision
    train = {"checkpoint_interval": 1000, "val_interval": 1000}
    start = time.perf_counter()
    configs = ["train.json", overlay, *SYSTEMS[system]]
    if system == "tradpat_unet_rs":  # each stage has the whole number of steps
        first = ["train.json", overlay, "systems/tradpat_unet_rs_reconstruction.json"]
        run_bundle("infomri_segmentation", first, folder / "stage1", **train, **overrides)
    run_bundle("infomri_segmentation", configs, folder, **train, **overrides)
    seconds = time.perf_counter() - start
    evaluation = [*configs, "evaluate.json"]
    run_bundle(
        "infomri_segmentation",
        evaluation,
        folder,
        method=name,
        evaluation_samples=SAMPLES,
        evaluation_amp=mixed_precision,
        **overrides,
    )
    mark_finished(folder, round(seconds), mixed_precision)


def _report(runs: Path) -> None:
    from segmentation_report import write_report

    write_report(runs, GROUPS)


if __name__ == "__main__":
    study_main(__doc__, __file__, dict.fromkeys(EXPERIMENTS, SEEDS), run_one, _report, "runs/segmentation")
