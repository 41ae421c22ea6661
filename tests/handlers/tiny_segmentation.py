"""A real segmentation training on images of 16 x 18 pixels, for the tests of handlers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from small_engines import evaluator_of, trainer_of
from tiny_runs import GRID, RATIOS, tiny_data

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import (
    PrepareAmortizedBatch,
    PrepareOneRater,
    PrepareRaters,
    PrepareRatioSweep,
    SystemInferer,
)
from infomri_monai.handlers import RatioSweepHandler
from infomri_monai.losses import ELBOLoss
from infomri_monai.metrics import SegmentationQuality
from infomri_monai.networks import LatentSegmenter
from infomri_monai.sampling import PatternGenerationNetwork
from infomri_monai.systems import SegmentationSystem


def labelled_data(**data: Any) -> list[dict[str, Any]]:
    """Bright and dark pixels of smooth images, drawn by three raters of different taste."""
    entries = tiny_data(**data)
    for entry in entries:
        level = entry["image"].abs()
        entry["label"] = torch.cat([(level > share).to(torch.uint8) for share in (0.4, 0.5, 0.6)])
    return entries


def segmentation_system() -> SegmentationSystem:
    """Two levels of eight channels behind a pattern generation network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LatentSegmenter(2, channels=(8, 8), latent_channels=4)
    return SegmentationSystem(PatternGenerationNetwork(GRID), FourierMeasurement(), network)


def validator(system: SegmentationSystem) -> SupervisedEvaluator:
    """Publishes Dice and energy distance."""
    prepare = PrepareRaters(PrepareRatioSweep(RATIOS), 2)
    handlers = [RatioSweepHandler(SegmentationQuality("validation"), RATIOS)]
    return evaluator_of(system, labelled_data(seed=1), prepare, handlers, inferer=SystemInferer(samples=3))


def trainer(
    system: SegmentationSystem, loss: Callable[..., Any] | None = None, handlers: Sequence[Any] = (), epochs: int = 2
) -> SupervisedTrainer:
    """Two iterations an epoch, as the bundle trains."""
    prepare = PrepareOneRater(PrepareAmortizedBatch((0.2, 0.5)), 2)
    return trainer_of(system, labelled_data(), prepare, loss or ELBOLoss(), handlers, epochs, 1e-3)
