"""The marginal entropy against the explicit covariance, samples, differences of masks, and what maximising it does.

What phase does to the marginal entropy: the benchmark's estimates on synthetic images whose answer is known.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helper import assert_batch_equals_elements, assert_gradient, random_tensor, refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal

from infomri_monai.acquisition import FourierMeasurement, image_to_kspace, redundancy_ratio
from infomri_monai.information import MarginalEntropy, measurement_entropy, pair_entropy, position_entropy
from infomri_monai.sampling import PatternGenerationNetwork

GRIDS = [(7,), (8,), (5, 5), (6, 6), (5, 6), (4, 7), (3, 4, 5), (2, 4, 4)]
CONSTANT = math.log(2 * math.pi * math.e)


def partner_of(index, grid):
    """The index of frequency -f, where index n // 2 is frequency 0."""
    return tuple((n // 2 - (i - n // 2)) % n for i, n in zip(index, grid, strict=True))


def variances(grid, seed=0):
    """Variances as a real image's k-space has them: equal at partners, no imaginary part where a position is its own."""
    real, imag = (random_tensor(grid, torch.float64, s).exp() for s in (seed, seed + 1))
    for index in itertools.product(*map(range, grid)):
        partner = partner_of(index, grid)
        real[partner], imag[partner] = real[index], imag[index]
        if partner == index:
            imag[index] = 0
    return real, imag


def field(grid, seed=0):
    """Columns: real images of variance-weighted conjugate pairs, so that coefficients N(0, 1) give the random field."""
    real, imag = (v.numpy() for v in variances(grid, seed))
    columns = []
    for index in itertools.product(*map(range, grid)):
        partner = partner_of(index, grid)
        if partner < index:
            continue
        for scale, factor in ((real[index], 1), (imag[index], 1j)):
            kspace = np.zeros(grid, complex)
            kspace[index] = factor * math.sqrt(scale)
            kspace[partner] = np.conj(kspace[index])
            image = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(kspace), norm="ortho"))
            if partner != index or factor == 1:
                assert np.abs(image.imag).max() < 1e-12
                columns.append(image.real)
    return np.stack(columns, -1)


def explicit_entropy(grid, mask, noise_std, seed=0):
    """1/2 log det(2 pi e C) of the real and imaginary parts of all measured samples of the field."""
    axes = tuple(range(len(grid)))
    images = field(grid, seed)
    kspace = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(images, axes), axes=axes, norm="ortho"), axes)
    samples = kspace[np.broadcast_to(mask, grid) > 0]
    factor = np.concatenate([samples.real, samples.imag])
    covariance = factor @ factor.T + noise_std**2 * np.eye(len(factor))
    sign, value = np.linalg.slogdet(2 * math.pi * math.e * covariance)
    assert sign == 1
    return value / 2


def random_masks(grid, count=6, seed=0, dtype=torch.float64):
    """Masks of different ratios, the last one full."""
    generator = torch.Generator().manual_seed(seed)
    ratio = torch.linspace(0.2, 1.01, count).reshape(-1, *[1] * (len(grid) + 1))
    return (torch.rand((count, 1, *grid), generator=generator) < ratio).to(dtype)


@pytest.mark.parametrize("noise_std", [1.0, 1e-2])
@pytest.mark.parametrize("grid", GRIDS)
def test_is_the_entropy_of_the_explicit_covariance(grid, noise_std):
    entropy = MarginalEntropy(*variances(grid), noise_std)
    axes = [None, 0, len(grid) - 1] if len(grid) > 1 else [None]
    for axis in axes:  # positions, and lines along an axis
        masks = random_masks(tuple(1 if a == axis else n for a, n in enumerate(grid)))
        expected = [explicit_entropy(grid, mask[0].numpy(), noise_std) for mask in masks]
        np.testing.assert_allclose(entropy(masks).numpy(), expected, rtol=1e-6)
        torch.testing.assert_close(entropy(masks), entropy(masks.expand(-1, 1, *grid)))


