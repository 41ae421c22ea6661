"""Generalized energy distance of 32 samples against 6 raters: time of the naive loop over pairs over ours, one core.

Both give the same number. The loop is given its masks as booleans already, its fastest input; ours takes what a model and a data
set give (uint8 samples, float32 raters) and checks it. Ours gains from pixels that all masks agree on, so three degrees of
agreement are measured; masks of independent pixels have none, and are its slowest case.

Run ``python benchmarks/ged_speed.py``; it prints the table and writes ``benchmarks/results/ged_speed.json``.
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

import torch
from torch import Tensor

from infomri_monai.metrics import energy_distance

GRID = (256, 256)
SAMPLES, RATERS = 32, 6
RUNS = 15
CALLS = 40  # of ours in one run, so that both take about as long
RESULT = Path(__file__).parent / "results" / "ged_speed.json"


def discs(jitter: float, generator: torch.Generator) -> Tensor:
    """Masks of a disc of radius 50 whose centre and radius vary by ``jitter`` pixels (standard deviation)."""
    y, x = torch.meshgrid(*(torch.arange(n) - n / 2 for n in GRID), indexing="ij")
    shift = jitter * torch.randn(3, SAMPLES + RATERS, 1, 1, generator=generator)
    return (y - shift[0]).square() + (x - shift[1]).square() < (50 + shift[2]).square()


def masks(kind: str) -> Tensor:
    """Masks of samples and raters together, (38, H, W)."""
    generator = torch.Generator().manual_seed(0)
    if kind == "independent pixels":
        return torch.rand(SAMPLES + RATERS, *GRID, generator=generator) < 0.5
    return discs({"discs, 1.5 pixels apart": 1.5, "discs, 6 pixels apart": 6.0}[kind], generator)


def naive(samples: list[Tensor], raters: list[Tensor]) -> float:
    """Equation 45, V-statistic, pair by pair."""

    def distance(a: Tensor, b: Tensor) -> float:
        union = (a | b).sum()
        return 0.0 if union == 0 else 1 - float((a & b).sum() / union)

    def mean(first: list[Tensor], second: list[Tensor]) -> float:
        return sum(distance(a, b) for a in first for b in second) / (len(first) * len(second))

    return 2 * mean(samples, raters) - mean(samples, samples) - mean(raters, raters)


def seconds(call: Callable[[], object], calls: int = 1) -> float:
    """Processor seconds of one call, averaged over some: both run on one thread, and other processes' turns do not count."""
    start = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - start) / calls


def compare(kind: str) -> dict[str, Any]:
    """Times of RUNS alternating runs side by side, after one call of each to warm up."""
    both = masks(kind)
    samples, raters = both[None, :SAMPLES, None].to(torch.uint8), both[None, SAMPLES:, None].float()
    pairs = list(both[:SAMPLES]), list(both[SAMPLES:])
    difference = abs(naive(*pairs) - float(energy_distance(samples, raters)))
    times = [
        (seconds(lambda: energy_distance(samples, raters), CALLS), seconds(lambda: naive(*pairs))) for _ in range(RUNS)
    ]
    ours, loop = ([t[i] for t in times] for i in (0, 1))
    return {
        "masks": kind,
        "ours_seconds": statistics.median(ours),
        "ours_range": [min(ours), max(ours)],
        "loop_seconds": statistics.median(loop),
        "loop_range": [min(loop), max(loop)],
        "ratio": statistics.median(loop) / statistics.median(ours),
        "difference": difference,
    }


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    rows = [compare(kind) for kind in ("discs, 1.5 pixels apart", "discs, 6 pixels apart", "independent pixels")]
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads_used": 1,
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy")},
    }
    task = {"grid": GRID, "samples": SAMPLES, "raters": RATERS, "structures": 1, "runs": RUNS}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({**task, "results": rows, "machine": machine}, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['masks']}: ours {1e3 * row['ours_seconds']:.2f} ms, loop {1e3 * row['loop_seconds']:.0f} ms, "
            f"ratio {row['ratio']:.0f}, difference {row['difference']:.1e}"
        )


if __name__ == "__main__":
    main()
