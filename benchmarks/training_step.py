"""Time and memory of a training step of the whole reconstruction system over those of its network alone.

The system's step: ratios, masks, noise, zero-filled images, network, loss, backward, Adam. The network's step starts from
ready-made zero-filled images and masks of the same ratios. Both run the default reconstructor (5 phases, 16 channels) under
the default mixed precision, with freed memory kept for the next allocation, as the bundle trains (``keep_freed_memory``), and
with the C library's defaults, each in a process of its own. Sampling masks alone is timed too, without gradient and with it.
The rows take turns (interleaved); the median over the rounds counts.

Peak memory is the process's high-water mark (Linux' VmHWM) over two steps, less what the process held before, in a fresh
process for each. (``ru_maxrss`` is inherited from the parent process, and PyTorch's profiler does not see oneDNN's buffers.)

Usage: python benchmarks/training_step.py [--threads 2] [--repeats 7]
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement, kspace_to_image
from infomri_monai.engines import AutocastInferer, MixedPrecision, keep_freed_memory
from infomri_monai.losses import GaussianNLLLoss
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import warm_started_pgn
from infomri_monai.sampling.draw import centre_distance
from infomri_monai.systems import ReconstructionResult, ReconstructionSystem, parameter_groups

T = TypeVar("T")
RESULT = Path(__file__).parent / "results" / "training_step.json"
CASES = ((128, 8), (256, 16))  # grid, batch
RATIO_RANGE = (0.04, 0.35)
LIMITS = {"time_ratio": 1.15, "mask_sampling_share": 0.05, "memory_ratio": 1.2}


class Bench:
    """A warm-started system with its optimisers, images with a spectrum like 1/k, and ready-made measurements of them."""

    def __init__(self, size: int, batch: int) -> None:
        torch.manual_seed(0)
        self.generator = torch.Generator().manual_seed(0)
        fall_off = 1 / centre_distance((size, size)).clamp_min(2 / size).reshape(size, size)
        kspace = fall_off * torch.randn((batch, 1, size, size), generator=self.generator, dtype=torch.complex64)
        self.image = kspace_to_image(kspace) / size
        self.system = ReconstructionSystem(
            warm_started_pgn(kspace.abs().mean((0, 1)), (size, size), asymmetry=30.0),
            FourierMeasurement(noise=ComplexGaussianNoise()),
            UnrolledReconstructor(phases=5, channels=16),
        )
        self.system_optimizer = torch.optim.Adam(parameter_groups(self.system, 1e-3, 1e-3))
        self.network_optimizer = torch.optim.Adam(self.system.network.parameters(), 1e-3)
        self.inferer, self.loss = AutocastInferer(MixedPrecision("auto")), GaussianNLLLoss()
        with torch.no_grad():
            self.mask = self.system.policy(self.ratios(), (size, size), self.generator).mask
            zero_filled = self.system.measurement.zero_filled(self.image, self.mask, self.generator)
            self.zero_filled = torch.cat([zero_filled.real, zero_filled.imag], dim=1)

    def ratios(self) -> Tensor:
        """A new ratio for every image."""
        low, high = RATIO_RANGE
        return low + (high - low) * torch.rand(self.image.shape[0], generator=self.generator)

    def system_step(self) -> None:
        """One training step of the whole system."""
        result = self.inferer(self.image, self.system, self.ratios(), self.generator)
        self._learn(result, self.system_optimizer)

    def network_step(self) -> None:
        """One training step of the network on ready-made inputs."""
        out = self.inferer(self.zero_filled, self.system.network, self.mask)
        mean, rest = torch.complex(out[:, :1].float(), out[:, 1:2].float()), (self.mask,) * 5
        self._learn(ReconstructionResult(mean, out[:, 2:3], *rest, out[:, 3:]), self.network_optimizer)

    def _learn(self, result: ReconstructionResult, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        self.loss(result, self.image).backward()
        optimizer.step()

    @torch.no_grad()
    def sample_masks(self) -> None:
        """Masks for a batch, without gradient."""
        self.system.policy(self.ratios(), self.image.shape[2:], self.generator)

    def sample_masks_with_gradient(self) -> None:
        """Masks for a batch and the gradient of the policy's parameters."""
        self.system.policy(self.ratios(), self.image.shape[2:], self.generator).mask.sum().backward()


