"""The privacy study: every run is the bundle itself with an overlay: trained, evaluated and attacked at one equal budget per ratio.

    python benchmarks/privacy_study.py train --data ../shared/data --runs runs/privacy --jobs 2
    python benchmarks/privacy_study.py report --runs runs/privacy

``train`` skips what is finished, so that it survives interruption. ``report`` writes
benchmarks/results/privacy_study.json, its pictures and the page docs/results/privacy.md.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from study_runner import SEEDS, mark_finished, run_bundle, study_main

#: Ĥ is a sum over positions: a larger grid wants a smaller beta
BETAS = {
    "mnist": {"0": 0.0, "1e-4": -1e-4, "3e-4": -3e-4, "1e-3": -1e-3, "3e-3": -3e-3},
    "tumour_side": {"0": 0.0, "1e-5": -1e-5, "1e-4": -1e-4, "1e-3": -1e-3},
}
#: data set -> overlay, its overrides, the audit's
DATA: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mnist": (
        "data/mnist.json",
        {"train_data#subset": 3, "validation_data#subset": 20, "max_epochs": 3, "batch_size": 64, "val_interval": 3},
        {"test_data#subset": 5},
    ),
    "tumour_side": ("data/brain_tumour_side.json", {}, {"attack_per_ratio": True}),
}
#: where the probe runs, with seed 0
PROBED = ("mnist_uniform", "mnist_beta_1e-3", "tumour_side_beta_0")
#: name -> data set, overlays behind it, overrides
EXPERIMENTS: dict[str, dict[str, Any]] = {
    **{
        f"{data}_beta_{name}": {"data": data, "beta": beta} for data, own in BETAS.items() for name, beta in own.items()
    },
    "mnist_uniform": {"data": "mnist", "system": "systems/uniform.json"},
    "mnist_variable_density": {"data": "mnist", "system": "systems/variable_density.json"},
    "mnist_loupe_4x": {"data": "mnist", "system": "systems/loupe.json", "ratio": 0.25},
    "mnist_loupe_8x": {"data": "mnist", "system": "systems/loupe.json", "ratio": 0.125},
}


def run_one(name: str, seed: int, data: Path, runs: Path, mixed_precision: bool) -> None:
    """Train one system, evaluate it on the test split, attack it, mark the folder finished; what was done is kept."""
    import torch

    torch.set_num_threads(1)
    folder = runs / f"{name}-seed{seed}"
    overrides = dict(EXPERIMENTS[name])
    overlay, of_data, of_audit = DATA[overrides.pop("data")]
    system = overrides.pop("system", None)
    configs = ["train.json", overlay, *([system] if system else [])]
    overrides = {"method": name, **of_data, **overrides, "seed": seed, "dataset_dir": str(data)}
    overrides |= {"mixed_precision": mixed_precision, "attack_mixed_precision": mixed_precision}
    overrides |= {"attribute_key": "attribute" if seed == 0 and name in PROBED else ""}  # MONAI passes over None
    done = folder / "seconds.json"
    seconds = json.loads(done.read_text()) if done.exists() else {}
    for action, extra, own in (
        ("train", [], {}),
        ("evaluate", ["evaluate.json"], {}),
        ("audit", ["audit.json"], of_audit),
    ):
        if action in seconds:
            continue
        start = time.perf_counter()
        run_bundle("infomri_privacy_classification", [*configs, *extra], folder, **overrides, **own)
        seconds[action] = round(time.perf_counter() - start)
        done.write_text(json.dumps(seconds))
    mark_finished(folder, seconds, mixed_precision)


def _report(runs: Path) -> None:
    from privacy_report import write_report

    write_report(runs, EXPERIMENTS)


if __name__ == "__main__":
    study_main(__doc__, __file__, dict.fromkeys(EXPERIMENTS, SEEDS), run_one, _report, "runs/privacy")
