"""How far another processor's results differ: one run of the reconstruction study, trained and evaluated as an older one would.

    python benchmarks/other_processor.py --data ../shared/data --runs runs/other_processor

The same seed, in bfloat16 and in float32 with this processor's instructions, and in float32 with those of AVX2 alone, which
stands for an older processor (``ATEN_CPU_CAPABILITY``, ``ONEDNN_MAX_CPU_ISA``). Writes benchmarks/results/other_processor.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch
from reconstruction_study import EXPERIMENTS, run_one
from study_runner import ROOT, commit

RESULT = ROOT / "benchmarks/results/other_processor.json"
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SEED = 0
#: what is trained -> environment, mixed precision
VARIANTS: dict[str, tuple[dict[str, str], bool]] = {
    "bfloat16": ({}, True),
    "float32": ({}, False),
    "float32, AVX2": (AVX2, False),
}


def main() -> None:
    """Run every variant in a process of its own, and write the PSNR of subject 5 by ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/other_processor")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    data, runs = given.data.resolve(), given.runs.resolve()
    if given.one:
        EXPERIMENTS[given.one] = {}
        run_one(given.one, SEED, data, runs, VARIANTS[given.one][1])
        return
    rows = []
    for name, (environment, _) in VARIANTS.items():
        folder = runs / f"{name}-seed{SEED}"
        if not (folder / "finished.json").exists():
            command = [sys.executable, __file__, "--data", str(data), "--runs", str(runs), "--one", name]
            subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, check=True)
        table = json.loads((folder / "subject5/rate_distortion.json").read_text())["rows"]
        rows.append({"variant": name, "environment": environment, "psnr": {row["ratio"]: row["psnr"] for row in table}})
    machine = {"processor": platform.machine(), "capability": torch.backends.cpu.get_cpu_capability(), "threads": 1}
    machine |= {"torch": torch.__version__}
    content = {"command": "python benchmarks/other_processor.py", "experiment": "2d_infomri", "seed": SEED}
    content |= {"test": "subject5", "commit": commit(), "machine": machine, "rows": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
