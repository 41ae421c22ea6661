"""The privacy study: every run is the bundle itself with an overlay: trained, evaluated and attacked at one equal budget.

    python benchmarks/privacy_study.py train --data ../shared/data --runs runs/privacy --jobs 2
    python benchmarks/privacy_study.py report --runs runs/privacy

``train`` skips what is finished, so that it survives interruption. ``report`` writes benchmarks/results/privacy_study.*.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from study_runner import ROOT, SEEDS, run_bundle, study_main

BETAS = {"0": 0.0, "1e-4": -1e-4, "3e-4": -3e-4, "1e-3": -1e-3, "3e-3": -3e-3}
#: data set -> overlay, its overrides, and whether LOUPE and the fixed laws are compared on it
DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("data/mnist.json", {"max_epochs": 4, "mixed_precision": True, "validation_data#subset": 5}),
    "tumour_side": ("data/brain_tumour_side.json", {"mixed_precision": True}),
}
#: name -> data set, overlays behind it, overrides
EXPERIMENTS: dict[str, dict[str, Any]] = {
    **{f"mnist_beta_{name}": {"data": "mnist", "beta": beta} for name, beta in BETAS.items()},
    "mnist_uniform": {"data": "mnist", "system": "systems/uniform.json"},
    "mnist_variable_density": {"data": "mnist", "system": "systems/variable_density.json"},
    "mnist_loupe_4x": {"data": "mnist", "system": "systems/loupe.json", "ratio": 0.25},
    "mnist_loupe_8x": {"data": "mnist", "system": "systems/loupe.json", "ratio": 0.125},
    **{f"tumour_side_beta_{name}": {"data": "tumour_side", "beta": beta} for name, beta in BETAS.items()},
}

PROTOCOL = ""


def run_one(name: str, seed: int, data: Path, runs: Path) -> None:
    """Train one system, evaluate it on the test split, attack it, and mark the folder finished."""
    import torch

    torch.set_num_threads(1)
    folder = runs / f"{name}-seed{seed}"
    overrides = dict(EXPERIMENTS[name])
    overlay, of_data = DATA[overrides.pop("data")]
    system = overrides.pop("system", None)
    configs = ["train.json", overlay, *([system] if system else [])]
    overrides = {"method": name, **of_data, **overrides, "seed": seed, "dataset_dir": str(data)}
    overrides |= {"attribute_key": "attribute" if seed == 0 else None, "probe_fully_sampled": False}
    seconds = {}
    for action, extra in (("train", []), ("evaluate", ["evaluate.json"]), ("audit", ["audit.json"])):
        start = time.perf_counter()
        run_bundle("infomri_privacy_classification", [*configs, *extra], folder, **overrides)
        seconds[action] = round(time.perf_counter() - start)
    (folder / "finished.json").write_text(json.dumps({"seconds": seconds, "threads": 1}))


def _report(runs: Path) -> None:
    from privacy_report import write_report

    write_report(runs, ROOT / "benchmarks/results", PROTOCOL, {name: dict(e) for name, e in EXPERIMENTS.items()})


if __name__ == "__main__":
    study_main(__doc__, __file__, dict.fromkeys(EXPERIMENTS, SEEDS), run_one, _report, "runs/privacy")
