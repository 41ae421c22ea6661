"""Cost of samples and of a training step of the segmentation system, against its bare networks.

- K = 16 samples of one image against 16 passes of the task decoder and one of the encoder, called one after the other.
- Peak memory of K = 32 samples against K = 4 (high-water mark of a fresh process, as in training_step.py).
- A training step of the whole system (ratios, masks, noise, zero-filled images, networks, loss, backward, Adam) against the
  forward and backward pass of its networks alone, on ready-made inputs.

Rows take turns; the median over the rounds counts. Usage: python benchmarks/segmentation_speed.py [--threads 2] [--repeats 9]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from training_step import in_own_process, median_quotient, prepare_process, status_mib

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.engines import AutocastInferer
from infomri_monai.losses import ELBOLoss, SegmentationTarget
from infomri_monai.networks import LatentSegmenter, complex_to_channels
from infomri_monai.networks.task_model import encoder_input
from infomri_monai.sampling import warm_started_pgn
from infomri_monai.sampling.draw import centre_distance
from infomri_monai.systems import SegmentationSystem, parameter_groups

RESULT = Path(__file__).parent / "results" / "segmentation_speed.json"
LIMITS = {"samples_ratio": 1.05, "memory_ratio": 1.5, "step_ratio": 1.15}
SIZE, BATCH = 128, 8


class Bench:
    """The default networks on a 128 x 128 grid."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator = torch.Generator().manual_seed(0)
        magnitude = 1 / centre_distance((SIZE, SIZE)).clamp_min(2 / SIZE).reshape(SIZE, SIZE)
        network = LatentSegmenter(num_classes=4, noise_stride=4, decode_mean=True)
        policy = warm_started_pgn(magnitude, (SIZE, SIZE), asymmetry=30.0)
        self.system = SegmentationSystem(policy, FourierMeasurement(noise=ComplexGaussianNoise()), network)
        self.image = torch.rand(BATCH, 1, SIZE, SIZE, generator=self.generator)
        self.label = (torch.rand(BATCH, 3, SIZE, SIZE, generator=self.generator) > 0.9).float()
        self.label = self.label * (self.label.cumsum(1) == 1)
        self.optimizer = torch.optim.Adam(parameter_groups(self.system, 1e-3, 1e-3))
        self.inferer, self.loss = AutocastInferer(True), ELBOLoss(weights={"kl": 1.0, "mean_task": 0.5})
        with torch.no_grad():
            mask = policy(self.ratios(), (SIZE, SIZE), self.generator).mask
            self.zero_filled = complex_to_channels(
                self.system.measurement.zero_filled(self.image, mask, self.generator)
            )
            self.measured = encoder_input(self.zero_filled, network.multiple, True)
            self.latent = torch.randn(1, network.latent_channels, SIZE // 4, SIZE // 4, generator=self.generator)

    def ratios(self) -> Tensor:
        """A new ratio for every image."""
        return 0.03 + 0.25 * torch.rand(BATCH, generator=self.generator)

    @torch.no_grad()
    def sixteen_samples(self) -> None:
        """K = 16 with all averages, of one image."""
        self.system.network.posterior(self.zero_filled[:1], 16, self.generator)

    @torch.no_grad()
    def sixteen_passes(self) -> None:
        """16 decoder passes and one encoder pass of one image."""
        self.system.network.encoder(self.measured[:1])
        for _ in range(16):
            self.system.network.task_decoder(self.latent)

    @torch.no_grad()
    def draw(self, samples: int) -> None:
        """Some samples of one image of 256 x 256."""
        self.system.network.posterior(torch.rand(1, 2, 256, 256, generator=self.generator), samples, self.generator)

    def system_step(self) -> None:
        """One training step of the whole system."""
        result = self.inferer(self.image, self.system, self.ratios(), self.label, self.generator)
        self.optimizer.zero_grad()
        self.loss(result, SegmentationTarget(self.image, self.label)).backward()
        self.optimizer.step()

    def networks_step(self) -> None:
        """Forward and backward pass of the networks alone, the task decoder for sample and mean."""
        network = self.system.network
        with torch.autocast("cpu", torch.bfloat16):
            first = network.encoder(self.measured)
            second = network.posterior_encoder(torch.cat([self.measured, self.label], dim=1))
            half = network.latent_channels
            mean = first[:, :half]
            shift = network.latent.posterior_head(torch.cat([first.detach(), second], 1))[:, :half]
            out = network.task_decoder(torch.cat([mean + shift, mean])), network.reconstruction_decoder(mean)
        network.zero_grad()
        sum(part.float().square().mean() for part in out).backward()


def seconds(threads: int, repeats: int) -> dict[str, list[float]]:
    """Time of every row in every round."""
    prepare_process(threads, True)
    bench = Bench()
    rows: dict[str, Callable[[], None]] = {
        name: getattr(bench, name) for name in ("sixteen_samples", "sixteen_passes", "system_step", "networks_step")
    }
    times: dict[str, list[float]] = {name: [] for name in rows}
    for repeat in range(repeats + 1):
        for name, call in rows.items():
            start = time.perf_counter()
            call()
            if repeat:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return times


def peak_mib(threads: int, samples: int) -> float:
    """Memory of this process at its peak after drawing some samples, with what it held before."""
    prepare_process(threads, True)
    bench = Bench()
    bench.draw(samples)
    return status_mib("VmHWM")


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    times = in_own_process(seconds, given.threads, given.repeats)
    memory = {samples: in_own_process(peak_mib, given.threads, samples) for samples in (4, 32)}
    result: dict[str, Any] = {
        "samples_ratio": round(median_quotient(times["sixteen_samples"], times["sixteen_passes"]), 3),
        "memory_ratio": round(memory[32] / memory[4], 3),
        "step_ratio": round(median_quotient(times["system_step"], times["networks_step"]), 3),
        "limits": LIMITS,
        "seconds_range": {name: [round(min(values), 4), round(max(values), 4)] for name, values in times.items()},
        "peak_mib": {str(samples): round(value) for samples, value in memory.items()},
        "grid": [SIZE, SIZE],
        "memory_grid": [256, 256],
        "batch": BATCH,
        "repeats": given.repeats,
        "machine": {
            "cores": os.cpu_count(),
            "threads": given.threads,
            "load_average": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "monai")},
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name, limit in LIMITS.items():
        print(f"{name}: {result[name]} (at most {limit})")


if __name__ == "__main__":
    main()
