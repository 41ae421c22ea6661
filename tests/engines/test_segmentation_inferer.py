"""Whole cases segmented: against loops over the whole volume for a network whose samples are known, and with the real one."""

import math

import pytest
import torch
from helper import refusals
from hypothesis import given, settings
from hypothesis import strategies as st
from threshold_network import ThresholdNetwork

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement, image_to_kspace
from infomri_monai.engines import CaseFailure, SegmentationInferer, TolerantInferer, VolumeInferer
from infomri_monai.engines.case import centre_fit
from infomri_monai.networks import DeterministicSegmenter, LatentSegmenter, TaskPosterior
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom, VariableDensity
from infomri_monai.triage.agreement import sample_agreement


def levels(*shape, seed=0, top=30):
    """An image of whole numbers, so that thresholds at halves meet no rounding."""
    return torch.randint(0, top, (1, 1, *shape), generator=torch.Generator().manual_seed(seed)).float()


def inferer(**options):
    """Fully sampled and free of noise: the network sees the image."""
    given = {"policy": UniformRandom(), "ratio": 1.0, "progress": False, "samples": 4} | options
    return SegmentationInferer(measurement=FourierMeasurement(), **given)


def latent(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = LatentSegmenter(channels=(8, 8, 16), num_classes=3, **options)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return net.eval()


def naive(volume, network, samples):
    """Structure masks of every sample, (K, S, *shape), by comparing the image itself."""
    return torch.stack([torch.stack(network.structures_of(volume, k)) for k in range(samples)])


@settings(deadline=None, max_examples=12)
@given(
    grid=st.tuples(st.integers(3, 13), st.integers(3, 13)),
    slices=st.integers(1, 5),
    batch_size=st.integers(1, 6),
    samples=st.integers(2, 5),
    multi_label=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_it_is_the_loop_over_the_whole_volume(grid, slices, batch_size, samples, multi_label, seed):
    volume, net = levels(*grid, slices, seed=seed), ThresholdNetwork(multi_label)
    result = inferer(batch_size=batch_size, samples=samples, keep_samples=True)(volume, net)
    masks = naive(volume[0, 0], net, samples)
    assert result.agreement == pytest.approx(float(sample_agreement(masks[None])), abs=1e-6)
    assert torch.equal(result.volumes, masks.flatten(2).sum(-1))
    structures = masks.float().mean(0)
    background = structures[:0] if multi_label else 1 - structures.sum(0, keepdim=True)
    probabilities = torch.cat([background, structures])
    torch.testing.assert_close(result.class_probabilities, probabilities, rtol=0, atol=1e-6)
    if multi_label:
        entropy = (torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)).sum(0)
        assert torch.equal(result.segmentation, (probabilities > 0.5).to(torch.uint8))
        assert torch.equal(result.samples, masks.to(torch.uint8))
    else:
        entropy = torch.special.entr(probabilities).sum(0)
        assert torch.equal(result.segmentation, probabilities.argmax(0).to(torch.uint8))
        assert torch.equal(result.samples, (masks * torch.tensor([1, 2]).reshape(1, 2, 1, 1, 1)).sum(1).to(torch.uint8))
    torch.testing.assert_close(result.entropy, entropy, rtol=0, atol=1e-5)
    torch.testing.assert_close(result.mutual_information, entropy, rtol=0, atol=1e-5)  # every sample is certain
    assert result.segmentation.dtype == result.samples.dtype == result.mask.dtype == torch.uint8
    assert (result.mask == 1).all()
    assert result.mean is result.sigma is None


def test_two_discs_have_the_dice_of_their_areas():
    """Concentric discs in two slices: the volume's Dice is 2 (n1 + n2) / (N1 + N2 + n1 + n2), not the mean of the slices'."""
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(37.0) - 18, indexing="ij")
    distance = torch.hypot(y, x)
    plane = torch.where(distance < 5, 20.0, torch.where(distance < 9, 7.0, 0.0))
    small = torch.where(distance < 3, 20.0, torch.where(distance < 4, 7.0, 0.0))
    net = ThresholdNetwork(thresholds=(6.5, 7.5), step=1000.0)
    result = inferer(samples=2)(torch.stack([plane, small], -1)[None, None], net)
    outer, inner = (int((distance < a).sum() + (distance < b).sum()) for a, b in ((9, 4), (5, 3)))
    assert result.volumes[:, 0].tolist() == [outer, inner]
    dice = 2 * inner / (outer + inner)
    assert result.agreement == pytest.approx((dice + 1) / 2)  # the second structure is empty in both samples: 1
    ring = (distance < 9) & (distance >= 5)
    torch.testing.assert_close(result.entropy[..., 0], math.log(2) * ring.float())
    assert result.key_slice.slice_index == 0
    assert result.samples is None


