"""The reconstruction study on real brain MRI: every run is the bundle itself with an overlay, at one equal budget.

    python benchmarks/reconstruction_study.py train --data ../shared/data --runs runs/study --jobs 2
    python benchmarks/reconstruction_study.py report --runs runs/study

``train`` skips what is finished, so that it survives interruption. ``report`` writes benchmarks/results/reconstruction_study.*.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "bundles/infomri_recon/configs"
SEEDS = (0, 1, 2)
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
    from monai.bundle import run

    run(
        config_file=[str(CONFIGS / name) for name in configs],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=str(CONFIGS / "logging.conf"),
        bundle_root=str(CONFIGS.parent),
        output_dir=str(folder),
        evaluation_ratios=RATIOS,
        **overrides,
    )


def run_one(name: str, seed: int, data: Path, runs: Path) -> None:
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
    start = time.perf_counter()
    data_set = "data/brain_complex_180.json"
    never = {"checkpoint_interval": 1000, "validation_interval": 1000}
    _run(["train.json", data_set, *overlays], folder, **never, **of_all, **of_policy)
    seconds = time.perf_counter() - start
    evaluation = ["train.json", *overlays, "evaluate.json", data_set]
    _run(evaluation, folder, report_dir=str(folder / "subject5"), method=name, **of_all, **of_test)
    _run([*evaluation, "data/brain_50.json"], folder, report_dir=str(folder / "brain_50"), method=name, **of_all)
    (folder / "finished.json").write_text(json.dumps({"seconds": round(seconds), "threads": 1}))


def train(data: Path, runs: Path, jobs: int, only: list[str]) -> None:
    """Run what is not finished yet, ``jobs`` processes at a time."""
    runs.mkdir(parents=True, exist_ok=True)
    names = [name for name in EXPERIMENTS if not only or name in only]
    todo = [(n, s) for n in names for s in SEEDS if not (runs / f"{n}-seed{s}" / "finished.json").exists()]
    active: list[subprocess.Popen[bytes]] = []
    for number, (name, seed) in enumerate(todo):
        while len(active) >= jobs:
            time.sleep(0.5)
            active = [process for process in active if process.poll() is None]
        print(f"[{number + 1}/{len(todo)}] {name} seed {seed}", flush=True)
        command = [sys.executable, __file__, "one", "--data", data, "--runs", runs, "--name", name, "--seed", str(seed)]
        with open(runs / f"{name}-seed{seed}.log", "wb") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            active.append(subprocess.Popen([str(c) for c in command], stdout=log, stderr=log, env=environment))
    for process in active:
        process.wait()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "one", "report"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/study")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], choices=list(EXPERIMENTS), metavar="EXPERIMENT")
    parser.add_argument("--name", choices=list(EXPERIMENTS))
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    if arguments.action == "train":
        train(arguments.data.resolve(), arguments.runs.resolve(), arguments.jobs, arguments.only)
    elif arguments.action == "one":
        run_one(arguments.name, arguments.seed, arguments.data, arguments.runs)
    else:
        from reconstruction_report import write_report

        write_report(arguments.runs, ROOT / "benchmarks/results")


if __name__ == "__main__":
    main()
