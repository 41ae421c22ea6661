"""Runs of the applications, and of the bundles' own commands on the same input; made once a session, for many tests."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from monai.bundle import ckpt_export

from hospital.mr_series import ExamplePatient, write_example_series
from hospital.raw_scan import example_head, write_example_fastmri, write_example_ismrmrd

ROOT = Path(__file__).parents[2]
#: every application and its bundle
APPLICATIONS = {
    "reconstruction": "infomri_recon",
    "segmentation": "infomri_segmentation",
    "privacy_classification": "infomri_privacy_classification",
}
#: every case of the input: its number, and what the bundle's command calls it
CASES = {"classic": 1, "enhanced": 2, "fastmri": 3, "ismrmrd": 4}
NAMES = {"classic": "a/series0", "enhanced": "b/series0", "fastmri": "c", "ismrmrd": "d"}
#: slices, columns and rows (readout and phase encoding) of every case; no two of them alike
SHAPES = {"classic": (72, 60, 3), "enhanced": (56, 64, 4), "fastmri": (76, 66, 2), "ismrmrd": (64, 68, 3)}
DICOM, RAW = ("classic", "enhanced"), ("fastmri", "ismrmrd")
#: of the enhanced series, so that cases are not mixed up; the classic one has the default patient
OTHER_PATIENT = ExamplePatient("ROE^RICHARD TEST", "ID-0042-OTHER", "19511112", "ACC-0042-OTHER", "STUDY-OTHER")
#: phase encodes; fastMRI's ratio lies within the range of all shipped policies, ISMRMRD's beyond
LINES = {"fastmri": sorted({*range(28, 38), *range(1, 66, 9)}), "ismrmrd": sorted({*range(26, 40), *range(1, 68, 5)})}
#: as a user starts an application, with the bundles' directories; and as a package of the SDK does, with TorchScript archives
WAYS = ("module", "package")


class Run(NamedTuple):
    """What an application left.

    Attributes:
        folder: holds output/, log.txt and code.txt.
    """

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def log(self) -> str:
        """All that it printed."""
        return (self.folder / "log.txt").read_text()

    @property
    def code(self) -> int:
        """The exit code."""
        return int((self.folder / "code.txt").read_text())

    @property
    def summary(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.output / "summary.json").read_text())
        return content

    def case(self, case: str) -> Path:
        """The folder of a case."""
        return self.output / f"case_{CASES[case]:04d}"


class Runs:
    """All runs, on demand.

    Args:
        once: the fixture.
    """

    def __init__(self, once: Callable[[str, Callable[[Path], None]], Path]) -> None:
        self.once = once

    @property
    def source(self) -> Path:
        """The input of all of them: an oblique classic and an oblique enhanced series, a fastMRI and an ISMRMRD file."""
        return self.once("deploy_source", _write_source)

    @property
    def archives(self) -> Path:
        """A models folder: a TorchScript archive of every bundle, with what belongs beside it."""
        return self.once("deploy_archives", _export)

    def application(self, name: str, way: str = "module") -> Run:
        """The application on the input."""
        return Run(self.once(f"deploy_{name}_{way}", partial(self._start, name, way)))

    def bundle(self, name: str) -> Path:
        """Outputs of the command of an application's bundle on the input, named by ``NAMES``."""
        return self.once(f"deploy_{APPLICATIONS[name]}", partial(self._run_bundle, APPLICATIONS[name]))

    def _start(self, name: str, way: str, folder: Path) -> None:
        places = {"INPUT": self.source, "OUTPUT": folder / "output"}
        variables = environment()
        if way == "module":
            program = ["-m", f"infomri_monai.deploy.{name}", "-i", self.source, "-o", folder / "output"]
            program += ["-m", ROOT / "bundles"]
        else:  # the packager copies the application's folder, and its container starts it with nothing but the environment
            app = folder / "app"
            shutil.copytree(ROOT / "infomri_monai/deploy" / name, app, ignore=shutil.ignore_patterns("__pycache__"))
            places["MODEL"], program = self.archives, [app]
            variables |= {f"HOLOSCAN_{key}_PATH": str(value) for key, value in places.items()}
        command = [sys.executable, *map(str, program)]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=600)
        (folder / "log.txt").write_text(done.stdout + done.stderr)
        (folder / "code.txt").write_text(str(done.returncode))

    def _run_bundle(self, bundle: str, folder: Path) -> None:
        threads, root = torch.get_num_threads(), ROOT / "bundles" / bundle
        torch.set_num_threads(1)
        try:
            for kind in ("image", "kspace"):
                values = {
                    "config_file": root / "configs/inference.json",
                    "bundle_root": root,
                    "dataset_dir": self.source,
                }
                values |= {"kind": kind, "swap_axes": True, "output_dir": folder, "logging_file": False}
                words = [word for key, value in values.items() for word in (f"--{key}", str(value))]
                with mock.patch.object(sys, "argv", ["monai.bundle", "run", *words]), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
                    runpy.run_module("monai.bundle", run_name="__main__")  # python -m monai.bundle run ...
        finally:
            torch.set_num_threads(threads)


def environment() -> dict[str, str]:
    """Of an application in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HOLOSCAN_")}
    return {**kept, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _write_source(folder: Path) -> None:
    columns, rows, slices = SHAPES["classic"]
    write_example_series(folder / "a", "classic", slices, (columns, rows), aspect=1.25, seed=1)
    columns, rows, slices = SHAPES["enhanced"]
    write_example_series(folder / "b", "enhanced", slices, (columns, rows), seed=2, patient=OTHER_PATIENT)
    *grid, slices = SHAPES["fastmri"]
    write_example_fastmri(folder / "c.h5", example_head(slices, grid, seed=3), LINES["fastmri"])
    *grid, slices = SHAPES["ismrmrd"]
    write_example_ismrmrd(folder / "d.h5", example_head(slices, grid, seed=4), LINES["ismrmrd"])


def _export(folder: Path) -> None:
    for bundle in APPLICATIONS.values():
        root, beside = ROOT / "bundles" / bundle, folder / bundle
        beside.mkdir()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            ckpt_export(
                net_id="network_def",
                filepath=str(beside / "model.ts"),
                ckpt_file=str(root / "models/model.pt"),
                meta_file=str(root / "configs/metadata.json"),
                config_file=str(root / "configs/inference.json"),
                bundle_root=str(root),
            )
        for name in ("policy.pt", "triage.json"):
            if (root / "models" / name).exists():
                shutil.copy(root / "models" / name, beside)