def test_image_without_slices_is_one_slice():
    plane, net = levels(20, 17), ThresholdNetwork()
    options = {"keep_samples": True, "reconstruct": True}
    flat, deep = inferer(**options)(plane, net), inferer(**options)(plane[..., None], net)
    assert flat.segmentation.shape == flat.entropy.shape == flat.mask.shape == flat.mean.shape == (20, 17)
    assert flat.class_probabilities.shape == (3, 20, 17)
    assert flat.samples.shape == (4, 20, 17)
    for name in ("segmentation", "class_probabilities", "samples", "mean", "sigma"):
        assert torch.equal(getattr(flat, name), getattr(deep, name)[..., 0])
    assert flat.agreement == deep.agreement


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("grid", [(24, 24), (20, 23), (27, 22), (31, 33)])
def test_crop_pad_segments_the_centre_and_restores_the_size(grid, multi_label):
    policy, net, plane = PatternGenerationNetwork((24, 24)), ThresholdNetwork(multi_label), levels(*grid) + 20
    options = {"policy": policy, "keep_samples": True, "reconstruct": True}
    result = inferer(grid_mode="crop_pad", **options)(plane, net)
    fitted = inferer(**options)(centre_fit(plane, (24, 24)), net)
    for name in ("segmentation", "samples", "entropy", "mean", "sigma"):
        assert torch.equal(getattr(result, name), centre_fit(getattr(fitted, name), grid))
    assert result.mask.shape == (24, 24)
    assert torch.equal(result.volumes, fitted.volumes)
    outside = centre_fit(torch.ones(24, 24), grid) == 0
    certain = torch.zeros(2 if multi_label else 3)
    certain[0] = 0 if multi_label else 1
    assert (result.class_probabilities[:, outside] == certain[:, None]).all()
    if not multi_label:
        torch.testing.assert_close(result.class_probabilities.sum(0), torch.ones(grid))
    inside = centre_fit(torch.ones(grid), (24, 24)) == 1
    assert torch.equal(result.class_probabilities[:, ~outside], fitted.class_probabilities[:, inside])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("domain", ["image", "kspace"])
def test_all_zero_slice_is_background_for_certain(domain, multi_label):
    volume = levels(12, 14, 3) + 40  # no pixel is background
    volume[..., 1] = 0
    net = ThresholdNetwork(multi_label, thresholds=(-1.0, -2.0))  # which would find foreground in zeros
    data = volume
    if domain == "kspace":
        data = torch.stack([image_to_kspace(volume[..., i]) for i in range(3)], -1)
    result = inferer(samples=2, keep_samples=True, reconstruct=True)(data, net, domain=domain)
    for name in ("segmentation", "samples", "entropy", "mutual_information", "mean", "sigma"):
        field = getattr(result, name)
        assert torch.isfinite(field).all()
        assert not field[..., 1].any()
        assert name in ("entropy", "mutual_information") or field[..., 0].any()
    assert (result.class_probabilities[0, ..., 1] == (0 if multi_label else 1)).all()
    assert not result.class_probabilities[1:, ..., 1].any()
    assert int(result.volumes[0].max()) == 2 * 12 * 14
    assert result.key_slice.slice_index == 0


