"""The list that a task model joins to be tested: one constructor per model and kind of label, small enough for a CPU."""

from __future__ import annotations

import math

import pytest
import torch
from monai.networks.nets import BasicUNet
from reconstructors import measured, trained
from torch import Tensor

from infomri_monai.networks import (
    DeterministicSegmenter,
    GaussianUNet,
    LatentSegmenter,
    ReconstructThenSegment,
    TaskModel,
)

CHANNELS = (8, 8, 16)
FEATURES = (4, 4, 8, 8, 8, 4)


def latent(**options) -> LatentSegmenter:
    """Five samples of four latent channels."""
    return LatentSegmenter(**{"channels": CHANNELS, "latent_channels": 4, "samples": 5, "seed": 3} | options)


def deterministic(**options) -> DeterministicSegmenter:
    """The same without a latent variable."""
    return DeterministicSegmenter(**{"channels": CHANNELS, "latent_channels": 4} | options)


def two_stages(num_classes=2, **options) -> ReconstructThenSegment:
    """Two small U-Nets."""
    segmenter = BasicUNet(spatial_dims=2, in_channels=1, out_channels=max(num_classes, 1), features=FEATURES)
    return ReconstructThenSegment(GaussianUNet(features=FEATURES), segmenter, num_classes, **options)


BUILDERS = {"latent": latent, "deterministic": deterministic, "two_stages": two_stages}
KINDS = {
    "binary": {"num_classes": 2},
    "multi_class": {"num_classes": 4},
    "multi_label": {"num_classes": 3, "multi_label": True},
}
every_model = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def moved(build, **options) -> TaskModel:
    """A model whose every parameter is away from its start, the same in every test; latent samples differ widely."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trained(build(**options))
    if isinstance(model, LatentSegmenter):
        with torch.no_grad():
            model.latent.head.bias[model.latent_channels :] += 2
    return model


def images(grid=(32, 32), batch=2, seed=0) -> Tensor:
    """Zero-filled channels of random images."""
    return measured(grid, batch, seed=seed)[2]


def labels(model: TaskModel, grid=(32, 32), batch=2, seed=5) -> Tensor:
    """Structure masks as one rater draws them: exclusive unless the model is multi-label."""
    generator = torch.Generator().manual_seed(seed)
    if model.multi_label:
        return torch.randint(0, 2, (batch, model.structures, *grid), generator=generator).float()
    classes = torch.randint(0, model.num_classes, (batch, *grid), generator=generator)
    return torch.nn.functional.one_hot(classes, model.num_classes).movedim(-1, 1)[:, 1:].float()


def largest_entropy(model: TaskModel) -> float:
    """Of one pixel, in nats."""
    return model.num_classes * math.log(2) if model.multi_label else math.log(model.num_classes)
