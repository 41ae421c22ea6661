"""The shipped reconstruction weights at another matrix size than the trained 96 x 96, and what the noise's reference does there.

Four slices of nilearn's bundled MNI152 template, a real magnitude image, at its own 197 x 233 and low-passed to 96 x 114.

Usage: python benchmarks/matrix_size.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nilearn.datasets import load_mni152_template
from torch import Tensor

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement, image_to_kspace, kspace_to_image
from infomri_monai.metrics import RateDistortion
from infomri_monai.networks import UnrolledReconstructor, load_network
from infomri_monai.sampling import load_policy
from infomri_monai.systems import ReconstructionSystem
from infomri_monai.transforms import CropKSpace

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "bundles/infomri_recon/models"
RESULT = ROOT / "benchmarks/results/matrix_size.json"
RATIOS = (0.0625, 0.125, 0.1875, 0.25, 0.3)
SLICES = (70, 85, 100, 115)
NOISE = {
    "0.99 % of the peak, as trained": ComplexGaussianNoise(9.89e-3, reference="peak"),
    "5e-4 of DC, the former default": ComplexGaussianNoise(5e-4, reference="dc"),
    "none": None,
}


def evaluate(image: Tensor, noise: ComplexGaussianNoise | None) -> list[dict[str, float]]:
    """Quality at every ratio."""
    policy = load_policy(MODELS / "policy.pt").for_grid(image.shape[2:])
    network = load_network(UnrolledReconstructor(phases=5, channels=16), MODELS / "model.pt").eval()
    system, quality = ReconstructionSystem(policy, FourierMeasurement(noise=noise), network), RateDistortion()
    for ratio in RATIOS:
        with torch.no_grad():
            quality.update(system(image, ratio, torch.Generator().manual_seed(0)), image, ratio)
    fields = ("ratio", "psnr", "zero_filled_psnr", "magnitude_coverage")
    return [{name: round(getattr(row, name), 4) for name in fields} for row in quality.table().rows]


def main() -> None:
    """Evaluate, print and write the result."""
    volume = torch.as_tensor(np.asarray(load_mni152_template(resolution=1).get_fdata(), dtype=np.float32))
    large = torch.stack([volume[None, :, :, index] for index in SLICES]).to(torch.complex64)
    crop = CropKSpace((96, 114))
    small = kspace_to_image(torch.stack([crop(one) for one in image_to_kspace(large)]))
    cases: list[dict[str, Any]] = []
    for image, names in ((large, tuple(NOISE)), (small, tuple(NOISE)[:1])):
        for name in names:
            grid = "x".join(map(str, image.shape[2:]))
            cases.append({"grid": grid, "noise": name, "rows": evaluate(image, NOISE[name])})
            print(
                grid,
                name,
                *(f"{r['ratio']:.4g}: {r['psnr']:.2f} dB, {r['magnitude_coverage']:.3f}" for r in cases[-1]["rows"]),
                sep="\n  ",
            )
    content = {"command": "python benchmarks/matrix_size.py", "slices": SLICES, "seed": 0, "torch": torch.__version__}
    RESULT.write_text(json.dumps({**content, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