def test_key_slice_has_most_foreground_and_of_equals_is_nearest_the_middle():
    volume, net = torch.zeros(1, 1, 9, 9, 5), ThresholdNetwork()
    volume[..., 2:5, 2:5, :] = 20
    assert inferer(batch_size=2)(volume, net).key_slice.slice_index == 2
    volume[..., 6, 6, [0, 3]] = 20
    key = inferer(batch_size=2)(volume, net).key_slice
    assert key.slice_index == 3
    assert [field.shape[0] for field in key.posterior] == [1] * 5
    assert int(key.posterior.majority[0].sum()) == 10
    torch.testing.assert_close(key.zero_filled[0, 0], volume[0, 0, ..., 3])
    nothing = inferer()(torch.zeros(1, 1, 9, 9, 4), net)
    assert nothing.key_slice.slice_index == 1
    assert math.isnan(nothing.agreement)  # two empty masks agree, but of no signal nothing is known
    volume[..., 2:5, 2:5, 1:] = 0
    assert inferer()(volume * 0 + 1e-3, net).agreement == 1  # a signal without a structure


@pytest.mark.parametrize("grid", [(19, 26), (16, 24)])
def test_the_acquisition_and_the_reconstruction_are_those_of_reconstruction_alone(grid):
    """The same seeds give the masks and noise of VolumeInferer; ``reconstruct`` is the network's, as VolumeInferer shows it."""
    volume, net = levels(*grid, 3), latent()
    measurement = FourierMeasurement(noise=ComplexGaussianNoise(0.01))
    policy, shared = VariableDensity(), {"ratio": 0.3, "seed": 7, "batch_size": 2, "progress": False}
    segmented = SegmentationInferer(policy, measurement, **shared, samples=2, reconstruct=True)(volume, net)
    expected = VolumeInferer(policy, measurement, **shared)(
        volume, lambda zero_filled, mask: net.reconstruct(zero_filled)
    )
    for name in ("mean", "sigma", "mask", "ratio"):
        torch.testing.assert_close(getattr(segmented, name), getattr(expected, name))
    assert segmented.record == expected.record


def test_a_sample_is_one_segmentation_of_the_volume():
    """Equal slices, equally measured, have equal samples; those of another seed differ, and so do a seed's samples."""
    volume, net = levels(16, 16, 1).expand(-1, -1, -1, -1, 5), latent()
    first, other = (inferer(batch_size=2, keep_samples=True, seed=seed)(volume, net) for seed in (0, 1))
    assert (first.samples == first.samples[..., :1]).all()
    assert not torch.equal(first.samples[0], first.samples[1])
    assert not torch.equal(first.samples, other.samples)
    state = torch.get_rng_state()
    assert torch.equal(inferer(batch_size=2, keep_samples=True)(volume, net).samples, first.samples)
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_without_latent_variable_has_one_sample_and_no_agreement():
    net = DeterministicSegmenter(num_classes=3, channels=(8, 8)).eval()
    result = inferer(samples=16, keep_samples=True, reconstruct=True)(levels(15, 16, 2), net)
    assert result.volumes.shape == (1, 2)
    assert math.isnan(result.agreement)
    assert torch.equal(result.samples[0], result.segmentation)
    assert not result.mutual_information.any()


def test_mixed_precision_is_close():
    volume, net = levels(32, 32), latent()
    full, half = inferer()(volume, net), inferer(amp=True)(volume, net)
    assert half.class_probabilities.dtype == half.entropy.dtype == torch.float32
    torch.testing.assert_close(half.class_probabilities, full.class_probabilities, rtol=0, atol=0.1)


@pytest.mark.parametrize("field", ["class_probabilities", "entropy", "mutual_information"])
def test_a_network_that_diverges_fails_its_case(field):
    class Broken(ThresholdNetwork):
        def posterior(self, *args, **kwargs) -> TaskPosterior:
            good = super().posterior(*args, **kwargs)
            return good._replace(**{field: getattr(good, field) * math.nan})

    failed = TolerantInferer(inferer())(levels(8, 8), Broken())
    assert failed == CaseFailure("ValueError: the network returned NaN or Inf.")


test_refuses = refusals(
    (lambda: inferer()(levels(8, 8), torch.nn.Identity()), "got Identity", TypeError),
    (lambda: inferer(reconstruct=True)(levels(8, 8), latent(reconstruction=False)), "reconstruction=False"),
    (lambda: inferer(samples=0), "samples must be >= 1, got 0"),
    (lambda: inferer(samples="16"), "samples must be a whole number, got '16'"),
    (lambda: inferer(keep_samples="false"), "keep_samples must be True or False"),
    (lambda: inferer(reconstruct="True"), "reconstruct must be True or False"),
)
