"""Whole cases classified: against naive loops over slices and masks, with the real classifier on a small backbone."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from helper import refusals, refuses
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement, image_to_kspace
from infomri_monai.engines import CaseFailure, ClassificationInferer, TolerantInferer, VolumeInferer
from infomri_monai.networks import ImageClassifier, complex_to_channels
from infomri_monai.sampling import UniformRandom, VariableDensity


def classifier(classes=3, seed=0, **options):
    """The real classifier; its backbone is a linear map of the coarse image, so that it knows where things are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        last = torch.nn.Linear(2 * 9, classes)
    backbone = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(3), torch.nn.Flatten(), last)
    return ImageClassifier(backbone, num_classes=classes, **options).eval()


class Recording(torch.nn.Module):
    """A classifier that notes what it is shown."""

    def __init__(self, network):
        super().__init__()
        self.network, self.multi_label, self.seen = network, network.multi_label, []

    def logits(self, zero_filled, mask):
        self.seen.append((zero_filled, mask))
        return self.network.logits(zero_filled, mask)

    def probabilities(self, logits):
        return self.network.probabilities(logits)

    def entropy(self, probabilities):
        return self.network.entropy(probabilities)


def volume(*shape, seed=0):
    return torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed)) + 0.1


def inferer(policy=None, noise=None, **options):
    """Fully sampled and free of noise unless asked otherwise: the network sees the image."""
    given = {"ratio": 1.0, "progress": False} | options
    return ClassificationInferer(policy or UniformRandom(), FourierMeasurement(noise=noise), **given)


def entropy(probabilities, multi_label):
    """By scipy; of independent labels summed."""
    if multi_label:
        return float(sum(scipy.stats.entropy([p, 1 - p]) for p in probabilities))
    return float(scipy.stats.entropy(probabilities))


def squash(logits, multi_label):
    powers = np.exp(np.asarray(logits, dtype=np.float64))
    return powers / (1 + powers) if multi_label else powers / powers.sum(-1, keepdims=True)


