"""The privacy study: every run is the bundle itself with an overlay: trained, evaluated and attacked at one equal budget.

    python benchmarks/privacy_study.py train --data ../shared/data --runs runs/privacy --jobs 2
    python benchmarks/privacy_study.py report --runs runs/privacy

``train`` skips what is finished, so that it survives interruption. ``report`` writes benchmarks/results/privacy_study.*.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from study_runner import ROOT, SEEDS, mark_finished, run_bundle, study_main

#: Ĥ is a sum over positions: a larger grid wants a smaller beta
BETAS = {
    "mnist": {"0": 0.0, "1e-4": -1e-4, "3e-4": -3e-4, "1e-3": -1e-3, "3e-3": -3e-3},
    "tumour_side": {"0": 0.0, "1e-5": -1e-5, "1e-4": -1e-4, "1e-3": -1e-3},
}
#: data set -> overlay, its overrides
DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("data/mnist.json", {"validation_data#subset": 5}),
    "tumour_side": ("data/brain_tumour_side.json", {}),
}
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

PROTOCOL = (
    "Commands: `python benchmarks/privacy_study.py train --data ../shared/data` and `… report`. Mean ± standard deviation "
    "over the seeds that were run (0, 1, 2; a cell without ± is of one seed). `mnist`: 50,000 / 5,000 / 5,000 images of "
    "28 x 28, every fifth validation image; noise of 0.01 per real component in k-space units; MONAI ResNet of blocks [1, "
    "1, 1, 1] with channels [16, 32, 64, 64] (the paper's ResNet18 is a GPU's work), k-space completed by symmetry (real "
    "images), 4 epochs = 1564 steps of batch 128, bfloat16, learning rate 3e-3: the same for all. `mnist_beta_*`: one PGN "
    "for all ratios from 10 to 30 %, from a wide start; `beta_0` is compressed learning. `mnist_loupe_*`: LOUPE with beta "
    "= 0, one model per ratio. `mnist_uniform`, `mnist_variable_density`: fixed laws, one classifier for all ratios. "
    "Attackers: `cnn`, the paper's three-layer network, and `unrolled`, 3 unrolled phases of 16 channels with the true "
    "masks and conjugate symmetry; each trained once for both ratios (LOUPE's for one) with batch 64, at most 1200 steps, "
    "stopped when the validation error has not fallen twice in 200 steps each. The paper does "
    "not say at which acceleration its Table IV stands; 4x and 8x are the config's. The start and the order of magnitude "
    "of beta were chosen on validation images. `tumour_side`: `brain_tumour_side` (see its docstring), 406 / 88 / 60 "
    "slices of 64², 80 epochs of batch 32; attackers a small U-Net and 5 unrolled phases of 16 channels, at most 600 "
    "steps of batch 16. PSNR per image, data range the image's maximum; the constant guess is the mean training image. "
    "The attribute probe (seed 0) predicts MNIST's slant relative to its digit, or the tumour's size."
)


def run_one(name: str, seed: int, data: Path, runs: Path, mixed_precision: bool) -> None:
    """Train one system, evaluate it on the test split, attack it, and mark the folder finished."""
    import torch

    torch.set_num_threads(1)
    folder = runs / f"{name}-seed{seed}"
    overrides = dict(EXPERIMENTS[name])
    overlay, of_data = DATA[overrides.pop("data")]
    system = overrides.pop("system", None)
    configs = ["train.json", overlay, *([system] if system else [])]
    overrides = {"method": name, **of_data, **overrides, "seed": seed, "dataset_dir": str(data)}
    overrides |= {"mixed_precision": mixed_precision, "attack_mixed_precision": mixed_precision}
    overrides |= {"attribute_key": "attribute" if seed == 0 else None, "probe_fully_sampled": False}
    seconds = {}
    for action, extra in (("train", []), ("evaluate", ["evaluate.json"]), ("audit", ["audit.json"])):
        start = time.perf_counter()
        run_bundle("infomri_privacy_classification", [*configs, *extra], folder, **overrides)
        seconds[action] = round(time.perf_counter() - start)
    mark_finished(folder, seconds, mixed_precision)


def _report(runs: Path) -> None:
    from privacy_report import write_report

    write_report(runs, ROOT / "benchmarks/results", PROTOCOL, {name: dict(e) for name, e in EXPERIMENTS.items()})


if __name__ == "__main__":
    study_main(__doc__, __file__, dict.fromkeys(EXPERIMENTS, SEEDS), run_one, _report, "runs/privacy")
