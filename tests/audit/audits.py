"""Small audits on procedural images of 16 x 16 pixels, for the tests of the privacy audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import PrivacyAudit
from infomri_monai.networks import ImageClassifier, UnrolledReconstructor
from infomri_monai.sampling import UniformRandom

GRID = (16, 16)


class Scaled(nn.Module):
    """An attacker of one parameter: the zero-filled image times a factor that starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.real_valued = True
        self.factor = nn.Parameter(torch.zeros(()))

    def forward(self, zero_filled: Tensor, mask: Tensor | None = None) -> Tensor:
        mean = self.factor * zero_filled[:, :1]
        return torch.cat([mean, 0 * mean, 0 * mean], 1)


class Constant(nn.Module):
    """An attacker that looks at nothing: one learned image for all."""

    def __init__(self) -> None:
        super().__init__()
        self.real_valued = True
        self.image = nn.Parameter(torch.zeros(1, 1, *GRID))

    def forward(self, zero_filled: Tensor, mask: Tensor | None = None) -> Tensor:
        mean = self.image.expand_as(zero_filled[:, :1])
        return torch.cat([mean, 0 * mean, 0 * mean], 1)


def unrolled() -> UnrolledReconstructor:
    return UnrolledReconstructor(phases=1, channels=4, real_valued=True)


def pooled_classifier(num_classes: int = 2) -> ImageClassifier:
    """A linear classifier of the coarse image."""
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32, num_classes))
    return ImageClassifier(backbone, num_classes)


def entries(
    count: int,
    seed: int = 0,
    attribute: str | None = "side",
    complex_valued: bool = False,
    grid: tuple[int, int] = GRID,
) -> list[dict[str, Any]]:
    """Blobs; the attribute is the side they lie on ("side") or a coin's ("coin")."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    made = []
    for _ in range(count):
        u = torch.rand(6, generator=generator)
        right = int(u[0] < 0.5)
        centre = 4 + 8 * right + 2 * (u[1] - 0.5), 4 + 8 * u[2]
        image = torch.exp(-((x - centre[0]).square() + (y - centre[1]).square()) / (4 + 8 * u[3]))[None]
        entry: dict[str, Any] = {"image": (image * torch.polar(torch.ones(()), u[5]) if complex_valued else image)}
        if attribute is not None:
            entry["attribute"] = right if attribute == "side" else int(u[4] < 0.5)
        made.append(entry)
    return made


def audit(
    folder: Path, attackers: dict[str, Any] | None = None, images: tuple[int, int, int] = (48, 16, 24), **changes: Any
) -> PrivacyAudit:
    """An audit of a few steps; keywords of ``entries`` and of PrivacyAudit change it."""
    kind = {key: changes.pop(key) for key in ("attribute", "complex_valued", "grid") if key in changes}
    kind = {"attribute": None} | kind
    train, validation, test = (entries(count, seed, **kind) for seed, count in enumerate(images))
    settings: dict[str, Any] = {
        "policy": UniformRandom(),
        "measurement": FourierMeasurement(),
        "attackers": {"unrolled": unrolled} if attackers is None else attackers,
        "train_data": train,
        "validation_data": validation,
        "test_data": test,
        "ratios": [0.25, 0.5],
        "output_dir": folder,
        "learning_rate": 1e-2,
        "batch_size": 8,
        "max_steps": 12,
        "val_interval": 4,
        "probe": pooled_classifier,
        "probe_learning_rate": 3e-2,
    }
    return PrivacyAudit(**settings | changes)


def run(folder: Path, *args: Any, **changes: Any) -> PrivacyAudit:
    """An audit that has run."""
    made = audit(folder, *args, **changes)
    made.run()
    return made