@settings(deadline=None, max_examples=10)
@given(
    grid=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    slices=st.integers(1, 5),
    batch_size=st.integers(1, 6),
    multi_label=st.booleans(),
    case_rule=st.sampled_from(["auto", "mean", "max"]),
    seed=st.integers(0, 1000),
)
def test_it_is_the_loop_over_the_slices(grid, slices, batch_size, multi_label, case_rule, seed):
    case, net = volume(*grid, slices, seed=seed), classifier(multi_label=multi_label, seed=seed)
    result = inferer(batch_size=batch_size, case_rule=case_rule)(case, net)
    channels = complex_to_channels(case[0].movedim(-1, 0).to(torch.complex64))
    with torch.no_grad():
        expected = np.stack([squash(net.logits(one[None])[0].numpy(), multi_label) for one in channels])
    np.testing.assert_allclose(result.slice_probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(result.slice_entropy, [entropy(p, multi_label) for p in expected], atol=1e-4)
    assert result.case_rule == (("max" if multi_label else "mean") if case_rule == "auto" else case_rule)
    if result.case_rule == "mean":
        of_case = expected.mean(0)
    else:
        of_case = expected.max(0) if multi_label else expected[expected[:, 0].argmin()]
    np.testing.assert_allclose(result.probabilities, of_case, atol=1e-5)
    assert result.entropy == pytest.approx(entropy(of_case, multi_label), abs=1e-4)
    assert result.mutual_information == 0
    assert not result.slice_mutual_information.any()
    assert (result.ratio == 1).all()


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("case_rule", ["mean", "max"])
def test_an_ensemble_averages_over_acquisitions_that_differ(multi_label, case_rule):
    masks, case, net = 4, volume(9, 12, 3), Recording(classifier(multi_label=multi_label))
    noise = ComplexGaussianNoise(0.01)
    result = inferer(VariableDensity(), noise, ratio=0.3, masks=masks, case_rule=case_rule, batch_size=1)(case, net)
    assert len(net.seen) == 3 * masks
    members = np.empty((masks, 3, 3))
    for i, (zero_filled, mask) in enumerate(net.seen):  # all masks of a slice, then the next slice
        with torch.no_grad():
            members[i % masks, i // masks] = squash(net.network.logits(zero_filled, mask)[0].numpy(), multi_label)
    measured = torch.cat([mask for _, mask in net.seen]).reshape(3, masks, 9, 12)
    assert len({tuple(mask.flatten().tolist()) for mask in measured.flatten(0, 1)}) == 3 * masks
    torch.testing.assert_close(result.ratio, measured.double().mean((1, 2, 3)))
    torch.testing.assert_close(result.ratio_of_all_masks, measured.amax(1).double().mean((1, 2)))
    assert (result.ratio_of_all_masks > result.ratio + 0.02).all()
    assert (result.ratio_of_all_masks < masks * result.ratio).all()

    def check(own, probabilities, total, shared):  # (mask, C)
        np.testing.assert_allclose(probabilities, own.mean(0), atol=1e-6)
        expected = entropy(own.mean(0), multi_label)
        assert float(total) == pytest.approx(expected, abs=1e-6)
        assert float(shared) == pytest.approx(expected - np.mean([entropy(p, multi_label) for p in own]), abs=1e-6)
        assert float(shared) > 0

    for i in range(3):
        of_slice = (result.slice_probabilities[i], result.slice_entropy[i], result.slice_mutual_information[i])
        check(members[:, i], *of_slice)
    if case_rule == "mean":
        of_case = members.mean(1)
    else:
        of_case = members.max(1) if multi_label else np.stack([own[own[:, 0].argmin()] for own in members])
    check(of_case, result.probabilities, result.entropy, result.mutual_information)


def test_the_first_acquisition_is_that_of_reconstruction_and_more_masks_do_not_change_it():
    case, shared = volume(9, 12, 3), {"ratio": 0.3, "seed": 7, "batch_size": 2, "progress": False}
    policy, measurement = VariableDensity(), FourierMeasurement(noise=ComplexGaussianNoise(0.01))
    shown = []

    def reconstruct(zero_filled, mask):
        shown.append((zero_filled, mask))
        return torch.cat([zero_filled, zero_filled[:, :1]], 1)

    VolumeInferer(policy, measurement, **shared)(case, reconstruct)
    for masks in (1, 3):
        net = Recording(classifier())
        ClassificationInferer(policy, measurement, masks=masks, **shared)(case, net)
        for (zero_filled, mask), (own, own_mask) in zip(shown, net.seen[::masks], strict=True):
            assert torch.equal(zero_filled, own)
            assert torch.equal(mask.expand_as(own_mask), own_mask)


def test_measured_kspace_has_one_mask():
    net, kspace = Recording(classifier()), image_to_kspace(volume(7, 10).to(torch.complex64))
    several = ClassificationInferer(None, FourierMeasurement(), 0.25, progress=False, masks=4)
    message = r"masks must be 1 for measured k-space, .*one mask, got masks=4"
    refuses(ValueError, message, several, kspace, net, domain="kspace")
    assert not net.seen


@pytest.mark.parametrize("domain", ["image", "kspace"])
@pytest.mark.parametrize("case_rule", ["mean", "max"])
def test_slices_without_signal_do_not_count(domain, case_rule):
    case, net, of_case = volume(8, 9, 3), classifier(real_valued=case_rule == "max"), inferer(case_rule=case_rule)
    case[..., 1] = 0
    data = case if domain == "image" else torch.stack([image_to_kspace(case[..., i]) for i in range(3)], -1)
    result = of_case(data, net, domain=domain)
    for field in (result.slice_probabilities, result.slice_entropy, result.slice_mutual_information):
        assert field[1].isnan().all()
        assert torch.isfinite(field[[0, 2]]).all()
    others = result.slice_probabilities[[0, 2]]
    expected = others.mean(0) if case_rule == "mean" else others[others[:, 0].argmin()]
    torch.testing.assert_close(result.probabilities, expected)
    refuses(ValueError, "k-space is zero in every slice", of_case, torch.zeros_like(data), net, domain=domain)


def test_nothing_in_the_result_is_an_image():
    result = inferer(VariableDensity(), ratio=0.3, masks=2)(volume(40, 40, 3), classifier())
    tensors = [field for field in result if isinstance(field, torch.Tensor)]
    assert max(tensor.numel() for tensor in tensors) == 3 * 3  # slices times classes
    assert not [field for field in result.record if isinstance(field, torch.Tensor)]


def test_a_network_that_diverges_fails_its_case():
    net = classifier()
    with torch.no_grad():
        net.backbone[-1].bias[0] = math.nan
    failed = TolerantInferer(inferer())(volume(8, 8), net)
    assert failed == CaseFailure("ValueError: the network returned NaN or Inf.")


test_refuses = refusals(
    (lambda: inferer()(volume(8, 8), torch.nn.Identity()), "must be an ImageClassifier, got Identity", TypeError),
    (lambda: inferer(masks=0), "masks must be >= 1, got 0"),
    (lambda: inferer(masks=1.0), "masks must be a whole number, got 1.0"),
    (lambda: inferer(case_rule="median"), "case_rule must be one of .*'mean', 'max'.*, got 'median'"),
)
