"""From start to result: a time line of the applications, the share that is ours, and its ratio to the network's own time.

Series of 256 x 256 pixels: DICOM (classic, k-space is simulated) and raw ISMRMRD files (one line in four). The shipped weights
were trained on smaller grids; their policies are carried over, which is right for speed only. The shipped classifier is tiny, so
that there is a row for the network of the paper too (ResNet18, configs/paper_scale.json, random weights).

- In one process, each case again and again, with one thread and with two: every stage in wall-clock and CPU seconds. Ours is all
  from the first byte read of a case (its headers, to find it) to its last object written, less the network's own time. Both are
  of the same run, so that what else the machine does cancels; the median over the rounds counts.
- Each application as a user starts it, in a process of its own: what the start and the end take beside the first case.

Usage: python benchmarks/deploy_timeline.py [--slices 32] [--size 256] [--budget 8] [--threads 1 2]
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from deploy_timeline_report import STAGES, summarised, write_report
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from report import IMAGES, write_pages
from scipy import ndimage

from infomri_monai.deploy.bundle import DeployBundle, TimedNetwork
from infomri_monai.deploy.cases import find_cases
from infomri_monai.deploy.dicom.save import save_objects
from infomri_monai.engines import keep_freed_memory
from infomri_monai.engines.case import AcquiredCase

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from hospital.mr_series import write_example_series  # noqa: E402
from hospital.raw_scan import example_head, write_example_ismrmrd  # noqa: E402

RESULTS = Path(__file__).parent / "results"
MOST_ROUNDS = 7


class Row(NamedTuple):
    """One application and its input.

    Attributes:
        application: name of its module.
        task: of its bundle.
        bundle: folder of the bundle.
        source: "dicom" or "raw".
        share: of the slices, for networks that are slow.
        paper: name of the paper's network, which is taken instead of the shipped one; "" takes the latter.
    """

    application: str
    task: str
    bundle: str
    source: str = "dicom"
    share: float = 1.0
    paper: str = ""

    @property
    def name(self) -> str:
        """In tables and figures."""
        source = {"dicom": "DICOM", "raw": "raw"}[self.source]
        return f"{self.application.replace('_', ' ')}, {source}{', ' * bool(self.paper)}{self.paper}"


RECONSTRUCTION = ("reconstruction", "reconstruction", "infomri_recon")
SEGMENTATION = ("segmentation", "segmentation", "infomri_segmentation")
CLASSIFICATION = ("privacy_classification", "classification", "infomri_privacy_classification")
ROWS = (
    Row(*RECONSTRUCTION),
    Row(*RECONSTRUCTION, source="raw"),
    Row(*RECONSTRUCTION, paper="U-Net", share=0.125),
    Row(*SEGMENTATION),
    Row(*SEGMENTATION, source="raw", share=0.25),
    Row(*CLASSIFICATION, paper="ResNet18", share=0.25),
    Row(*CLASSIFICATION),
    Row(*CLASSIFICATION, source="raw"),
)


class Stages:
    """Wall-clock and CPU seconds of the stages of one case; the CPU's are the sum over all threads."""

    def __init__(self) -> None:
        self.wall, self.cpu = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[name] += time.perf_counter() - wall
        self.cpu[name] += time.process_time() - cpu


class Bench:
    """An application's parts in this process: its bundle, and what builds its objects.

    Args:
        row: what to run.
        models: the bundle's folder.
        folder: of the inputs: one folder for every source and number of slices.
        slices: of a whole series.
    """

    def __init__(self, row: Row, models: Path, folder: Path, slices: int) -> None:
        self.row, self.inputs = row, folder
        self.slices = max(1, round(slices * row.share))
        settings = yaml.safe_load((ROOT / f"infomri_monai/deploy/{row.application}/app.yaml").read_text())["bundle"]
        self.bundle = DeployBundle(models, row.task, settings)
        self.bundle.network.network = TimedNetwork(self.bundle.network.network, time.process_time)  # beside wall-clock
        self.build = importlib.import_module(f"infomri_monai.deploy.{row.application}.objects").build_objects

    def __call__(self, slices: int | None = None) -> Stages:
        """One case from its file to its objects.

        Args:
            slices: of the input; None for the row's own number.
        """
        stages = Stages()
        outer, inner = self.bundle.network, self.bundle.network.network
        before = outer.seconds, inner.seconds
        with tempfile.TemporaryDirectory() as output:
            with stages("find"):
                cases, _ = find_cases(self.inputs / f"{self.row.source}_{slices or self.slices}")
            with stages("load"):
                case = cases[0](1)
            # the bar of slices is drawn, as it is for a user, but not shown
            with stages("assemble"), _timed_acquisition(stages), redirect_stderr(io.StringIO()):
                inference = self.bundle(case)
            with stages("build"):
                objects = self.build(case, inference, self.bundle)
            with stages("write"):
                save_objects(objects, Path(output) / "case_0001")
        stages.wall["network"], stages.cpu["network"] = outer.seconds - before[0], inner.seconds - before[1]
        for clock in (stages.wall, stages.cpu):
            clock["assemble"] -= clock["simulate"] + clock["network"]
        return stages


