"""What phase does to the marginal entropy, which takes images to be real-valued.

Four estimates of the entropy of what is measured, in nats per measured position, on the training subjects of brain_complex_180:

- ``paper``: equations (34) to (37), conjugate partners hold the same value twice;
- ``independent``: partners say nothing about one another, sum of H_i;
- ``components``: Gaussian entropy of every pair with the measured covariance of (Re k_i, Re k_-i) and of (Im k_i, Im k_-i);
- ``gaussian``: Gaussian entropy of every pair with the measured 4 x 4 covariance of (Re k_i, Im k_i, Re k_-i, Im k_-i).

``components`` drops the correlation of real with imaginary parts, as (34) does: for magnitude images it must be ``paper`` to
numerical precision, which is asserted. ``gaussian`` keeps it; it is what a Gaussian model of pairs can know at best.

Usage: python benchmarks/entropy_phase.py [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infomri_monai.acquisition import (
    ComplexGaussianNoise,
    KSpaceStatistics,
    conjugate_partner,
    image_to_kspace,
    redundancy_ratio,
)
from infomri_monai.data import brain_complex_180, marginal_entropy_of
from infomri_monai.information import MarginalEntropy, measurement_entropy
from infomri_monai.sampling import UniformRandom, VariableDensity

CROPS, ACCELERATIONS, NOISES, MASKS = ((64, 64), (128, 128)), (4, 8), (5e-4, 5e-3), 16
RESULT = Path(__file__).parent / "results" / "entropy_phase.json"
LOG_2_PI_E = math.log(2 * math.pi * math.e)
Maps = tuple[Tensor, Tensor]


def pair_covariance(kspace: Tensor) -> Tensor:
    """Covariance of (Re k_i, Im k_i, Re k_-i, Im k_-i) at every position, (*grid, 4, 4), divided by the count.

    Args:
        kspace: complex128, centred, shape (sample, H, W).
    """
    partner = conjugate_partner(kspace)
    parts = torch.stack([kspace.real, kspace.imag, partner.real, partner.imag], -1)
    parts = parts - parts.mean(0)
    return torch.einsum("nhwa,nhwb->hwab", parts, parts) / len(kspace)


def gaussian_maps(covariance: Tensor, noise_std: float, keep_cross: bool) -> Maps:
    """H_i and 1/2 H_{i,-i} of a measured covariance; without ``keep_cross`` real and imaginary parts are independent."""
    if not keep_cross:
        same_part = torch.eye(2, dtype=torch.bool).repeat(2, 2)
        covariance = covariance * same_part
    noisy = covariance + noise_std**2 * torch.eye(4, dtype=covariance.dtype)
    position = LOG_2_PI_E + 0.5 * torch.linalg.slogdet(noisy[..., :2, :2])[1]
    return position, LOG_2_PI_E + 0.25 * torch.linalg.slogdet(noisy)[1]


def estimates(kspace: Tensor, entropy: MarginalEntropy) -> dict[str, Maps]:
    """The maps of all estimates, by name."""
    covariance = pair_covariance(kspace)
    position = entropy.position_entropy()
    return {
        "paper": (position, entropy.pair_entropy()),
        "independent": (position, 0.5 * (position + conjugate_partner(position))),
        "components": gaussian_maps(covariance, entropy.noise_std, keep_cross=False),
        "gaussian": gaussian_maps(covariance, entropy.noise_std, keep_cross=True),
    }


def symmetric(ratio: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Masks of random conjugate pairs, (MASKS, 1, *shape)."""
    score = torch.rand((MASKS, 1, *shape), generator=generator)
    score = torch.maximum(score, conjugate_partner(score))
    cut = score.flatten(1).sort(1, descending=True).values[:, round(ratio * math.prod(shape)) - 1]
    return (score >= cut.reshape(-1, 1, 1, 1)).double()


def masks(ratio: float, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """MASKS masks of every kind."""
    generator = torch.Generator().manual_seed(0)

    def of(policy: Any) -> Tensor:
        return policy([ratio] * MASKS, shape, generator).mask.double()

    return {
        "random": of(UniformRandom()),
        "variable density": of(VariableDensity()),
        "symmetric": symmetric(ratio, shape, generator),
    }


def rows_of(images: Tensor, kind: str, noise: float) -> list[dict[str, Any]]:
    """Entropies of all masks on one set of images, (sample, 1, H, W)."""
    entropy = marginal_entropy_of(KSpaceStatistics.from_images(images), ComplexGaussianNoise(noise, reference="dc"))
    maps = estimates(image_to_kspace(images)[:, 0], entropy)
    rows = []
    for acceleration in ACCELERATIONS:
        for name, mask in masks(1 / acceleration, tuple(images.shape[2:])).items():
            measured = mask.sum((1, 2, 3))
            values = {key: measurement_entropy(mask, *pair) / measured for key, pair in maps.items()}
            if kind == "magnitude":
                torch.testing.assert_close(values["components"], values["paper"], rtol=1e-6, atol=1e-6)
            rows.append(
                {
                    "grid": list(images.shape[2:]),
                    "images": kind,
                    "noise": noise,
                    "masks": name,
                    "acceleration": acceleration,
                    "redundancy": round(float(redundancy_ratio(mask).mean()), 3),
                    **{key: round(float(value.mean()), 4) for key, value in values.items()},
                }
            )
    return rows


def study(read: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All rows; ``read`` takes kspace_crop and magnitude."""
    rows = []
    for crop, magnitude in itertools.product(CROPS, (False, True)):
        images = torch.stack([torch.as_tensor(entry["image"]) for entry in read(kspace_crop=crop, magnitude=magnitude)])
        images = images.to(torch.complex128 if images.is_complex() else torch.float64)
        for noise in NOISES:
            rows += rows_of(images, "magnitude" if magnitude else "complex", noise)
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    path = parser.parse_args().data / "brain_complex_180.npz"
    samples = len(brain_complex_180(path, "train", kspace_crop=CROPS[0]))
    rows = study(lambda **options: brain_complex_180(path, "train", **options))
    machine = {"processor": platform.machine(), **{name: version(name) for name in ("torch", "numpy")}}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({"slices": samples, "masks": MASKS, "rows": rows, "machine": machine}, indent=2) + "\n"
    )
    print(
        f"{len(rows)} rows in {RESULT}; `python benchmarks/report.py` writes their table into docs/results/privacy.md"
    )


if __name__ == "__main__":
    main()
