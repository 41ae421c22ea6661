"""What a bundle ships, loaded as inference.json does, and an input for its network."""

from __future__ import annotations

from typing import NamedTuple

import torch
from bundle_table import Bundle
from monai.bundle import ConfigParser
from torch import Tensor, nn

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.data import embedded_subjects
from infomri_monai.networks.gaussian import complex_to_channels
from infomri_monai.sampling import SamplingPolicy


class Shipped(NamedTuple):
    """With the shipped weights."""

    policy: SamplingPolicy
    measurement: FourierMeasurement
    network: nn.Module


def shipped(bundle: Bundle) -> Shipped:
    """Policy, measurement and network of inference.json."""
    parser = ConfigParser()
    parser.read_config(str(bundle.root / "configs" / "inference.json"))
    parser.update({"bundle_root": str(bundle.root), "device": torch.device("cpu")})
    return Shipped(*(parser.get_parsed_content(name) for name in Shipped._fields))


def zero_filled(bundle: Bundle, grid: tuple[int, int] | None = None, ratio: float = 0.125) -> Tensor:
    """Network input of an unseen subject, intensities of order 1; by default on the policy's own grid."""
    grid = grid or bundle.grid
    policy, measurement, _ = shipped(bundle)
    items = embedded_subjects(
        "test", subjects=1, slices_per_subject=1, grid=grid, seed=5, complex_valued=not bundle.real_valued
    )
    image = torch.as_tensor(items[0]["image"])[None]
    with torch.no_grad():
        sample = policy.for_grid(grid)(ratio, grid, torch.Generator().manual_seed(0))
        kspace = measurement(image, sample.mask, torch.Generator().manual_seed(1))
        return complex_to_channels(measurement.adjoint(kspace, sample.mask))
