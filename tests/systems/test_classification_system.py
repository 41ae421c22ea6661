"""The classification system: training pass, ensemble, gradients, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from helper import refuses
from monai.networks.nets import ResNet

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.information import MarginalEntropy
from infomri_monai.losses import BottleneckLoss
from infomri_monai.networks import ImageClassifier
from infomri_monai.sampling import PatternGenerationNetwork, Spectrum
from infomri_monai.systems import ClassificationSystem

GRID = (16, 16)


def system(policy=None, entropy=True, multi_label=False, real_valued=False):
    torch.manual_seed(0)
    backbone = ResNet("basic", [1] * 4, [4] * 4, spatial_dims=2, n_input_channels=2, conv1_t_size=3, num_classes=3)
    network = ImageClassifier(backbone, 3, multi_label, real_valued=real_valued)
    variance = torch.rand(GRID, generator=torch.Generator().manual_seed(0))
    measurement = FourierMeasurement(noise=ComplexGaussianNoise(1e-2, reference="absolute"))
    estimator = MarginalEntropy(variance, variance, 1e-2) if entropy else None
    return ClassificationSystem(policy or PatternGenerationNetwork(GRID), measurement, network, estimator)


@pytest.fixture
def image(generator):
    return torch.rand(4, 1, *GRID, generator=generator)


def test_a_training_pass(image, generator):
    made = system()
    result = made(image, [0.1, 0.2, 0.3, 0.4], generator)
    assert result.logits.shape == (4, 3)
    torch.testing.assert_close(result.kspace_entropy, made.entropy(result.mask))
    torch.testing.assert_close(result.ratio, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=3e-3, rtol=0)


def gradient(beta, image):
    made = system().train()
    loss = BottleneckLoss(beta)(made(image, 0.25, torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    return made.policy.embedding.grad


def test_both_terms_teach_the_policy(image):
    task = gradient(0.0, image)
    assert float(task.abs().max()) > 0
    made = system().train()
    made(image, 0.25, torch.Generator().manual_seed(1)).kspace_entropy.mean().backward()
    entropy = made.policy.embedding.grad
    assert float(entropy.abs().max()) > 0
    torch.testing.assert_close(gradient(-1e-2, image), task + 1e-2 * entropy, rtol=1e-4, atol=1e-7)


def test_the_ensemble_averages_members_that_measure_anew(image):
    made = system().eval()
    answer = made.infer(image, 0.25, 5, torch.Generator().manual_seed(1))
    assert answer.member_probabilities.shape == (4, 5, 3)
    torch.testing.assert_close(answer.probabilities, answer.member_probabilities.mean(1))
    members = answer.member_probabilities
    entropy = -(answer.probabilities * answer.probabilities.log()).sum(1)
    torch.testing.assert_close(answer.entropy, entropy)
    torch.testing.assert_close(answer.mutual_information, entropy + (members * members.log()).sum(2).mean(1))
    assert bool((answer.mutual_information > 0).all())
    assert len({tuple(member.tolist()) for member in members[0]}) == 5
    again = made.infer(image, 0.25, 5, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(answer, again, strict=True))


def test_without_statistics_there_is_no_entropy(image, generator):
    made = system(Spectrum(torch.arange(256.0).reshape(GRID)), entropy=False).eval()
    assert all(math.isnan(value) for value in made(image, 0.25, generator).kspace_entropy.tolist())
    assert all(math.isnan(value) for value in made.infer(image, 0.25, 1, generator).kspace_entropy.tolist())


def test_refusals(image):
    refuses(ValueError, "masks must be >= 1, got 0", system().infer, image, 0.25, 0)
    with pytest.raises(ValueError, match="image is complex and the network was built with real_valued=True"):
        system(real_valued=True)(image + 0j, 0.25)
    refuses(ValueError, "ratio must have 1 or 4 entries", system(), image, [0.1, 0.2])
    other = system()
    other.entropy = MarginalEntropy(torch.ones(8, 8), torch.ones(8, 8), 1e-2)
    refuses(ValueError, "mask must have shape", other, image, 0.25)
