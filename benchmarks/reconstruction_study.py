"""The reconstruction study on real brain MRI: every run is the bundle itself with an overlay, at one equal budget.

    python benchmarks/reconstruction_study.py train --data ../shared/data --runs runs/study --jobs 2
    python benchmarks/reconstruction_study.py report --runs runs/study

``train`` skips what is finished, so that it survives interruption. ``report`` writes
benchmarks/results/reconstruction_study.json, its pictures and the page docs/results/reconstruction.md.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from study_runner import SEEDS, mark_finished, run_bundle, study_main

RATIOS = [0.05, 0.0625, 0.1, 0.125, 0.15, 0.1875, 0.2, 0.25, 0.3]
LEARNING_RATE = 6e-3  # of every network, chosen on the validation subject (3e-3 and 1e-2 are a little worse there)
REAL: dict[str, Any] = {"overlays": ["real_valued.json"]}
FROZEN = {"policy_learning_rate": 0.0, "embedding_learning_rate": 0.0}

#: name -> overlays and overrides on top of train.json and data/brain_complex_180.json
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "2d_infomri": {},
    "2d_spectrum": {"overlays": ["systems/spectrum.json"]},
    "2d_variable_density": {"overlays": ["systems/variable_density.json"]},
    "2d_poisson_disk": {"overlays": ["systems/poisson_disk.json"]},
    "2d_uniform": {"overlays": ["systems/uniform.json"]},
    "2d_radial": {"overlays": ["systems/radial.json"]},
    "1d_infomri": {"overlays": ["cartesian.json"]},
    "1d_uniform": {"overlays": ["cartesian.json", "systems/uniform.json"]},
    "1d_equispaced": {"overlays": ["cartesian.json", "systems/equispaced.json"]},
    "1d_equispaced_centre": {
        "overlays": ["cartesian.json"],
        "policy": {"_target_": "infomri_monai.sampling.Equispaced", "readout_axis": 0, "center_share": 0.32},
    },
    "1d_variable_density": {"overlays": ["cartesian.json", "systems/variable_density.json"]},
    "single_0.0625": {"ratio_range": [0.0625, 0.0625]},
    "single_0.125": {"ratio_range": [0.125, 0.125]},
    "single_0.25": {"ratio_range": [0.25, 0.25]},
    "start_frozen": FROZEN,
    "start_symmetric": {"asymmetry": 1.0},
    "start_symmetric_frozen": {"asymmetry": 1.0, **FROZEN},
    "start_uniform": {"overlays": ["systems/pgn_uniform_start.json"]},
    "start_paper": {"overlays": ["systems/pgn_paper_start.json"]},
    "real_half_plane": REAL,
    "real_symmetric_start": {**REAL, "asymmetry": 1.0},
    "real_symmetric_frozen": {**REAL, "asymmetry": 1.0, **FROZEN},
    "real_no_completion": {
        "asymmetry": 1.0,
        **{f"{split}_data#magnitude": True for split in ("train", "validation", "test")},
    },
    "loss_nll": {"variance_weighting": 0.0},
    "loss_mse": {"overlays": ["mse.json"]},
    "1d_start_frozen": {"overlays": ["cartesian.json"], **FROZEN},
    "long_infomri": {"max_epochs": 48},
    "long_single_0.0625": {"max_epochs": 48, "ratio_range": [0.0625, 0.0625]},
    "long_single_0.125": {"max_epochs": 48, "ratio_range": [0.125, 0.125]},
    "long_single_0.25": {"max_epochs": 48, "ratio_range": [0.25, 0.25]},
}


def _run(configs: list[str], folder: Path, **overrides: Any) -> None:
    run_bundle("infomri_recon", configs, folder, evaluation_ratios=RATIOS, **overrides)


def run_one(name: str, seed: int, data: Path, runs: Path, mixed_precision: bool) -> None:
    """Train one system, evaluate it on subject 5 and on brain_50, and mark the folder finished."""
    import torch

    torch.set_num_threads(1)
    folder = runs / f"{name}-seed{seed}"
    overrides = dict(EXPERIMENTS[name])
    overlays = overrides.pop("overlays", [])
    of_test = {key: value for key, value in overrides.items() if key.startswith("test_data")}
    of_policy = {k: v for k, v in overrides.items() if k.partition("#")[0] == "policy"}  # of training only
    of_all = {key: value for key, value in overrides.items() if key not in of_test | of_policy}
    of_all |= {"seed": seed, "dataset_dir": str(data), "learning_rate": LEARNING_RATE}
    of_all["mixed_precision"] = mixed_precision
    start = time.perf_counter()
    data_set = "data/brain_complex_180.json"
    never = {"checkpoint_interval": 1000, "val_interval": 1000}
    _run(["train.json", data_set, *overlays], folder, **never, **of_all, **of_policy)
    seconds = time.perf_counter() - start
    evaluation = ["train.json", *overlays, "evaluate.json", data_set]
    _run(evaluation, folder, report_dir=str(folder / "subject5"), method=name, **of_all, **of_test)
    _run([*evaluation, "data/brain_50.json"], folder, report_dir=str(folder / "brain_50"), method=name, **of_all)
    mark_finished(folder, round(seconds), mixed_precision)


def _report(runs: Path) -> None:
    from reconstruction_report import write_report

    write_report(runs)


if __name__ == "__main__":
    study_main(__doc__, __file__, dict.fromkeys(EXPERIMENTS, SEEDS), run_one, _report, "runs/study")
