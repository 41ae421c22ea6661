"""A whole case through the inferer: against the system slice by slice, any size, any batch size, raw k-space, units."""

import logging
import sys

import pytest
import torch
from helper import refusals, refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.inferers import SimpleInferer

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement, image_to_kspace
from infomri_monai.engines import CaseFailure, PrepareCase, TolerantInferer, VolumeInferer
from infomri_monai.engines.case import centre_fit
from infomri_monai.networks import UnrolledReconstructor
from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom, VariableDensity
from infomri_monai.systems import ReconstructionSystem


def network(real_valued=False, seed=0):
    """A network away from its start, so that it is not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = UnrolledReconstructor(phases=2, channels=4, real_valued=real_valued)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def image(*shape, seed=0, dtype=torch.float32):
    return torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inferer(policy=None, noise_std=0.01, ratio=0.3, **options):
    measurement = FourierMeasurement(noise=ComplexGaussianNoise(noise_std))
    return VolumeInferer(policy or VariableDensity(), measurement, ratio, progress=False, **options)


@pytest.mark.parametrize(("ratio", "outside"), [(0.04, False), (0.35, False), (0.03, True), (0.5, True)])
def test_says_where_the_ratio_lies_outside_the_ratio_range(ratio, outside, caplog):
    policy = PatternGenerationNetwork((24, 24), ratio_range=(0.04, 0.35))
    with caplog.at_level(logging.WARNING):
        result = inferer(policy, ratio=ratio)(image(32, 24), network())  # the warning survives for_grid, the record too
    assert result.record.ratio_extrapolated is outside
    assert ("is extrapolated: the policy was trained for the range (0.04, 0.35)" in caplog.text) is outside
    assert inferer(ratio=ratio)(image(24, 24), network()).record.ratio_extrapolated is None


@pytest.mark.parametrize("grid", [(32, 32), (33, 20), (17, 31)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_without_noise_it_is_the_system_on_every_slice(grid, dtype):
    """The oracle is ReconstructionSystem.reconstruct with the mask that the inferer reports."""
    volume, net = image(*grid, 3, dtype=dtype), network()
    result = inferer(noise_std=0.0)(MetaTensor(volume), net)
    system = ReconstructionSystem(VariableDensity(), FourierMeasurement(), net)
    for i in range(3):
        mask = result.mask[..., i].float()[None, None]
        with torch.no_grad():
            expected = system.reconstruct(image_to_kspace(volume[..., i]) * mask, mask)
        torch.testing.assert_close(result.mean[..., i], expected.mean[0, 0].abs(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            result.sigma[..., i], torch.exp(0.5 * expected.magnitude_log_variance[0, 0]), rtol=1e-4, atol=0
        )
        torch.testing.assert_close(result.zero_filled[..., i], expected.zero_filled[0, 0].abs(), rtol=1e-4, atol=1e-5)
        assert float(result.ratio[i]) == pytest.approx(float(mask.mean()), abs=1e-6)
    assert result.mask.dtype == torch.uint8
    assert result.mean.dtype == result.sigma.dtype == torch.float32


@settings(deadline=None, max_examples=6)
@given(batch_size=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_draws_depend_on_seed_and_slice_only(batch_size, seed):
    volume, net = image(12, 15, 5), network()
    one = inferer(batch_size=1, seed=seed)(volume, net)
    many = inferer(batch_size=batch_size, seed=seed)(volume, net)
    assert torch.equal(one.mask, many.mask)
    torch.testing.assert_close(one.mean, many.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.zero_filled, many.zero_filled, rtol=1e-5, atol=1e-6)
    # the third slice alone, shown as third slice of other content, is acquired in the same way
    other = volume.clone()
    other[..., :2] = 7
    torch.testing.assert_close(inferer(seed=seed)(other, net).mean[..., 2], one.mean[..., 2], rtol=1e-4, atol=1e-5)
    assert not torch.equal(one.mask[..., 0], one.mask[..., 1])


@pytest.mark.parametrize("factor", [1e-6, 1000.0])
def test_intensity_units_are_kept(factor):
    volume, net = image(16, 18, 2), network()
    unit, scaled = inferer()(volume, net), inferer()(factor * volume, net)
    for field in ("mean", "sigma", "zero_filled"):
        torch.testing.assert_close(getattr(scaled, field) / factor, getattr(unit, field), rtol=2e-3, atol=1e-4)


def test_noise_has_its_standard_deviation():
    """Fully sampled, the zero-filled image is the image and the noise: its spread is the noise model's."""
    flat = torch.full((1, 1, 64, 64), 10.0)
    measurement = FourierMeasurement(noise=ComplexGaussianNoise(0.5, reference="absolute"))
    result = VolumeInferer(UniformRandom(), measurement, 1.0, progress=False)(flat, network())
    assert float((result.zero_filled - 10).std()) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("grid", "extrapolated"), [((24, 31), False), ((50, 24), True), ((11, 24), True)])
