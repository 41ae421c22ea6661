"""The bundles' commands, small, from a bundle's root as a user runs them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

BUNDLES = Path(__file__).parents[2] / "bundles"
ROOT = BUNDLES / "infomri_recon"
SEGMENTATION = BUNDLES / "infomri_segmentation"

#: 32 x 32 pixels, 16 slices to train on, 8 to validate on
TINY = {
    "grid": [32, 32],
    "train_data#subjects": 4,
    "validation_data#subjects": 2,
    "max_epochs": 2,
    "checkpoint_interval": 1,
    "validation_interval": 1,
}
TINY_TEST = {"grid": [32, 32], "test_data#subjects": 2}
#: a task model of a few thousand parameters
TINY_MODEL = {"channels": [8, 8], "latent_channels": 4}
TINY_SEGMENTATION = {**TINY, **TINY_MODEL, "validation_samples": 4}
TINY_SEGMENTATION_TEST = {**TINY_TEST, **TINY_MODEL, "evaluation_samples": 6}


def command(
    program: Sequence[str], arguments: Sequence[str], timeout: float = 300, root: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run Python with one thread from a bundle's root; the caller checks the exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**environment, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def overrides(values: dict[str, Any]) -> list[str]:
    """``{"grid": [32, 32]}`` as MONAI's command line takes it."""
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def run_bundle(
    configs: Sequence[str],
    output_dir: Path,
    values: dict[str, Any],
    processes: int = 1,
    program: Sequence[str] = ("-m", "monai.bundle", "run"),
    root: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """``monai.bundle run`` with configuration files of a bundle, under torchrun for several processes."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    files = ["--config_file", str([f"configs/{name}.json" for name in configs])]
    return command([*launch, *program], [*files, "--output_dir", str(output_dir), *overrides(values)], root=root)


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """The log of a command that must not fail."""
    assert done.returncode == 0, f"{' '.join(map(str, done.args))}\n{(done.stdout + done.stderr)[-3000:]}"
    return done.stdout + done.stderr


def train(output_dir: Path, overlays: Sequence[str] = (), processes: int = 1, **values: Any) -> str:
    """A tiny training run; returns its log."""
    return succeeded(run_bundle(["train", *overlays], output_dir, {**TINY, **values}, processes))


def evaluate(output_dir: Path, **values: Any) -> subprocess.CompletedProcess[str]:
    """A tiny evaluation of what is in ``output_dir``."""
    return run_bundle(["train", "evaluate"], output_dir, {**TINY_TEST, **values})


def train_segmentation(output_dir: Path, overlays: Sequence[str] = (), processes: int = 1, **values: Any) -> str:
    """A tiny training run of the segmentation bundle; returns its log."""
    done = run_bundle(["train", *overlays], output_dir, {**TINY_SEGMENTATION, **values}, processes, root=SEGMENTATION)
    return succeeded(done)


def evaluate_segmentation(
    output_dir: Path, overlays: Sequence[str] = (), **values: Any
) -> subprocess.CompletedProcess[str]:
    """A tiny evaluation of what the segmentation bundle left in ``output_dir``."""
    configs = ["train", *overlays, "evaluate"]
    return run_bundle(configs, output_dir, {**TINY_SEGMENTATION_TEST, **values}, root=SEGMENTATION)


def files(folder: Path) -> set[str]:
    """All files below a folder, tracking aside."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in names if not name.startswith("mlruns")}


def curve(folder: Path) -> list[dict[str, float]]:
    """Rows of ``training.csv``."""
    with (folder / "training.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def table(folder: Path, name: str = "rate_distortion") -> list[dict[str, Any]]:
    """Rows of ``rate_distortion.json`` or another table."""
    rows: list[dict[str, Any]] = json.loads((folder / f"{name}.json").read_text())["rows"]
    return rows


def assert_same_weights(a: Path, b: Path) -> None:
    """Network and policy of two runs are equal, bit for bit."""
    for name in ("model.pt", "policy.pt"):
        first, second = (torch.load(folder / name, weights_only=True) for folder in (a, b))
        first, second = (content.get("state_dict", content) for content in (first, second))
        assert list(first) == list(second)
        assert all(torch.equal(value, second[key]) for key, value in first.items()), name
