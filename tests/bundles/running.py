"""The bundles' commands, small, from a bundle's root as a user runs them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from bundle_table import Bundle
from monai.bundle import ConfigParser

#: 32 x 32 pixels, 16 slices to train on, 8 to validate on
TINY = {
    "grid": [32, 32],
    "train_data#subjects": 4,
    "validation_data#subjects": 2,
    "max_epochs": 2,
    "checkpoint_interval": 1,
    "val_interval": 1,
    "mixed_precision": False,  # not the machine's choice
}
TINY_TEST = {"grid": [32, 32], "test_data#subjects": 2}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone")


def tiny(bundle: Bundle, **values: Any) -> dict[str, Any]:
    """What makes a training of the bundle small, and more values."""
    return {**TINY, **bundle.tiny_model, **bundle.tiny_training, **values}


def command(
    program: Sequence[str], arguments: Sequence[str], root: Path, timeout: float = 300
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


def overrides(values: Mapping[str, Any]) -> list[str]:
    """``{"grid": [32, 32]}`` as MONAI's command line takes it."""
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def run_bundle(
    bundle: Bundle, configs: Sequence[str], output_dir: Path, values: Mapping[str, Any], processes: int = 1
) -> subprocess.CompletedProcess[str]:
    """``monai.bundle run`` with configuration files of a bundle, under torchrun for several processes."""
    launch = [*TORCHRUN, f"--nproc_per_node={processes}"] if processes > 1 else []
    files = ["--config_file", str([f"configs/{name}.json" for name in configs])]
    arguments = [*files, "--output_dir", str(output_dir), *overrides(values)]
    return command([*launch, "-m", "monai.bundle", "run"], arguments, bundle.root)


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """The log of a command that must not fail."""
    assert done.returncode == 0, f"{' '.join(map(str, done.args))}\n{(done.stdout + done.stderr)[-3000:]}"
    return done.stdout + done.stderr


def train(bundle: Bundle, output_dir: Path, overlays: Sequence[str] = (), processes: int = 1, **values: Any) -> str:
    """A tiny training run; returns its log."""
    return succeeded(run_bundle(bundle, ["train", *overlays], output_dir, tiny(bundle, **values), processes))


def evaluate(
    bundle: Bundle, output_dir: Path, overlays: Sequence[str] = (), **values: Any
) -> subprocess.CompletedProcess[str]:
    """A tiny evaluation of what is in ``output_dir``."""
    values = {**TINY_TEST, **bundle.tiny_model, **bundle.tiny_evaluation, **values}
    return run_bundle(bundle, ["train", *overlays, "evaluate"], output_dir, values)


def parse(bundle: Bundle, *overlays: str, **values: Any) -> ConfigParser:
    """The training's configuration on a small grid, in this process."""
    parser = ConfigParser()
    parser.read_config([str(bundle.root / "configs" / f"{name}.json") for name in ("train", *overlays)])
    small = {"grid": [32, 32], "train_data#subjects": 1, "validation_data#subjects": 1, "mixed_precision": False}
    parser.update({**small, "bundle_root": str(bundle.root), **values})
    return parser


def files(folder: Path) -> set[str]:
    """All files below a folder, tracking aside."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in names if not name.startswith("mlruns")}


def csv_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table with a header."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def curve(folder: Path) -> list[dict[str, float]]:
    """Rows of ``training.csv``."""
    return [{name: float(value) for name, value in row.items()} for row in csv_rows(folder / "training.csv")]


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
