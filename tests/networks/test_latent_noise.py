"""The hashed noise is standard normal, independent in every direction, and the same everywhere and for ever."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from infomri_monai.networks import latent_noise
from infomri_monai.networks.latent import _hash

PRIME = 2**31 - 1


def noise(seeds=(0,), samples=64, channels=8, height=24, width=25, first=0):
    return latent_noise(torch.tensor(seeds), first, samples, channels, height, width)


def assert_uncorrelated(a, b):
    """Correlations of the numbers and of their squares are within 4.5 standard errors of 0."""
    for x, y in ((a, b), (a.square(), b.square())):
        x, y = (v.flatten().double() for v in (x, y))
        correlation = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
        assert abs(correlation) < 4.5 / len(x) ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 12345, PRIME - 1, 2**62])
def test_is_standard_normal(seed):
    values = noise((seed,)).flatten().double().numpy()
    n = len(values)
    assert abs(values.mean()) < 4 / n**0.5
    assert abs(values.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs(stats.skew(values)) < 4 * (6 / n) ** 0.5
    assert abs(stats.kurtosis(values)) < 4 * (24 / n) ** 0.5
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert 4 < np.abs(values).max() < 6.6  # sqrt(2 log 2^31) is the largest there is


def test_every_position_is_standard_normal_over_seeds():
    """The variance of each of 6 x 35 positions over 4000 seeds: a chi-square of 3999 degrees; and the same for the samples."""
    values = noise(tuple(range(4000)), samples=3, channels=2, height=5, width=7).flatten(1).double()
    statistic = (values - values.mean(0)).square().sum(0).numpy()
    p_value = stats.chi2(len(values) - 1).cdf(statistic)
    assert stats.kstest(p_value, "uniform").pvalue > 1e-3
    assert stats.kstest(values.mean(0).numpy() * len(values) ** 0.5, "norm").pvalue > 1e-3


def test_no_correlation_between_samples_channels_neighbours_and_seeds():
    z = noise((3, 4))
    assert_uncorrelated(z[0], z[1])
    assert_uncorrelated(z[:, 1:], z[:, :-1])
    assert_uncorrelated(z[:, :, 1:], z[:, :, :-1])
    for lag in (1, 2, 5):
        assert_uncorrelated(z[..., lag:], z[..., :-lag])
        assert_uncorrelated(z[..., lag:, :], z[..., :-lag, :])


def test_all_pairs_of_samples_are_uncorrelated():
    """The correlations of all pairs, times the root of the number of values, are standard normal."""
    z = noise(tuple(range(8)), samples=32).flatten(2).flatten(0, 1).double()
    first, second = torch.triu_indices(len(z), len(z), 1)
    correlation = torch.corrcoef(z)[first, second].numpy()
    assert stats.kstest(correlation * z.shape[1] ** 0.5, "norm").pvalue > 1e-3


def test_keys_near_each_other_do_not_share_shifted_noise():
    """Of 60,000 seeds some have keys a few units apart; were positions added unhashed, their noise would be equal, shifted."""
    keys, order = _hash(_hash(torch.arange(60_000))).sort()
    gap = keys.diff()
    gap[gap % 2 == 1] = PRIME
    pair = order[int(gap.argmin()) :][:2]
    assert gap.min() < 20
    first, second = noise(tuple(pair.tolist()), samples=1, channels=1, height=1, width=4000)[:, 0, 0, 0].numpy()
    assert len(np.intersect1d(first, second)) < 5


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**40), cut=st.integers(0, 7), grid=st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_parts_are_the_whole(seed, cut, grid):
    whole = noise((seed,), 7, 2, *grid)
    parts = [noise((seed,), cut, 2, *grid), noise((seed,), 7 - cut, 2, *grid, first=cut)]
    assert torch.equal(torch.cat(parts, 1), whole)
    assert whole.shape == (1, 7, 2, *grid)
    assert whole.dtype == torch.float32


def test_a_seed_has_its_noise_wherever_it_stands():
    z = noise((5, 9, 5))
    assert torch.equal(z[0], z[2])
    assert torch.equal(z[1:2], noise((9,)))
    assert torch.isclose(z[0], z[1]).float().mean() < 1e-3


def test_the_global_generator_has_no_part():
    before = torch.get_rng_state()
    noise()
    assert torch.equal(torch.get_rng_state(), before)


def test_scripted_is_the_same():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(latent_noise), buffer)
        buffer.seek(0)
        scripted = torch.jit.load(buffer)
    seeds = torch.tensor([0, 7, PRIME - 1, 2**40])
    assert torch.equal(scripted(seeds, 3, 5, 2, 4, 3), latent_noise(seeds, 3, 5, 2, 4, 3))


def mixed(number: int) -> int:
    """The hash in Python's unbounded integers."""
    for constant in (1640531527, 1013904223, 747796405, 1540483477):
        number = pow(number + constant, 5, PRIME)
    return number


def test_the_hash_is_a_permutation_that_integers_reproduce():
    given = [0, 1, 2, PRIME - 2, PRIME - 1, 123456789]
    assert _hash(torch.tensor(given)).tolist() == [mixed(number) for number in given]
    assert _hash(torch.arange(PRIME - 200_000, PRIME)).unique().numel() == 200_000


@pytest.mark.parametrize("seed", [0, 2026, 2**40])
def test_is_box_and_muller_of_the_hash(seed):
    expected = []
    for sample in (3, 4):
        key = mixed(mixed(seed % PRIME) + sample)
        for position in range(2 * 3 * 2):
            radius, angle = (mixed((key + mixed(2 * position + part)) % PRIME) for part in (0, 1))
            size = math.sqrt(-2 * math.log((radius + 1) / 2**31))
            expected.append(size * math.cos(2 * math.pi * angle / 2**31))
    z = noise((seed,), 2, 2, 3, 2, first=3).flatten()
    torch.testing.assert_close(z, torch.tensor(expected), rtol=0, atol=2e-5)


def test_values_that_stay():
    """The numbers of this release; exported networks and published tables depend on them."""
    expected = [-0.428576, 0.109309, -0.374467, -0.132914, -1.81663, 0.820976, 0.887442, -0.17366]
    values = latent_noise(torch.tensor([0, 2026]), 1, 2, 1, 1, 2).flatten()
    torch.testing.assert_close(values, torch.tensor(expected), rtol=0, atol=1e-5)