def test_is_the_mean_negative_log_density_of_measured_samples(generator):
    """Real images of the field, measured by the package's own measurement, under the densities (34) and (35)."""
    grid, noise_std, count = (4, 5), 0.3, 20_000
    coefficients = torch.randn(count, int(np.prod(grid)), dtype=torch.float64, generator=generator)
    images = (coefficients @ torch.from_numpy(field(grid)).flatten(0, 1).T).reshape(count, 1, *grid)
    mask = random_masks(grid, 3)[1]
    kspace = FourierMeasurement().fully_sampled(images)[:, 0]
    y = kspace + noise_std * torch.view_as_complex(
        torch.randn(*kspace.shape, 2, dtype=torch.float64, generator=generator)
    )
    log_density = torch.zeros(count, dtype=torch.float64)
    for index in itertools.product(*map(range, grid)):
        partner = partner_of(index, grid)
        if not mask[0][index]:
            continue
        for v, sign, part in zip(variances(grid), (1, -1), (y.real, y.imag), strict=True):
            one = part[(slice(None), *index)]
            if partner != index and mask[0][partner]:
                covariance = v[index] * torch.tensor([[1.0, sign], [sign, 1.0]]) + noise_std**2 * torch.eye(2)
                pair = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance.double())
                log_density += 0.5 * pair.log_prob(torch.stack([one, part[(slice(None), *partner)]], -1))
            else:
                log_density += Normal(0.0, (v[index] + noise_std**2).sqrt()).log_prob(one)
    error = float(log_density.std()) / math.sqrt(count)
    estimate = float(MarginalEntropy(*variances(grid), noise_std)(mask[None]))
    assert estimate == pytest.approx(-float(log_density.mean()), abs=4 * error)
    assert error < 0.05


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (3, 1, 6, 6), (2, 1, 6, 1), (2, 1, 1, 6), (2, 1, 7)])
def test_gradient_of_relaxed_masks(shape):
    grid = tuple(6 if n == 1 else n for n in shape[2:])
    masks = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    entropy = MarginalEntropy(*variances(grid), 0.1)
    assert_gradient(entropy, masks)
    assert torch.autograd.gradgradcheck(entropy, masks.requires_grad_())


@pytest.mark.parametrize("shape", [(5, 6), (4, 4), (6, 1), (1, 5), (1, 6)])
def test_slope_at_a_mask_is_the_entropy_that_a_position_adds(shape):
    """So a straight-through gradient is the true effect, and reaches unmeasured positions and partners."""
    grid = tuple(4 if n == 1 else n for n in shape)
    entropy = MarginalEntropy(*variances(grid), 0.1)
    mask = random_masks(shape, 2)[:1].requires_grad_()
    (slope,) = torch.autograd.grad(entropy(mask).sum(), mask)
    for index in itertools.product(*map(range, shape)):
        with_it, without = mask.detach().clone(), mask.detach().clone()
        with_it[0, 0][index], without[0, 0][index] = 1, 0
        torch.testing.assert_close(slope[0, 0][index], (entropy(with_it) - entropy(without))[0])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(1, 5), st.floats(1e-3, 10), st.integers(0, 99))
def test_any_grid_and_batch(grid, batch, noise_std, seed):
    generator = torch.Generator().manual_seed(seed)
    entropy = MarginalEntropy(*torch.rand(2, *grid, generator=generator, dtype=torch.float64), noise_std)
    masks = (torch.rand((batch, 1, *grid), generator=generator) < 0.5).double()
    assert entropy(masks).shape == (batch,)
    assert_batch_equals_elements(entropy, masks)
    # equation (36), position by position
    position, pair = entropy.position_entropy(), entropy.pair_entropy()
    expected = torch.zeros(batch, dtype=torch.float64)
    for index in itertools.product(*map(range, grid)):
        partner = partner_of(index, grid)
        for b, mask in enumerate(masks[:, 0]):
            single = partner == index or not mask[partner]
            expected[b] += mask[index] * (position[index] if single else pair[index])
    torch.testing.assert_close(entropy(masks), expected)


def test_bad_noise_variances_and_masks_are_refused():
    ones = torch.ones(4, 4)
    for noise_std in (0.0, -1.0, math.inf, math.nan):
        named = r"noise_std must be a finite number > 0.*minus infinity"
        refuses(ValueError, named, MarginalEntropy, ones, ones, noise_std)
    for bad in (-1.0, math.nan, math.inf):
        wrong = ones.clone()
        wrong[1, 2] = bad
        refuses(ValueError, "variance_real", MarginalEntropy, wrong, ones, 1.0)
        refuses(ValueError, "variance_imag", MarginalEntropy, ones, wrong, 1.0)
    refuses(ValueError, "one shape", MarginalEntropy, ones, torch.ones(4, 5), 1.0)
    entropy = torch.ones(4, 6)
    for shape in ((2, 1, 4, 5), (2, 1, 1, 1), (2, 2, 4, 6), (2, 4, 6), (2, 1, 4, 6, 1), (2, 1, 6, 4)):
        named = r"mask must have shape \(batch, 1, \*\(4, 6\)\)"
        refuses(ValueError, named, measurement_entropy, torch.ones(shape), entropy, entropy)


def test_partners_of_different_variance_share_their_mean():
    """Complex images: a single position keeps its own variance."""
    real, imag = random_tensor((2, 5, 6), torch.float64).exp()
    entropy = MarginalEntropy(real, imag, 0.5)
    one, other, both = (torch.zeros(1, 1, 5, 6, dtype=torch.float64) for _ in range(3))
    one[..., 1, 2] = other[..., 3, 4] = both[..., 1, 2] = both[..., 3, 4] = 1
    mean_real, mean_imag = ((v[1, 2] + v[3, 4]) / 2 for v in (real, imag))
    assert float(entropy(both)) == pytest.approx(2 * float(pair_entropy(mean_real, mean_imag, 0.5)))
    assert float(entropy(one)) == pytest.approx(float(position_entropy(real[1, 2], imag[1, 2], 0.5)))
    assert float(entropy(other)) == pytest.approx(float(position_entropy(real[3, 4], imag[3, 4], 0.5)))


