"""Seconds to import the light core (transforms, sampling, acquisition) and MONAI's transforms alone, side by side.

Every import runs in a Python of its own, which times it from inside; the two take turns (interleaved), and the median counts. The
core imports MONAI, so that its own share is also timed alone, after ``import monai.transforms`` in the same process. Beside the
seconds that pass stand those that a processor works, which other work on the machine changes less; its load is written down.

Usage: python benchmarks/import_time.py [--repeats 12]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

RESULT = Path(__file__).parent / "results" / "import_time.json"
MONAI = "import monai.transforms"
CORE = "import infomri_monai.transforms, infomri_monai.sampling, infomri_monai.acquisition"
_TIMED = (
    "import time; start = time.perf_counter(), time.process_time(); {}; "
    "print(time.perf_counter() - start[0], time.process_time() - start[1])"
)


def seconds(statement: str, before: str = "pass") -> tuple[float, float]:
    """Time and processor time of a statement in a fresh Python, after another statement that is not timed."""
    program = ["-W", "ignore", "-c", f"{before}; {_TIMED.format(statement)}"]
    done = subprocess.run([sys.executable, *program], capture_output=True, text=True, check=True)
    passed, worked = map(float, done.stdout.split()[-2:])
    return passed, worked


def measure(repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Interleaved times; the first round warms the file cache and is dropped."""
    times: dict[str, list[tuple[float, float]]] = {
        "monai.transforms": [],
        "core": [],
        "core after monai.transforms": [],
    }
    for _ in range(repeats + 1):
        times["monai.transforms"].append(seconds(MONAI))
        times["core"].append(seconds(CORE))
        times["core after monai.transforms"].append(seconds(CORE, MONAI))
    return {name: values[1:] for name, values in times.items()}


def summary(times: dict[str, list[float]]) -> dict[str, object]:
    """Medians, ranges and ratios of one kind of time."""
    middle = {name: median(values) for name, values in times.items()}
    return {
        "median": {name: round(value, 4) for name, value in middle.items()},
        "range": {name: [round(min(values), 4), round(max(values), 4)] for name, values in times.items()},
        "core_over_monai": round(middle["core"] / middle["monai.transforms"], 4),
        "own_share": round(middle["core after monai.transforms"] / middle["monai.transforms"], 4),
    }


def holoscan() -> str | None:
    """Its version where the hospital's extra is installed: importing MONAI then imports it, too."""
    try:
        return importlib.metadata.version("holoscan-cu13")
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=12)
    repeats = parser.parse_args().repeats
    load = round(os.getloadavg()[0], 1)
    times = measure(repeats)
    result = {
        "command": f"python benchmarks/import_time.py --repeats {repeats}",
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "monai": importlib.metadata.version("monai"),
        "holoscan": holoscan(),
        "repeats": repeats,
        "load_before": load,
        "seconds": summary({name: [passed for passed, _ in values] for name, values in times.items()}),
        "processor_seconds": summary({name: [worked for _, worked in values] for name, values in times.items()}),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