def status_mib(field: str) -> float:
    """A memory field of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def peak_mib(size: int, batch: int, step: str, threads: int, keep: bool) -> float:
    """Memory that two training steps add at their peak."""
    prepare_process(threads, keep)
    bench = Bench(size, batch)
    before = status_mib("VmRSS")
    for _ in range(2):
        getattr(bench, step)()
    return status_mib("VmHWM") - before


def prepare_process(threads: int, keep: bool) -> None:
    """Threads and memory of a fresh process."""
    torch.set_num_threads(threads)
    if keep and not keep_freed_memory():
        raise RuntimeError("this machine's C library is not glibc: there is no freed memory to keep.")


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def seconds(size: int, batch: int, threads: int, keep: bool, repeats: int) -> dict[str, list[float]]:
    """Time of every row in every round; the rows take turns."""
    prepare_process(threads, keep)
    bench = Bench(size, batch)
    rows = ("system_step", "network_step", "sample_masks", "sample_masks_with_gradient")
    times: dict[str, list[float]] = {row: [] for row in rows}
    for repeat in range(repeats + 1):
        for row in rows:
            start = time.perf_counter()
            getattr(bench, row)()
            if repeat:  # the first round warms up
                times[row].append(time.perf_counter() - start)
    return times


def median_quotient(numerator: list[float], denominator: list[float]) -> float:
    """Median over the rounds: a change of the machine's load between two rounds cancels."""
    return median(a / b for a, b in zip(numerator, denominator, strict=True))


def measure(size: int, batch: int, threads: int, keep: bool, repeats: int) -> dict[str, Any]:
    """Time and memory of one grid and batch."""
    case = (size, batch, threads, keep)
    memory = {
        step: in_own_process(peak_mib, size, batch, step, threads, keep) for step in ("system_step", "network_step")
    }
    times = in_own_process(seconds, *case, repeats)
    whole = times["system_step"]
    return {
        "grid": [size, size],
        "batch": batch,
        "freed_memory_kept": keep,
        "seconds": {row: round(median(values), 4) for row, values in times.items()},
        "seconds_range": {row: [round(min(values), 4), round(max(values), 4)] for row, values in times.items()},
        "peak_mib": {step: round(value) for step, value in memory.items()},
        "time_ratio": round(median_quotient(whole, times["network_step"]), 3),
        "mask_sampling_share": round(median_quotient(times["sample_masks_with_gradient"], whole), 4),
        "memory_ratio": round(memory["system_step"] / memory["network_step"], 3),
    }


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    rows = [
        measure(*case, arguments.threads, keep, arguments.repeats)
        for case, keep in itertools.product(CASES, (True, False))
    ]
    machine = {
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "mixed_precision": MixedPrecision("auto").enabled,
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "monai")},
    }
    result = {"repeats": arguments.repeats, "limits": LIMITS, "rows": rows, "machine": machine}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{'grid':>5} {'batch':>5} {'kept':>5} {'system':>9} {'network':>9}  "
        + "  ".join(f"{k} (<= {v})" for k, v in LIMITS.items())
    )
    for row in rows:
        system, network = row["seconds"]["system_step"], row["seconds"]["network_step"]
        values = "  ".join(f"{row[name]:>{len(name) + 9}}" for name in LIMITS)
        print(
            f"{row['grid'][0]:>5} {row['batch']:>5} {row['freed_memory_kept']!s:>5} {system:>7.2f} s {network:>7.2f} s  {values}"
        )


if __name__ == "__main__":
    main()
