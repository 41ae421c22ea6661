"""The marginal entropy and its gradient over a training step of the paper's classifier, in one run.

Batch 64 at 256 x 256. The step is MONAI's ResNet18 on ready-made zero-filled images: forward, cross-entropy, backward, Adam, in
chunks of 8 images whose gradients add up, because the activations of 64 take 14 GB; the arithmetic is the same. With the stem's
stride as MONAI has it (1), and with the stride of 2 of the original ResNet, which is four times as fast and the harder comparison.
Masks of single positions and of lines are timed, in float32, against it, and so is the plain formula in autograd (conjugate
partner by flip and roll), which shows what gathering is worth.

Usage: python benchmarks/marginal_entropy_speed.py [--threads 2] [--steps 2]
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
from statistics import median
from typing import Any

import torch
from monai.networks.nets import resnet18
from torch import Tensor, nn

from infomri_monai.acquisition import conjugate_partner
from infomri_monai.engines import keep_freed_memory
from infomri_monai.information import MarginalEntropy
from infomri_monai.sampling.draw import centre_distance

GRID, BATCH, CHUNK, RATIO = (256, 256), 64, 8, 0.25
ENTROPY_RUNS = 15
LIMIT = 0.02
RESULT = Path(__file__).parent / "results" / "marginal_entropy_speed.json"


def estimator() -> MarginalEntropy:
    """With variances that fall like 1/k^2."""
    variance = centre_distance(GRID).clamp_min(2 / GRID[0]).reshape(GRID).double() ** -2
    return MarginalEntropy(variance, variance, noise_std=1e-2)


def plain(entropy: MarginalEntropy, mask: Tensor) -> Tensor:
    """Equation (37) as it is written, on single positions."""
    position, pair = entropy.position_entropy().to(mask.dtype), entropy.pair_entropy().to(mask.dtype)
    partner = conjugate_partner(mask)
    return (mask * ((1 - partner) * position + partner * pair)).sum((1, 2, 3))


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Step:
    """A training step of ResNet18 with the stem's stride."""

    def __init__(self, stride: int) -> None:
        torch.manual_seed(0)
        self.network = resnet18(spatial_dims=2, n_input_channels=2, num_classes=2, conv1_t_stride=stride)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-4)
        self.images = torch.randn(BATCH, 2, *GRID)
        self.labels = torch.arange(BATCH) % 2

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        for images, labels in zip(self.images.split(CHUNK), self.labels.split(CHUNK), strict=True):
            nn.functional.cross_entropy(self.network(images), labels).backward()
        self.optimizer.step()


def gradient_of(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Callable[[], None]:
    """A call that computes the mean entropy of masks and its gradient."""
    mask = (torch.rand(BATCH, 1, *shape) < RATIO).float().requires_grad_()

    def call() -> None:
        mask.grad = None
        function(mask).mean().backward()

    return call


def measure(steps: int) -> dict[str, Any]:
    """Median seconds of everything; entropies are timed before and after every step."""
    entropy = estimator()
    calls = {
        "positions": gradient_of(entropy, GRID),
        "lines": gradient_of(entropy, (1, GRID[1])),
        "plain_formula": gradient_of(lambda mask: plain(entropy, mask), GRID),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    step_times: dict[str, list[float]] = {}
    for stride in (1, 2):
        step = Step(stride)
        step.network(step.images[:CHUNK]).sum().backward()  # to warm up
        row = step_times.setdefault(f"resnet18_stride_{stride}", [])
        for _ in range(steps):
            row.append(seconds(step))
            for name, call in calls.items():
                call()
                times[name] += [seconds(call) for _ in range(ENTROPY_RUNS)]
        del step
    both = {**times, **step_times}
    return {
        "seconds": {name: round(median(values), 5) for name, values in both.items()},
        "seconds_range": {name: [round(min(values), 5), round(max(values), 5)] for name, values in both.items()},
        "share_of_step": {
            step: {name: round(median(times[name]) / median(values), 5) for name in times}
            for step, values in step_times.items()
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    result = measure(arguments.steps)
    machine = {
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "monai")},
    }
    task = {"grid": GRID, "batch": BATCH, "chunk": CHUNK, "steps": arguments.steps, "limit": {"share_of_step": LIMIT}}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({**task, **result, "machine": machine}, indent=2) + "\n")
    for name, value in result["seconds"].items():
        print(f"{name}: {1e3 * value:.1f} ms")
    for step, shares in result["share_of_step"].items():
        print(
            f"{step}: "
            + ", ".join(f"{name} {100 * share:.3f} %" for name, share in shares.items())
            + f" (< {100 * LIMIT:.0f} %)"
        )


if __name__ == "__main__":
    main()
