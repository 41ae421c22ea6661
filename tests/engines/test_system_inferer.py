"""The inferer of an evaluation: the system's own answer, and mixed precision."""

from __future__ import annotations

import pytest
import torch
from helper import refusals

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines import SystemInferer
from infomri_monai.networks import LatentSegmenter
from infomri_monai.sampling import UniformRandom
from infomri_monai.systems import SegmentationSystem


def system():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LatentSegmenter(3, channels=(8, 8), latent_channels=4)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return SegmentationSystem(UniformRandom(), FourierMeasurement(), network.eval())


IMAGE = torch.rand((2, 1, 16, 18), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("samples", [1, 5])
def test_is_the_systems_answer(samples):
    model = system()
    ratio = torch.tensor([0.2, 0.4])
    result = SystemInferer(samples=samples)(IMAGE, model, ratio, generator=torch.Generator().manual_seed(1))
    expected = model.infer(IMAGE, ratio, samples, torch.Generator().manual_seed(1))
    assert result._fields == expected._fields
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
    assert result.samples.shape[1] == samples


@torch.no_grad()
def test_mixed_precision_changes_the_answer_a_little_and_keeps_float32():
    """bfloat16 has 8 bits: probabilities within some per cent; the switch is off afterwards."""
    model = system()
    full, mixed = (
        SystemInferer(amp, samples=4)(IMAGE, model, 0.4, generator=torch.Generator().manual_seed(1))
        for amp in (False, True)
    )
    assert {t.dtype for t in mixed[2:5]} == {torch.float32}
    assert mixed.mean.dtype == torch.complex64
    assert torch.equal(full.mask, mixed.mask)
    difference = (full.class_probabilities - mixed.class_probabilities).abs()
    assert difference.max() > 0
    assert difference.mean() < 0.02
    assert not torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(mixed.class_probabilities.sum(1), torch.ones(2, 16, 18), rtol=0, atol=1e-5)


test_refuses = refusals(
    (lambda: SystemInferer(samples=0), "samples must be >= 1, got 0"),
    (lambda: SystemInferer(masks=-1), "masks must be >= 1, got -1"),
    (lambda: SystemInferer(samples="4"), "samples must be a whole number, got '4'"),
    (lambda: SystemInferer(amp="true"), "amp must be"),
    (lambda: SystemInferer(amp=1), "amp must be"),
)
