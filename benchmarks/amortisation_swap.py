"""What amortisation costs, and where: networks and policies of the amortised and the one-ratio models of the study, exchanged.

Run after ``reconstruction_study.py train``:
``python benchmarks/amortisation_swap.py --data ../shared/data --runs runs/study``. PSNR [dB] (magnitudes, per slice, data range =
the slice's maximum) on the validation subject of ``brain_complex_180``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from statistics import mean, stdev

import torch

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.data import brain_complex_180
from infomri_monai.metrics import psnr
from infomri_monai.networks import UnrolledReconstructor, load_network
from infomri_monai.sampling import load_policy
from infomri_monai.systems import ReconstructionSystem

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks/results/amortisation_swap.json"
RATIOS, SEEDS = (0.0625, 0.125, 0.25), (0, 1, 2)


@torch.no_grad()
def quality(images: torch.Tensor, network: Path, policy: Path, ratio: float) -> float:
    """Mean PSNR with the network of one run and the policy of another."""
    system = ReconstructionSystem(
        load_policy(policy / "policy.pt"),
        FourierMeasurement(noise=ComplexGaussianNoise(5e-4, reference="dc")),
        load_network(UnrolledReconstructor(phases=5, channels=16), network / "model.pt"),
    )
    result = system(images, ratio, torch.Generator().manual_seed(0))
    return float(psnr(result.mean, images).mean())


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/study")
    arguments = parser.parse_args()
    items = brain_complex_180(arguments.data / "brain_complex_180.npz", "validation", kspace_crop=(64, 64))
    images = torch.stack([torch.as_tensor(item["image"]) for item in items])
    rows = []
    for ratio, network, policy in itertools.product(RATIOS, ("2d_infomri", "single"), ("2d_infomri", "single")):
        names = [name if name == "2d_infomri" else f"{name}_{ratio}" for name in (network, policy)]
        folders = [[arguments.runs / f"{name}-seed{seed}" for name in names] for seed in SEEDS]
        values = [quality(images, *pair, ratio) for pair in folders]
        rows.append({"ratio": ratio, "network": names[0], "policy": names[1], "psnr": values})
        print(
            f"{ratio:.4f}  network {names[0]:14}  policy {names[1]:14}  {mean(values):.2f} ± {stdev(values):.2f}",
            flush=True,
        )
    RESULT.write_text(json.dumps({"seeds": SEEDS, "images": len(images), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