@pytest.mark.parametrize("noise_std", [1e-8, 1e-30, 1e-200])
def test_stable_as_the_noise_vanishes(noise_std):
    """A pair's share falls as log sigma; nothing underflows, also where the variance is zero."""
    flat = torch.ones(4, 4, dtype=torch.float64)
    flat[1, 1] = flat[3, 3] = 0
    entropy = MarginalEntropy(flat, flat, noise_std)
    position, pair = entropy.position_entropy(), entropy.pair_entropy()
    assert float(position[1, 2]) == pytest.approx(CONSTANT)
    assert float(pair[1, 2]) == pytest.approx(CONSTANT + 0.5 * math.log(2) + math.log(noise_std))
    assert float(position[1, 1]) == float(pair[1, 1]) == pytest.approx(CONSTANT + 2 * math.log(noise_std))
    mask = torch.ones(1, 1, 4, 4, requires_grad=True)
    entropy(mask).sum().backward()
    assert bool(torch.isfinite(mask.grad).all())


def test_types():
    entropy = MarginalEntropy(*variances((16, 16)), 1e-3)
    masks = random_masks((16, 16))
    exact = entropy(masks)
    single = entropy(masks.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(entropy(masks.float()), single)
    for dtype in (torch.bfloat16, torch.bool, torch.int64):
        torch.testing.assert_close(entropy(masks.to(dtype)), single)
    assert entropy(masks[:0]).shape == (0,)
    assert not entropy.state_dict()


def test_maximising_it_avoids_redundant_pairs_and_minimising_seeks_them():
    """Remark 1, a check of the sign: a policy trained on nothing else, at a fixed ratio."""
    grid = (12, 12)
    entropy = MarginalEntropy(torch.ones(grid), torch.ones(grid), 1e-2)
    redundancy = {}
    for sign in (1, -1):
        policy = PatternGenerationNetwork(grid, seed=0)
        optimizer = torch.optim.Adam(policy.parameters(), lr=0.1)
        generator = torch.Generator().manual_seed(0)
        for _ in range(120):
            mask = policy([0.25] * 16, grid, generator).mask
            optimizer.zero_grad()
            (-sign * entropy(mask).mean()).backward()
            optimizer.step()
        with torch.no_grad():
            redundancy[sign] = float(redundancy_ratio(policy([0.25] * 16, grid, generator).mask).mean())
    assert redundancy[1] < 0.05  # 0.25 by chance
    assert redundancy[-1] > 0.9


PATH = Path(__file__).parents[2] / "benchmarks" / "entropy_phase.py"
SPECIFICATION = importlib.util.spec_from_file_location("entropy_phase", PATH)
benchmark = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(benchmark)

GRID, COUNT = (16, 16), 4000


def rows(kind: str, phase: float) -> dict[str, dict]:
    """Rows at 4x of images of white noise with a phase that differs from pixel to pixel, by kind of mask."""
    generator = torch.Generator().manual_seed(0)
    real = 1 + torch.randn(COUNT, 1, *GRID, generator=generator, dtype=torch.float64)
    angle = phase * torch.randn(COUNT, 1, *GRID, generator=generator, dtype=torch.float64)
    images = real if kind == "magnitude" else torch.polar(torch.ones_like(real), angle) * real
    return {row["masks"]: row for row in benchmark.rows_of(images, kind, 5e-3) if row["acceleration"] == 4}


def test_real_images_have_the_papers_entropy():
    """rows_of asserts paper = components; with 4,000 uncorrelated samples real and imaginary parts are independent too."""
    for row in rows("magnitude", 0).values():
        assert row["gaussian"] == pytest.approx(row["paper"], abs=0.01)
        assert row["paper"] < row["independent"]


def test_images_of_random_phase_have_no_redundant_pairs():
    for row in rows("complex", 10.0).values():
        assert row["gaussian"] == pytest.approx(row["independent"], abs=0.01)
    symmetric = rows("complex", 10.0)["symmetric"]
    assert symmetric["redundancy"] > 0.9
    assert symmetric["paper"] < symmetric["gaussian"] - 1


def test_covariance_is_that_of_the_pair():
    images = torch.randn(9, 5, 6, dtype=torch.complex128)
    kspace = image_to_kspace(images)
    covariance = benchmark.pair_covariance(kspace)
    first, partner = kspace[:, 1, 2].numpy(), kspace[:, 3, 4].numpy()
    expected = np.cov([first.real, first.imag, partner.real, partner.imag], bias=True)
    np.testing.assert_allclose(covariance[1, 2].numpy(), expected, rtol=1e-10, atol=1e-12)