@contextmanager
def _timed_acquisition(stages: Stages) -> Iterator[None]:
    """Count the time in which slices are acquired: masks, noise, Fourier transforms."""
    plain = AcquiredCase.ensemble

    def ensemble(self: AcquiredCase, masks: int) -> Iterator[Any]:
        batches = plain(self, masks)
        while True:
            with stages("simulate"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    AcquiredCase.ensemble = ensemble  # type: ignore[method-assign]
    try:
        yield
    finally:
        AcquiredCase.ensemble = plain  # type: ignore[method-assign]


def write_inputs(folder: Path, counts: Sequence[int], size: int) -> None:
    """Write DICOM series and raw files of some numbers of slices; a head has 16, between which is interpolated."""
    head = example_head(16, (size, size))
    for count in counts:
        images = np.clip(_resampled(np.abs(head), count), 0, None)
        write_example_series(folder / f"dicom_{count}", images=images, spacing=4.0)
        raw = folder / f"raw_{count}"
        raw.mkdir()
        lines = [line for line in range(size) if line % 8 == 0 or abs(line - size // 2) < size // 16]
        write_example_ismrmrd(raw / "scan.h5", images, lines)


def _resampled(stack: NDArray[Any], count: int) -> NDArray[Any]:
    zoomed: NDArray[Any] = ndimage.zoom(stack, (count / len(stack), 1, 1), order=1, mode="nearest", grid_mode=True)
    return zoomed


def paper_bundle(bundle: str, folder: Path) -> Path:
    """A copy of a bundle with the paper's network, untrained."""
    shipped = ROOT / "bundles" / bundle
    config = json.loads((shipped / "configs/inference.json").read_text())
    paper = json.loads((shipped / "configs/paper_scale.json").read_text())
    config |= {key: paper[key] for key in ("backbone", "network_def") if key in paper}
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs/inference.json").write_text(json.dumps(config))
    for name in ("configs/metadata.json", "models/policy.pt"):
        (folder / name).write_bytes((shipped / name).read_bytes())
    network = ConfigParser(config).get_parsed_content("network_def")
    torch.save(network.state_dict(), folder / "models/model.pt")
    return folder


def measure(row: Row, folder: Path, slices: int, threads: Sequence[int], budget: float) -> list[dict[str, Any]]:
    """Rounds of one row, for each number of threads as many as fit into the budget, at least one."""
    models = paper_bundle(row.bundle, folder / f"paper_{row.task}") if row.paper else ROOT / "bundles" / row.bundle
    bench = Bench(row, models, folder, slices)
    results = []
    for count in threads:
        torch.set_num_threads(count)
        bench(slices=2)  # warms up
        start = time.perf_counter()
        rounds = [bench()]
        while len(rounds) < MOST_ROUNDS and (time.perf_counter() - start) * (1 + 1 / len(rounds)) < budget:
            rounds.append(bench())
        kind = {"application": row.name, "threads": count, "slices": bench.slices}
        results.append({**kind, **summarised([(r.wall, r.cpu) for r in rounds], bench.slices)})
    return results


def started(row: Row, folder: Path, slices: int) -> dict[str, Any]:
    """The application as a user starts it, with the number of threads that PyTorch chooses."""
    with tempfile.TemporaryDirectory() as output:
        inputs = folder / f"{row.source}_{max(1, round(slices * row.share))}"
        paths = ("-i", str(inputs), "-o", output, "-m", str(ROOT / "bundles" / row.bundle), "-l", "ERROR")
        start = time.perf_counter()
        command = [sys.executable, "-m", f"infomri_monai.deploy.{row.application}", *paths]
        ended = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        total = time.perf_counter() - start
        if ended.returncode:
            raise RuntimeError(f"{row.application} ended with code {ended.returncode}:\n{ended.stderr}")
        summary = json.loads((Path(output) / "summary.json").read_text())
    stages: dict[str, float] = summary["cases"][0]["seconds"]
    own = sum(stages.values()) - stages["network"]
    return {
        "application": row.name,
        "slices": summary["cases"][0]["slices"],
        "seconds": {"start and end": round(total - sum(stages.values()), 3), **stages},
        "total": round(total, 3),
        "own_to_network": round(own / stages["network"], 4),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--slices", type=int, default=32, help="of a whole series; slow networks get a part of them")
    parser.add_argument("--size", type=int, default=256, help="pixels of a slice along each axis")
    parser.add_argument(
        "--budget", type=float, default=8.0, help="seconds for the rounds of a row and number of threads"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the picture")
    given = parser.parse_args()
    machine = {
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "monai", "highdicom", "pydicom", "monai-deploy-app-sdk")},
    }
    logging.getLogger("infomri_monai").setLevel(logging.ERROR)
    keep_freed_memory()  # as the applications do
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = {2, *(max(1, round(given.slices * row.share)) for row in ROWS)}
        write_inputs(folder, sorted(counts), given.size)
        starts = [started(row, folder, given.slices) for row in ROWS if row.source == "dicom" and not row.paper]
        rows = [r for row in ROWS for r in measure(row, folder, given.slices, given.threads, given.budget)]
    task = {"size": given.size, "budget": given.budget}
    write_report(given.output, given.images, rows, starts, {"task": task, "machine": machine})
    write_pages()
    print("The table is in docs/results/speed.md")


if __name__ == "__main__":
    main()