def test_a_grid_far_from_the_trained_one_is_told(grid, extrapolated, caplog):
    volume, policy = image(*grid), PatternGenerationNetwork((24, 24))
    for _ in range(2):  # every case of it says so
        assert inferer(policy)(volume, network()).record.grid_extrapolated is extrapolated
    assert caplog.text.count("the result and its uncertainty are extrapolated") == 2 * extrapolated
    assert inferer()(volume, network()).record.grid_extrapolated is None
    kspace = image_to_kspace(volume.to(torch.complex64))
    assert inferer(policy)(kspace, network(), domain="kspace").record.grid_extrapolated is extrapolated


@pytest.mark.parametrize("grid", [(24, 31), (32, 40), (33, 16)])
def test_adapt_carries_the_policy_over_and_says_so(grid, caplog):
    policy = PatternGenerationNetwork((24, 24))
    with caplog.at_level(logging.INFO):
        result = inferer(policy)(image(*grid, 2), network())
    assert result.mask.shape == (*grid, 2)
    assert result.record.grid == grid
    assert result.record.offset == (0, 0)
    torch.testing.assert_close(result.ratio, torch.full((2,), 0.3), rtol=0, atol=2e-3)
    assert caplog.text.count("policy carried from its grid (24, 24)") == 1


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 12), m=st.integers(1, 12))
def test_centre_fit_keeps_the_centre_and_inverts(n, m):
    line = torch.arange(1.0, n + 1)
    fitted = centre_fit(line, [m])
    assert fitted.shape == (m,)
    assert fitted[m // 2] == line[n // 2]
    back = centre_fit(fitted, [n])
    assert torch.equal(back[back != 0], line[back != 0])
    if m > n:
        assert torch.equal(back, line)


def test_lines_are_shown_on_the_full_grid():
    result = inferer(VariableDensity(readout_axis=0), ratio=0.25)(image(16, 20, 2), network())
    assert result.mask.shape == (16, 20, 2)
    assert (result.mask == result.mask[:1]).all()
    torch.testing.assert_close(result.ratio, torch.full((2,), 0.25))


@pytest.mark.parametrize("given_mask", [False, True])
@pytest.mark.parametrize("slices", [(), (3,)])
def test_measured_kspace_is_used_as_it_is(given_mask, slices):
    net, grid = network(), (17, 24)
    truth = image(*grid, *slices, dtype=torch.complex64)
    stack = truth[..., None] if not slices else truth
    mask = (torch.rand(grid, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    kspace = torch.stack([image_to_kspace(stack[..., i]) * mask for i in range(stack.shape[-1])], -1)
    raw = kspace if slices else kspace[..., 0]
    result = inferer()(raw, net, mask=mask[None, None] if given_mask else None, domain="kspace")
    with torch.no_grad():
        expected = ReconstructionSystem(VariableDensity(), FourierMeasurement(), net).reconstruct(
            kspace[..., 0], mask[None, None]
        )
    mean = result.mean[..., 0] if slices else result.mean
    torch.testing.assert_close(mean, expected.mean[0, 0].abs(), rtol=1e-4, atol=1e-5)
    assert torch.equal(result.mask[..., 0] if slices else result.mask, mask.to(torch.uint8))
    torch.testing.assert_close(result.ratio, mask.mean().expand(result.ratio.shape))
    record = result.record
    assert (record.simulated, record.ratio_requested, record.grid_mode) == (False, None, "native")


def test_given_mask_wins_over_stray_samples():
    kspace, mask = image(16, 16, dtype=torch.complex64), torch.zeros(1, 1, 16, 16)
    mask[..., 6:10, :] = 1
    result = inferer()(kspace, network(), mask=mask, domain="kspace")
    clean = inferer()(kspace * mask, network(), domain="kspace")
    torch.testing.assert_close(result.mean, clean.mean)


def test_real_valued_network_gives_magnitudes():
    result = inferer()(image(16, 16), network(real_valued=True))
    assert (result.mean >= 0).all()
    with pytest.raises(ValueError, match="network is for real-valued images"):
        inferer()(image(16, 16, dtype=torch.complex64), network(real_valued=True))


def test_progress_bar_counts_slices_on_a_terminal(monkeypatch, capfd):
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        VolumeInferer(VariableDensity(), FourierMeasurement(), 0.3, batch_size=2)(image(16, 16, 5), network())
        assert ("/5 " in capfd.readouterr().err) == terminal


def test_needs_a_policy_for_images_only():
    raw = VolumeInferer(None, FourierMeasurement(), 0.25, progress=False)
    assert raw(image(16, 16, dtype=torch.complex64), network(), domain="kspace").mean.shape == (16, 16)
    refuses(ValueError, "policy must not be None", raw, image(16, 16), network())


def test_tolerant_inferer_reports_and_passes():
    tolerant = TolerantInferer(inferer())
    failed = tolerant(torch.full((1, 1, 8, 8), float("inf")), network())
    assert isinstance(failed, CaseFailure)
    assert "NaN or Inf" in failed.reason
    assert tolerant(image(8, 8), network(), failure="ValueError: x") == CaseFailure("ValueError: x")
    assert tolerant(image(8, 8), network()).mean.shape == (8, 8)

    def broken(data):
        raise TypeError("a defect of the program")

    with pytest.raises(TypeError):
        TolerantInferer(SimpleInferer())(image(8, 8), broken)


test_refuses = refusals(
    (lambda: inferer(ratio=0.0), "ratio must lie in"),
    (lambda: inferer(ratio=1.5), "ratio must lie in"),
    (lambda: inferer(ratio=[0.1, 0.2]), "one sampling ratio"),
    (lambda: inferer(batch_size=0), "batch_size must be >= 1"),
    (lambda: inferer(ratio="0,25"), r"ratio must be a number in \(0, 1\] .*, got '0,25'"),
    (lambda: inferer(ratio=["a"]), r"ratio must be a number in .*, got \['a'\]"),
    (lambda: inferer(batch_size=2.5), "batch_size must be a whole number, got 2.5"),
    (lambda: inferer(seed="x"), "seed must be a whole number, got 'x'"),
    (lambda: inferer(seed=-1), "seed must be >= 0, got -1"),
    (lambda: inferer(grid_mode="resize"), "'adapt' or 'crop_pad'"),
    (lambda: inferer(grid_mode="crop_pad"), "needs a policy with a grid"),
    (lambda: inferer()(torch.ones(1, 16, 16), network()), r"must have shape \(1, 1, height, width\[, slice\]\)"),
    (lambda: inferer()(torch.ones(2, 1, 16, 16), network()), "must have shape"),
    (lambda: inferer()(torch.ones(1, 4, 16, 16, dtype=torch.complex64), network(), domain="kspace"), "must have shape"),
    (lambda: inferer()(torch.full((1, 1, 16, 16), float("nan")), network()), "NaN or Inf"),
    (lambda: inferer()(torch.ones(1, 1, 16, 16), network(), domain="kspace"), "must be complex"),
    (lambda: inferer()(torch.ones(1, 1, 16, 16), network(), domain="dicom"), "'image' or 'kspace'"),
    (
        lambda: inferer()(
            torch.ones(1, 1, 16, 16, dtype=torch.complex64), network(), domain="kspace", mask=torch.ones(1, 1, 16, 15)
        ),
        "mask of shape",
    ),
    (lambda: inferer(ratio=1e-4)(image(16, 16), network()), "cannot be met on grid"),
    (lambda: PrepareCase()({"image": torch.ones(2, 1, 8, 8)}), "batch_size must be 1"),
)


def test_an_image_with_negative_values_is_said(caplog):
    """What is written is a magnitude, which is not such an image's."""
    head = image(24, 20).abs()
    inferer()(head, network())
    assert not caplog.records
    inferer()(head - head.mean(), network())
    assert "negative values" in caplog.text
