"""How long a training iteration of the reconstruction bundle takes: by precision, by what a processor can, and beside other work.

Every row is ``configs/train.json`` itself (96 x 96, batch 8, UnrolledReconstructor; fewer subjects, which an iteration does not
feel), in a process of its own that waits until it is its turn. The processes take turns of a few iterations (interleaved rounds),
so that a change of the machine's load meets all of them; the median over a row's iterations counts. ``avx2`` sets
``ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2``: an older processor on this one. Busy processes are Python loops, started and
ended here.

    python benchmarks/precision_and_waiting.py precision   # float32, bfloat16 and auto, natively and as on AVX2
    python benchmarks/precision_and_waiting.py waiting     # alone, beside one and two busy processes, by OpenMP's wait policy
    python benchmarks/precision_and_waiting.py choices     # memory format and freed memory, by processor and precision
    python benchmarks/precision_and_waiting.py report      # the table of what has been measured

Each writes its part of ``benchmarks/results/precision_and_waiting.json``, from which ``benchmarks/report.py`` writes its page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).parent / "results" / "precision_and_waiting.json"
BUNDLE = ROOT / "bundles" / "infomri_recon"
ITERATIONS_PER_EPOCH = 30  # 240 images, batch 8
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}  # as the Makefile sets it
OF_THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


class Row(NamedTuple):
    """What is timed: a name, the environment and the training's choices."""

    name: str
    environment: Mapping[str, str] = {}
    precision: Any = False
    memory_format: str = "channels_last"
    keep: bool = True
    share: float = 1.0  # of the round's iterations, for what is slow


class Training:
    """A training in a process of its own, which does as many iterations as it is asked for."""

    def __init__(self, row: Row, threads: int, folder: str) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in (*OF_THREADS, *AVX2)}
        environment |= {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "", **row.environment}
        choices = json.dumps([row.precision, row.memory_format, row.keep, folder])
        self.row, self.times = row, list[float]()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", "--choices", choices],
            cwd=BUNDLE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def iterations(self, number: int) -> list[float]:
        """Seconds of each of so many iterations."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("TIMES"):
                times: list[float] = json.loads(line.removeprefix("TIMES"))
                return times
        raise RuntimeError(f"{self.row.name}: the training ended.")

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def serve(precision: Any, memory_format: str, keep: bool, folder: str) -> None:
    """The process of a :class:`Training`: the bundle's own trainer, held back by its iterations."""
    import torch
    from ignite.engine import Engine, Events
    from monai.bundle import ConfigParser
    from monai.utils import set_determinism

    from infomri_monai.engines import keep_freed_memory

    if memory_format == "contiguous":  # the network asks for channels_last by this name
        torch.channels_last = torch.contiguous_format
    if keep:
        keep_freed_memory()
    set_determinism(seed=0)
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs/train.json"))
    few = {"train_data#subjects": 16, "validation_data#subjects": 1, "val_interval": 10**6}
    parser.update({**few, "max_epochs": 10**4, "mixed_precision": precision, "output_dir": folder})
    trainer = parser.get_parsed_content("train#trainer")
    times: list[float] = []
    wanted, start = 0, 0.0

    def begin(engine: Engine) -> None:
        nonlocal wanted, start
        if len(times) == wanted:
            if times:
                print("TIMES" + json.dumps(times), flush=True)
            times.clear()
            wanted = int(sys.stdin.readline())
        start = time.perf_counter()

    trainer.add_event_handler(Events.GET_BATCH_STARTED, begin)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: times.append(time.perf_counter() - start))
    trainer.run()


@contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes that do nothing but keep a core busy."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(
    rows: Sequence[Row], neighbours: Sequence[int], rounds: int, iterations: int, threads: int
) -> dict[tuple[str, int], list[float]]:
    """Seconds of every iteration, by row and number of busy processes beside it."""
    times: dict[tuple[str, int], list[float]] = {(row.name, beside): [] for row in rows for beside in neighbours}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        trainings = []
        for row in rows:
            trainings.append(Training(row, threads, folder))
            ends.callback(trainings[-1].end)
            trainings[-1].iterations(2)  # loads and warms up, one after the other
        for _ in range(rounds):
            for beside in neighbours:
                with busy(beside):
                    for training in trainings:
                        wanted = max(1, round(training.row.share * iterations))
                        times[training.row.name, beside] += training.iterations(wanted)
    return times


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Median and range of the iterations in ms, and what an epoch takes."""
    middle = median(times)
    return {
        "ms": round(1e3 * middle, 1),
        "ms_range": [round(1e3 * min(times), 1), round(1e3 * max(times), 1)],
        "iterations": len(times),
        "seconds_per_epoch": round(ITERATIONS_PER_EPOCH * middle, 1),
    }


def precision(given: argparse.Namespace) -> list[dict[str, Any]]:
    """float32, bfloat16 and auto on this processor and as on AVX2; auto over the faster of the two."""
    result = []
    for processor, environment in (("native", PASSIVE), ("avx2", AVX2 | PASSIVE)):
        if given.processor not in (None, processor):
            continue
        slow = 0.2 if processor == "avx2" else 1.0  # bfloat16 is emulated there
        rows = [
            Row("float32", environment),
            Row("bfloat16", environment, precision=True, share=slow),
            Row("auto", environment, precision="auto"),
        ]
        times = measure(rows, [0], given.rounds, given.iterations, given.threads)
        found = {
            row.name: {"processor": processor, "precision": row.name, **summary(times[row.name, 0])} for row in rows
        }
        best = min(found[name]["ms"] for name in ("float32", "bfloat16"))
        result += [row | {"over_the_faster": round(row["ms"] / best, 3)} for row in found.values()]
    return result


def waiting(given: argparse.Namespace) -> list[dict[str, Any]]:
    """By OpenMP's wait policy beside 0, 1 and 2 busy processes, in the precision that auto chooses."""
    rows = [
        Row("default", {}, "auto", share=0.4),  # waiting threads spin: slow beside others
        Row("passive", PASSIVE, "auto"),
        Row("one thread", {"OMP_NUM_THREADS": "1"}, "auto"),
    ]
    rows = [row for row in rows if not given.only or row.name in given.only]
    times = measure(rows, [0, 1, 2], given.rounds, given.iterations, given.threads)
    alone = {name: median(values) for (name, beside), values in times.items() if beside == 0}
    return [
        {"wait": name, "busy": beside, **summary(values), "over_alone": round(median(values) / alone[name], 2)}
        for (name, beside), values in times.items()
    ]


def choices(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Memory format and freed memory, by processor and precision."""
    result = []
    for processor, environment in (("native", PASSIVE), ("avx2", AVX2 | PASSIVE)):
        if given.processor not in (None, processor):
            continue
        rows = []
        for name, mixed in (("float32", False), ("bfloat16", True)):
            if processor == "avx2" and mixed:
                continue
            rows += [
                Row(f"{name}, as the bundle trains", environment, mixed),
                Row(f"{name}, contiguous", environment, mixed, memory_format="contiguous"),
                Row(f"{name}, freed memory given back", environment, mixed, keep=False),
            ]
        times = measure(rows, [0], given.rounds, given.iterations, given.threads)
        result += [{"processor": processor, "choice": row.name, **summary(times[row.name, 0])} for row in rows]
    return result


SECTIONS = {"precision": precision, "waiting": waiting, "choices": choices}
KEYS = {"precision": "processor", "choices": "processor"}


def keep_result(section: str, rows: list[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    """Put rows in the place of those that they measure anew, and write the file."""
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    key = KEYS.get(section)
    new = {row[key] for row in rows} if key else set()
    old = [row for row in result.get(section, {}).get("rows", []) if key and row[key] not in new]
    rows = sorted(old + rows, key=lambda row: row.get("processor", "") != "native")
    settings = {"rounds": given.rounds, "iterations_a_round": given.iterations}
    result |= {section: {**settings, "rows": rows}, "machine": machine(given.threads)}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    return result


def machine(threads: int) -> dict[str, Any]:
    """What it was measured on."""
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    flags = next((line.split() for line in _lines("/proc/cpuinfo") if line.startswith("flags")), [])
    return {
        "processor": cpu.partition(":")[2].strip() or cpu,
        "bfloat16_instructions": sorted({"avx512_bf16", "amx_bf16"} & set(flags)),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "monai")},
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def report(result: Mapping[str, Any]) -> str:
    """The tables in Markdown."""
    lines = []
    for section in (name for name in SECTIONS if name in result):
        rows = [{k: v for k, v in row.items() if k != "iterations"} for row in result[section]["rows"]]
        for row, whole in zip(rows, result[section]["rows"], strict=True):
            row["ms_range"] = "{} to {}".format(*row["ms_range"])
            row["iterations"] = whole["iterations"]
        lines += [f"## {section.capitalize()}", ""]
        lines += ["| " + " | ".join(name.replace("_", " ") for name in rows[0]) + " |", "|---" * len(rows[0]) + "|"]
        lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
        lines += ["", f"Command: `python benchmarks/precision_and_waiting.py {section}`", ""]
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result["machine"].items())
    return "\n".join(["# Precision and waiting", "", *lines, f"Machine: {facts}.", ""])


def main() -> None:
    """Measure a part, write it and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=(*SECTIONS, "report", "serve"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=10, help="of every row in a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--processor", choices=("native", "avx2"), help="only one of the two")
    parser.add_argument("--only", nargs="+", help="rows of the part 'waiting'")
    parser.add_argument("--choices", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "serve":
        serve(*json.loads(given.choices))
        return
    if given.part == "report":
        result = json.loads(RESULT.read_text())
    else:
        result = keep_result(given.part, SECTIONS[given.part](given), given)
    print(report(result))


if __name__ == "__main__":
    main()
