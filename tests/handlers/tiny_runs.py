"""Real MONAI engines on images of 16 x 18 pixels, for the tests of handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from small_engines import evaluator_of, trainer_of

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.engines import PrepareAmortizedBatch, PrepareRatioSweep
from infomri_monai.handlers import RatioSweepHandler
from infomri_monai.losses import GaussianNLLLoss
from infomri_monai.metrics import RateDistortion
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.systems import ReconstructionSystem

GRID = (16, 18)
RATIOS = (0.2, 0.3, 0.45)


def tiny_system(real_valued: bool = False) -> ReconstructionSystem:
    """One phase of four channels behind a pattern generation network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UnrolledReconstructor(phases=1, channels=4, real_valued=real_valued)
    noise = ComplexGaussianNoise(1e-3)
    return ReconstructionSystem(PatternGenerationNetwork(GRID), FourierMeasurement(noise=noise), network)


def tiny_data(items: int = 4, seed: int = 0, real_valued: bool = False) -> list[dict[str, Any]]:
    """Smooth random images with the number of their volume, two slices each."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(items, 1, *GRID, generator=generator, dtype=torch.complex64)
    images = torch.nn.functional.avg_pool2d(torch.view_as_real(white).movedim(-1, 1)[:, :, 0], 5, 1, 2)
    images = torch.complex(images[:, :1], images[:, 1:])
    images = (images / images.abs().amax((1, 2, 3), keepdim=True)).abs() if real_valued else images
    return [{"image": image, "volume": index // 2} for index, image in enumerate(images)]


def evaluator(
    system: ReconstructionSystem,
    handlers: Sequence[Any] = (),
    ratios: Sequence[float] = RATIOS,
    key_metric: dict[str, Any] | None = None,
    **data: Any,
) -> SupervisedEvaluator:
    """Sweeps the ratios over validation images; ``handlers`` come after the sweep and the key metric."""
    return evaluator_of(system, tiny_data(**data), PrepareRatioSweep(ratios), handlers, key_val_metric=key_metric)


def validator(system: ReconstructionSystem, **data: Any) -> SupervisedEvaluator:
    """An evaluator with a rate-distortion table that writes nothing."""
    return evaluator(system, [RatioSweepHandler(RateDistortion(), RATIOS)], seed=1, **data)


def trainer(
    system: ReconstructionSystem, handlers: Sequence[Any] = (), epochs: int = 2, learning_rate: float = 1e-2
) -> SupervisedTrainer:
    """Two iterations an epoch, as the bundle trains."""
    prepare = PrepareAmortizedBatch((0.2, 0.5))
    return trainer_of(system, tiny_data(), prepare, GaussianNLLLoss(), handlers, epochs, learning_rate)
