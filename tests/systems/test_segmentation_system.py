"""The segmentation system: fields, ratios, seeds, gradients into policy and network, for every task model."""

from __future__ import annotations

import pytest
import torch
from helper import refuses, seeded
from monai.networks.nets import BasicUNet

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.losses import ELBOLoss, SegmentationTarget
from infomri_monai.networks import (
    DeterministicSegmenter,
    GaussianUNet,
    LatentSegmenter,
    ReconstructThenSegment,
    complex_to_channels,
)
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom
from infomri_monai.systems import SegmentationSystem, parameter_groups

GRID = (18, 33)
FEATURES = (4, 4, 4, 4, 4, 4)


def two_stages(num_classes):
    unet = BasicUNet(spatial_dims=2, in_channels=1, out_channels=num_classes, features=FEATURES)
    return ReconstructThenSegment(GaussianUNet(features=FEATURES), unet, num_classes)


NETWORKS = {
    "latent": lambda: LatentSegmenter(3, channels=(8, 8), latent_channels=4),
    "deterministic": lambda: DeterministicSegmenter(3, channels=(8, 8), latent_channels=4),
    "two_stages": lambda: two_stages(3),
}
every_network = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())


def system_for(build=NETWORKS["latent"], policy=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build()
    measurement = FourierMeasurement(noise=ComplexGaussianNoise(1e-3))
    return SegmentationSystem(policy or PatternGenerationNetwork(GRID), measurement, network)


def images(batch=3, complex_valued=False):
    dtype = torch.complex64 if complex_valued else torch.float32
    return torch.rand((batch, 1, *GRID), generator=torch.Generator().manual_seed(0), dtype=dtype)


def labels(batch=3):
    index = torch.randint(0, 3, (batch, *GRID), generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.one_hot(index, 3).movedim(-1, 1)[:, 1:].float()


@every_network
@pytest.mark.parametrize("complex_valued", [False, True])
def test_fields_agree_with_each_other(build, complex_valued, generator):
    system, image = system_for(build).eval(), images(complex_valued=complex_valued)
    with torch.no_grad():
        result = system.infer(image, 0.25, samples=4, generator=generator)
    many = 4 if isinstance(system.network, LatentSegmenter) else 1
    assert result._fields[:5] == ("samples", "majority", "class_probabilities", "entropy", "mutual_information")
    shapes = [field.shape for field in result[:3]]
    assert shapes == [(3, many, 2, *GRID), (3, 2, *GRID), (3, 3, *GRID)]
    for name in ("entropy", "mutual_information", "mean", "log_variance", "zero_filled", "mask"):
        assert getattr(result, name).shape == (3, 1, *GRID), name
    assert result.mean.is_complex()
    assert result.zero_filled.is_complex()
    assert set(result.mask.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(result.ratio, result.mask.mean((1, 2, 3)))
    with torch.no_grad():
        out = system.network.reconstruct(complex_to_channels(result.zero_filled))
    torch.testing.assert_close(result.log_variance, out[:, 2:3])
    torch.testing.assert_close(complex_to_channels(result.mean), out[:, :2])


@every_network
def test_training_and_inference_measure_the_same_way(build):
    """The first draws of a generator are the mask and the noise; reconstruction and mask are equal in both."""
    system = system_for(build).eval()
    with torch.no_grad():
        training = system(images(), 0.3, labels(), seeded(2))
        result = system.infer(images(), 0.3, 2, seeded(2))
    assert torch.equal(training.mask, result.mask)
    torch.testing.assert_close(training.mean, result.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(training.log_variance, result.log_variance, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(training.ratio, result.ratio)


@every_network
def test_the_generator_decides_everything(build):
    system = system_for(build).eval()
    with torch.no_grad():
        for call in (
            lambda seed: system(images(), 0.3, labels(), seeded(seed)),
            lambda seed: system.infer(images(), 0.3, 3, seeded(seed)),
        ):
            first = call(1)
            torch.manual_seed(99)
            state = torch.get_rng_state()
            second, other = call(1), call(2)
            assert torch.equal(torch.get_rng_state(), state)
            assert all(a is b is None or torch.equal(a, b) for a, b in zip(first, second, strict=True))
            assert not torch.equal(first.mask, other.mask)


@every_network
def test_the_loss_trains_policy_and_network(build, generator):
    system = system_for(build)
    result = system(images(), [0.1, 0.25, 0.5], labels(), generator)
    ELBOLoss()(result, SegmentationTarget(images(), labels())).backward()
    embedding = system.policy.embedding.grad
    assert torch.isfinite(embedding).all()
    assert (embedding != 0).float().mean() > 0.5
    assert all(torch.isfinite(p.grad).all() for p in system.parameters() if p.grad is not None)
    assert {name for name, p in system.named_parameters() if p.grad is None} == {
        name for name, p in system.named_parameters() if not p.requires_grad
    }


@every_network
@pytest.mark.parametrize("term", ["task", "reconstruction"])
def test_either_term_alone_reaches_the_policy(build, term, generator):
    system = system_for(build)
    with torch.no_grad():
        for parameter in system.network.parameters():  # last layers start at zero
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    loss = ELBOLoss(weights={"task": 0.0, "kl": 0.0, "reconstruction": 0.0} | {term: 1.0})
    loss(system(images(), 0.25, labels(), generator), SegmentationTarget(images(), labels())).backward()
    assert system.policy.embedding.grad.abs().max() > 0


@every_network
@pytest.mark.parametrize("samples", [0, -1])
def test_too_few_samples_are_refused_before_anything_is_measured(build, samples):
    system = system_for(build)
    system.measurement.forward = None  # would be called first
    system.policy.forward = None
    refuses(ValueError, f"samples must be >= 1, got {samples}", system.infer, images(), 0.25, samples)


def test_parameter_groups_hold_every_parameter_once():
    system = system_for()
    groups = parameter_groups(system, 1e-3, 1e-2, 1e-1)
    assert [group["lr"] for group in groups] == [1e-3, 1e-1, 1e-2]
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in system.parameters())
    assert [id(p) for p in groups[1]["params"]] == [id(system.policy.embedding)]
    assert [g["lr"] for g in parameter_groups(system, 1e-3, 1e-2)] == [1e-3, 1e-2, 1e-2]
    assert len(parameter_groups(system_for(policy=UniformRandom()), 1e-3, 1e-2)) == 1


def test_a_complex_image_is_refused_by_a_network_for_real_valued_ones():
    system = system_for(lambda: LatentSegmenter(3, channels=(8, 8), latent_channels=4, real_valued=True))
    image = images().to(torch.complex64)
    for call in (lambda: system(image, 0.3, labels()), lambda: system.infer(image, 0.3, 2)):
        refuses(ValueError, "image is complex and the network was built with real_valued=True", call)
