"""What the studies share: the bundle run from Python, and a queue of processes that survives interruption."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)
#: of training, by whether precision is mixed; what is in results/ was made with the second
PRECISIONS = ("float32", "bfloat16")


def run_bundle(bundle: str, configs: Sequence[str], folder: Path, **overrides: Any) -> None:
    """``monai.bundle run`` of a bundle with overlays and overrides, writing to ``folder``."""
    from monai.bundle import run

    root = ROOT / "bundles" / bundle
    run(
        config_file=[str(root / "configs" / name) for name in configs],
        meta_file=str(root / "configs/metadata.json"),
        logging_file=str(root / "configs/logging.conf"),
        bundle_root=str(root),
        output_dir=str(folder),
        **overrides,
    )


def commit() -> str:
    """Commit of this checkout, ending in ``-dirty`` when tracked files were changed; ``unknown`` outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def mark_finished(folder: Path, seconds: Any, mixed_precision: bool) -> None:
    """Write what a finished run took and what it was run with."""
    facts = {"seconds": seconds, "threads": 1, "precision": PRECISIONS[mixed_precision], "commit": commit()}
    (folder / "finished.json").write_text(json.dumps(facts))


def run_queue(
    script: str, todo: Sequence[tuple[str, int]], data: Path, runs: Path, jobs: int, precision: str
) -> list[str]:
    """Run ``script one`` for every (experiment, seed), ``jobs`` processes of one thread at a time; returns what failed."""
    runs.mkdir(parents=True, exist_ok=True)
    active: dict[str, subprocess.Popen[bytes]] = {}
    failed: list[str] = []

    def wait_below(number: int) -> None:
        while len(active) >= number:
            time.sleep(0.5)
            for run in [run for run, process in active.items() if process.poll() is not None]:
                if active.pop(run).returncode:
                    print(f"FAILED: {run}, see {runs / run}.log", flush=True)
                    failed.append(run)

    for number, (name, seed) in enumerate(todo):
        wait_below(jobs)
        print(f"[{number + 1}/{len(todo)}] {name} seed {seed}", flush=True)
        command = [sys.executable, script, "one", "--data", data, "--runs", runs, "--name", name, "--seed", str(seed)]
        command += ["--precision", precision]
        run = f"{name}-seed{seed}"
        with open(runs / f"{run}.log", "wb") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            active[run] = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log, env=environment)
    wait_below(1)
    return failed


def study_main(
    document: str | None,
    script: str,
    seeds_of: Mapping[str, Sequence[int]],
    run_one: Callable[[str, int, Path, Path, bool], None],
    report: Callable[[Path], None],
    runs: str,
) -> None:
    """Command line of a study: ``train`` (skips what is finished), ``one`` and ``report``."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "one", "report"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--runs", type=Path, default=ROOT / runs)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], choices=list(seeds_of), metavar="EXPERIMENT")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=PRECISIONS[False],
        help="never left to the machine, and kept with every run",
    )
    parser.add_argument("--name", choices=list(seeds_of))
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    data, folder = given.data.resolve(), given.runs.resolve()
    if given.action == "one":
        run_one(given.name, given.seed, data, folder, given.precision == PRECISIONS[True])
    elif given.action == "report":
        from report import write_pages

        report(folder)
        write_pages()
    else:
        wanted = [(n, s) for n, seeds in seeds_of.items() if not given.only or n in given.only for s in seeds]
        wanted.sort(key=lambda pair: pair[1])  # one seed of everything first
        todo = [(n, s) for n, s in wanted if not (folder / f"{n}-seed{s}" / "finished.json").exists()]
        if failed := run_queue(script, todo, data, folder, given.jobs, given.precision):
            sys.exit(f"{len(failed)} of {len(todo)} runs failed: {', '.join(failed)}")
