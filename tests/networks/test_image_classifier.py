"""The classifier: probabilities, entropy, symmetry, refusals, exports."""

from __future__ import annotations

import warnings

import pytest
import torch
from helper import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import ResNet
from torch import nn

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.networks import ImageClassifier, complex_to_channels
from infomri_monai.networks.classifier import averaged_members


def classifier(num_classes=3, multi_label=False, **options):
    torch.manual_seed(0)
    channels = 3 if options.get("magnitude_input") else 2
    backbone = ResNet(
        "basic", [1] * 4, [4] * 4, spatial_dims=2, n_input_channels=channels, conv1_t_size=3, num_classes=num_classes
    )
    return ImageClassifier(backbone, num_classes, multi_label, **options).eval()


@settings(max_examples=15, deadline=None)
@given(
    classes=st.integers(2, 5),
    multi_label=st.booleans(),
    grid=st.tuples(st.integers(16, 40), st.integers(16, 40)),
    magnitude=st.booleans(),
    real=st.booleans(),
)
def test_probabilities_and_entropy_of_any_grid(classes, multi_label, grid, magnitude, real):
    network = classifier(classes, multi_label, magnitude_input=magnitude, real_valued=real)
    image = torch.randn(2, 2, *grid, generator=torch.Generator().manual_seed(grid[0]))
    out = network(image)
    assert out.shape == (2, classes + 1)
    p = out[:, :classes].double()
    if multi_label:
        entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum(1)
    else:
        entropy = -(p * p.log()).sum(1)
        torch.testing.assert_close(p.sum(1), torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(out[:, -1].double(), entropy, atol=1e-5, rtol=1e-5)
    # every image is classified on its own, whatever its intensity
    torch.testing.assert_close(network(image[1:]), out[1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(1000 * image), out, atol=1e-4, rtol=1e-4)


def test_of_real_images_the_partner_of_a_sample_says_nothing_new(generator):
    """Measuring one of each pair, or both, shows the completed network the same image."""
    network = classifier(real_valued=True)
    image = torch.rand(1, 1, 17, 17, generator=generator)
    half = (torch.arange(17 * 17).reshape(1, 1, 17, 17) >= (17 * 17) // 2).float()
    shown = [
        complex_to_channels(FourierMeasurement().zero_filled(image, mask)) for mask in (half, torch.ones_like(half))
    ]
    torch.testing.assert_close(network(shown[0]), network(shown[1]), atol=1e-4, rtol=1e-4)
    plain = classifier(real_valued=False)
    assert not torch.allclose(plain(shown[0]), plain(shown[1]), atol=1e-3)


@pytest.mark.parametrize("real", [True, False])
def test_gradient_reaches_unmeasured_positions(real, generator):
    network = classifier(real_valued=real).train()  # batch statistics keep the small network's units alive
    image = torch.rand(4, 1, 16, 16, generator=generator)
    mask = (torch.rand(4, 1, 16, 16, generator=generator) < 0.3).float().requires_grad_()
    zero_filled = complex_to_channels(FourierMeasurement().zero_filled(image, mask))
    network.logits(zero_filled, mask)[0, 1].backward()
    assert bool((mask.grad[mask == 0] != 0).any())


def test_weights_of_other_options_are_refused():
    with pytest.raises(ValueError, match="trained with real_valued=1, the network has real_valued=0"):
        classifier(real_valued=False).load_state_dict(classifier(real_valued=True).state_dict())
    refuses(ValueError, "multi_label", classifier(multi_label=True).load_state_dict, classifier().state_dict())


def test_bad_arguments():
    refuses(ValueError, r"num_classes must be >= 2 \(multi_label=False\), got 1", ImageClassifier, nn.Identity(), 1)
    refuses(ValueError, "num_classes must be >= 1", ImageClassifier, nn.Identity(), 0, multi_label=True)
    wrong = ImageClassifier(classifier(3).backbone, 4)
    refuses(ValueError, "backbone must return 4 logits", wrong, torch.rand(1, 2, 16, 16))


@pytest.mark.parametrize("options", [{"real_valued": True}, {"multi_label": True, "magnitude_input": True}])
def test_torchscript(options):
    network = classifier(**options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        scripted = torch.jit.script(network)
    image = torch.randn(2, 2, 20, 31, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(scripted(image), network(image))


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_average_over_masks_is_a_loops(multi_label, axis, generator):
    """Mutual information as the mean divergence of the members from their average."""
    logits = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    network = ImageClassifier(nn.Identity(), 3, multi_label)
    probabilities, entropy, shared = averaged_members(network.probabilities(logits), network, axis)
    for place in range(5 if axis == 0 else 4):
        parts = [[p, 1 - p] if multi_label else [p] for p in network.probabilities(logits.select(1 - axis, place)).T]
        told = torch.stack([part for pair in parts for part in pair], 1)  # (mask, outcomes)
        mean = told.mean(0)
        torch.testing.assert_close(probabilities[place], mean[::2] if multi_label else mean)
        torch.testing.assert_close(entropy[place], -(mean * mean.log()).sum())
        torch.testing.assert_close(shared[place], (told * (told / mean).log()).sum(1).mean())
