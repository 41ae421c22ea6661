"""Noise, mask, undersampling and the whole simulation against FourierMeasurement, the single steps and closed forms."""

import numpy as np
import pytest
import torch
from helper import refuses, refuses_each
from kspace_transforms import Flat, as_meta, complex_data, real_image
from monai.transforms import Compose

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement, PoissonNoise, RicianNoise
from infomri_monai.transforms import (
    CropKSpace,
    ImageToKSpace,
    ImageToKSpaced,
    KSpaceToImage,
    RandKSpaceNoise,
    RandKSpaceNoised,
    RandSampleMask,
    RandSampleMaskd,
    SimulateAcquisition,
    SimulateAcquisitiond,
    Undersample,
    Undersampled,
    ZeroFilled,
    ZeroFilledd,
)

NOISES = [
    ComplexGaussianNoise(0.01),
    ComplexGaussianNoise(0.5, reference="absolute"),
    ComplexGaussianNoise(5e-4, reference="dc"),
    RicianNoise(0.01),
    PoissonNoise(0.01),
]
POLICIES = [Flat(), Flat(readout_axis=0), Flat(readout_axis=1)]


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 7, 6), (1, 6, 5, 3)])
def test_simulation_is_its_steps(shape, policy, noise):
    x = real_image(*shape)
    steps = [
        ImageToKSpaced("kspace"),
        RandSampleMaskd("kspace", policy, (0.3, 0.9)),
        RandKSpaceNoised("kspace", noise, mask_key="mask"),
        Undersampled("kspace"),
        ZeroFilledd("kspace"),
    ]
    whole = SimulateAcquisitiond("image", policy, (0.3, 0.9), noise=noise).set_random_state(11)
    pipeline = Compose(steps)  # reseeds its steps, so it comes first
    stream = np.random.RandomState(11)  # one for all, as inside the simulation
    for step in steps[1:3]:
        step.set_random_state(state=stream)
    expected = pipeline({"kspace": x})
    result = whole({"image": x})
    for key in ("mask", "ratio", "kspace", "zero_filled"):
        torch.testing.assert_close(torch.as_tensor(result[key]), torch.as_tensor(expected[key]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("data", [real_image, complex_data])
def test_simulation_is_the_measurement(policy, data):
    x = data(1, 7, 6)
    result = SimulateAcquisition(policy, 0.4, noise_std=0, channels=False)(x)
    measurement, mask = FourierMeasurement(), result.mask.as_tensor()[None]
    torch.testing.assert_close(result.kspace.as_tensor()[None], measurement(x[None], mask))
    torch.testing.assert_close(result.zero_filled.as_tensor()[None], measurement.zero_filled(x[None], mask))


@pytest.mark.parametrize("readout_axis", [None, 0, 1])
@pytest.mark.parametrize("reference", ["peak", "dc", "absolute"])
def test_noise_of_the_measured_samples_has_the_models_law(readout_axis, reference):
    """The fast path draws measured samples only: zero elsewhere, there the stated standard deviation, uncorrelated.

    Channels are coils and share it, slices do not."""
    x = real_image(2, 48, 64, 2)
    x[1] *= 3
    x[..., 1] *= 5
    std = {"peak": 0.2, "dc": 0.02, "absolute": 0.3}[reference]
    simulate = SimulateAcquisition(Flat(readout_axis), 0.5, noise=ComplexGaussianNoise(std, reference))
    result, clean = simulate.set_random_state(0)(x), ImageToKSpace()(x).as_tensor()
    mask = result.mask.as_tensor().expand_as(clean)
    assert bool((result.kspace.as_tensor()[mask == 0] == 0).all())
    combined = {"peak": x.square().sum(0).sqrt().amax((0, 1)), "dc": clean[:, 24, 32].abs().square().sum(0).sqrt()}
    expected = std * combined.get(reference, torch.ones(2))
    for channel, index in ((0, 0), (1, 0), (1, 1)):
        chosen = mask[channel, ..., index] > 0
        difference = (result.kspace.as_tensor() - clean)[channel, ..., index][chosen]
        error = torch.view_as_real(difference) / expected[index]
        n = error.shape[0]
        covariance = error.double().T @ error.double() / n
        assert error.double().mean(0).abs().max() < 5 / n**0.5
        torch.testing.assert_close(covariance, torch.eye(2, dtype=torch.float64), rtol=0, atol=5 * (2 / n) ** 0.5)


def test_noise_with_a_mask_leaves_the_other_samples():
    kspace, mask = complex_data(1, 8, 6), real_image(1, 8, 6).round()
    noisy = RandKSpaceNoise(NOISES[1]).set_random_state(0)(kspace, mask=mask).as_tensor()
    assert torch.equal(noisy[mask == 0], kspace[mask == 0])
    assert bool((noisy[mask == 1] != kspace[mask == 1]).all())
    refuses(ValueError, "does not fit", RandKSpaceNoise(), kspace, mask=mask.expand(2, -1, -1))
    undersampled = kspace * mask
    refuses(
        ValueError, "k-space is zero outside the mask, so that its image", RandKSpaceNoise(), undersampled, mask=mask
    )
    assert RandKSpaceNoise(NOISES[1])(undersampled, mask=mask).any()


def test_noise_and_mask_have_different_seeds():
    """One seed for both would make the mask a function of the noise."""
    simulate = SimulateAcquisition(Flat(), 0.5)
    for seed in range(50):
        simulate.set_random_state(seed).randomize()
        assert simulate.add_noise._seed != simulate.sample_mask._seed


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_noise_probability(probability):
    kspace, transform = complex_data(1, 4, 4), RandKSpaceNoise(prob=probability).set_random_state(0)
    changed = sum(not torch.equal(transform(kspace).as_tensor(), kspace) for _ in range(200))
    assert abs(changed - 200 * probability) <= 4 * (200 * probability * (1 - probability)) ** 0.5


def test_keys_have_independent_noise_and_one_mask():
    x = {"t1": real_image(1, 8, 8), "t2": real_image(1, 8, 8), "t3": real_image(2, 8, 8, seed=1)}
    result = SimulateAcquisitiond(list(x), Flat(), 0.5, noise_std=0.1).set_random_state(0)(x)
    added = {f"{key}_{name}" for key in x for name in ("kspace", "zero_filled")} | {"mask", "ratio"}
    assert set(result) == set(x) | added
    assert not torch.equal(result["t1_kspace"].as_tensor(), result["t2_kspace"].as_tensor())
    for key in x:
        measured = (result[f"{key}_kspace"].as_tensor() != 0).any(0, keepdim=True)
        assert torch.equal(measured.float(), result["mask"].as_tensor())
    kspace = {key: complex_data(1, 8, 8) for key in ("a", "b")}
    noisy = RandKSpaceNoised(["a", "b"]).set_random_state(0)(kspace)
    assert not torch.equal(noisy["a"].as_tensor(), noisy["b"].as_tensor())
    different = {"a": real_image(1, 8, 8), "b": real_image(1, 8, 6)}
    for transform in (RandSampleMaskd, SimulateAcquisitiond):
        refuses(ValueError, "grid of 'b'", transform(["a", "b"], Flat(), 0.5), different)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", [(8, 8), (7, 10)])
def test_realised_ratio_is_the_masks_mean(policy, shape):
    transform = RandSampleMask(policy, (0.2, 0.8)).set_random_state(0)
    lines = {None: shape[0] * shape[1], 0: shape[1], 1: shape[0]}[policy.readout_axis]
    ratios = []
    for _ in range(50):
        sample = transform(real_image(1, *shape))
        assert sample.ratio.shape == ()
        assert float(sample.ratio) == pytest.approx(float(sample.mask.mean()))
        assert abs(float(sample.ratio) - transform._ratio) <= 0.5 / lines + 1e-6
        assert 0.2 <= transform._ratio <= 0.8
        ratios.append(transform._ratio)
    assert min(ratios) < 0.3
    assert max(ratios) > 0.7


def test_volume_is_acquired_slice_by_slice_with_one_mask():
    for policy, shape in zip(POLICIES, [(1, 8, 6), (1, 1, 6), (1, 8, 1)], strict=True):
        assert RandSampleMask(policy, 0.5)(real_image(2, 8, 6)).mask.shape == shape
        assert RandSampleMask(policy, 0.5)(real_image(2, 8, 6, 3)).mask.shape == (*shape, 1)
    assert RandSampleMask(Flat(), 0.5, spatial_dims=3)(real_image(1, 8, 6, 3)).mask.shape == (1, 8, 6, 3)
    x = real_image(1, 8, 6, 3)
    result = SimulateAcquisition(Flat(), 0.5, noise_std=0).set_random_state(0)(x)
    assert result.zero_filled.shape == (2, 8, 6, 3)
    for i in range(3):
        one = SimulateAcquisition(Flat(), 0.5, noise_std=0).set_random_state(0)(x[..., i])
        assert torch.equal(one.mask.as_tensor(), result.mask.as_tensor()[..., 0])
        torch.testing.assert_close(one.zero_filled.as_tensor(), result.zero_filled.as_tensor()[..., i])


def test_zero_filled_channels_and_complex_agree():
    x = real_image(2, 8, 6)
    channels = SimulateAcquisition(Flat(), 0.5).set_random_state(0)(x).zero_filled.as_tensor()
    image = SimulateAcquisition(Flat(), 0.5, channels=False).set_random_state(0)(x).zero_filled.as_tensor()
    torch.testing.assert_close(channels, torch.cat([image.real, image.imag]))


@pytest.mark.parametrize("noise", NOISES[:2])
@pytest.mark.parametrize("policy", POLICIES)
def test_gradient_of_the_simulation(policy, noise):
    x = real_image(1, 4, 5, dtype=torch.float64).requires_grad_()
    simulate = SimulateAcquisition(policy, 0.5, noise=noise).set_random_state(0)
    simulate.randomize()
    assert torch.autograd.gradcheck(lambda v: simulate(v, randomize=False).zero_filled.as_tensor(), x)


def test_a_learned_policys_gradient_stays_out_of_the_pipeline():
    policy = Flat()
    policy.weight = torch.nn.Parameter(torch.ones(1))
    draw = policy.draw
    policy.draw = lambda *args: tuple(part * policy.weight for part in draw(*args))
    result = SimulateAcquisition(policy, 0.5)(real_image(1, 8, 8))
    assert not any(part.requires_grad for part in result)


def test_bad_constructor_arguments():
    good, numbers = {"policy": Flat(), "ratio": 0.5}, [-1, float("nan"), float("inf")]
    ratios = [0, -0.1, 1.5, float("nan"), (0.1, 1.2), (0.5, 0.2), (0.1,), (0.1, 0.2, 0.3), ()]
    refuses_each(RandSampleMask, good, policy=[0.5], ratio=ratios)
    refuses_each(SimulateAcquisition, good, ratio=ratios, noise_std=numbers)
    refuses(ValueError, "cannot be met", SimulateAcquisition(Flat(), 0.001), real_image(1, 8, 8))
    refuses(ValueError, "prob", RandKSpaceNoise, prob=1.5)
    refuses(ValueError, "NoiseModel", RandKSpaceNoise, noise=0.1)
    refuses(ValueError, "spatial_dims=2, the transform for 3", RandKSpaceNoise, ComplexGaussianNoise(), spatial_dims=3)
    refuses(ValueError, "not both", SimulateAcquisition, Flat(), 0.5, noise_std=0.1, noise=ComplexGaussianNoise())


def test_bad_masks_and_real_kspace_are_refused():
    for mask in (torch.ones(8, 6), torch.ones(1, 8, 5), torch.ones(1, 8, 6) * 1j, "mask"):
        refuses(ValueError, "mask", Undersample(), complex_data(1, 8, 6), mask)
    real = real_image(1, 8, 6)
    refuses(ValueError, "must be complex", Undersample(), real, torch.ones(1, 8, 6))
    for transform in (ZeroFilled(), RandKSpaceNoise(), CropKSpace(4), KSpaceToImage()):
        refuses(ValueError, "must be complex", transform, real)


def test_undersample_takes_every_mask_type_and_keeps_the_rest():
    kspace, mask = complex_data(2, 8, 6), real_image(1, 1, 6).round()
    expected = kspace * mask
    for given in (mask, mask.numpy(), mask.bool(), as_meta(mask), mask.to(torch.uint8)):
        assert torch.equal(Undersample()(kspace, given).as_tensor(), expected)
    double = Undersample()(kspace.to(torch.complex128), mask)
    assert double.dtype == torch.complex128
    assert ZeroFilled()(double).dtype == torch.float64
