"""Poisson-disk masks: time of ``sigpy.mri.poisson`` over ours, same grid and acceleration, one core.

Run ``python benchmarks/poisson_speed.py``; it prints the table and writes ``benchmarks/results/poisson_speed.json``.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sigpy.mri
import torch

from infomri_monai.sampling import PoissonDisk

GRID = (256, 256)
ACCELERATIONS = (4, 8)
RUNS = 7
RESULT = Path(__file__).parent / "results" / "poisson_speed.json"


def seconds(draw: Callable[[int], object]) -> list[float]:
    """Wall-clock seconds of RUNS seeded calls after a warm-up call (compilation)."""
    draw(0)
    times = []
    for seed in range(1, RUNS + 1):
        start = time.perf_counter()
        draw(seed)
        times.append(time.perf_counter() - start)
    return times


def compare(acceleration: int) -> dict[str, Any]:
    """Median times side by side; both libraries draw a new mask for every seed."""
    policy = PoissonDisk()
    ours = seconds(lambda seed: policy(1 / acceleration, GRID, torch.Generator().manual_seed(seed)))
    theirs = seconds(lambda seed: sigpy.mri.poisson(GRID, acceleration, seed=seed))
    ours_median, theirs_median = statistics.median(ours), statistics.median(theirs)
    return {
        "acceleration": acceleration,
        "ours_seconds": ours_median,
        "ours_range": [min(ours), max(ours)],
        "sigpy_seconds": theirs_median,
        "sigpy_range": [min(theirs), max(theirs)],
        "ratio": theirs_median / ours_median,
    }


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    rows = [compare(acceleration) for acceleration in ACCELERATIONS]
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads_used": 1,
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "numba", "sigpy")},
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"grid": GRID, "runs": RUNS, "results": rows, "machine": machine}, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['acceleration']}x: ours {1e3 * row['ours_seconds']:.1f} ms, sigpy {1e3 * row['sigpy_seconds']:.0f} ms, "
            f"ratio {row['ratio']:.0f}"
        )


if __name__ == "__main__":
    main()
