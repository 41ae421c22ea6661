"""What distinguishes the fixed laws, each against a closed form, an explicit construction or another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import magnitude

from infomri_monai.sampling import Equispaced, PoissonDisk, Radial, Spectrum, UniformRandom, VariableDensity
from infomri_monai.sampling.draw import (
    centre_block,
    centre_distance,
    draw_exactly,
    position_count,
    scale_to_count,
    top_count,
)
from infomri_monai.sampling.policy import interpolate_positions


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- shared helpers


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.integers(-3, 3), min_size=1, max_size=12),  # many ties
    share=st.floats(0, 1),
)
def test_top_count_marks_the_largest_and_breaks_ties_by_index(values, share):
    count = round(share * len(values))
    marked = top_count(torch.tensor([values], dtype=torch.float32), torch.tensor([count]))[0]
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]
    assert sorted(marked.nonzero().flatten().tolist()) == sorted(expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30), st.data())
def test_scale_to_count_solves_the_water_filling_equation(weights, data):
    count = data.draw(st.integers(1, len(weights)))
    weight = torch.tensor(weights, dtype=torch.float64)
    p = scale_to_count(weight, torch.tensor([count]))[0].double()
    assert float(p.sum()) == pytest.approx(count, rel=1e-5)
    free = p < 1 - 1e-6
    factors = (p / weight)[free]
    if factors.numel():
        torch.testing.assert_close(factors, factors[:1].expand_as(factors), rtol=1e-4, atol=0)
        assert bool((weight[~free] * factors[0] >= 1 - 1e-4).all())


def test_scale_to_count_by_bisection():
    weight = (1 - torch.linspace(0, 0.99, 500, dtype=torch.float64)) ** 6
    low, high = 0.0, 1e15
    for _ in range(300):
        middle = (low + high) / 2
        low, high = (middle, high) if float((middle * weight).clamp_max(1).sum()) < 100 else (low, middle)
    expected = (low * weight).clamp_max(1)
    torch.testing.assert_close(scale_to_count(weight, torch.tensor([100]))[0].double(), expected, rtol=1e-5, atol=1e-7)


def test_draw_exactly_by_enumeration():
    # three positions, one taken: P(i) = P(key_i is the largest) by numerical integration over the logistic keys
    p = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    x = torch.linspace(-40, 40, 200001, dtype=torch.float64)
    shift = torch.logit(p).unsqueeze(1)
    cdf = torch.sigmoid(x - shift)
    pdf = cdf * (1 - cdf)
    others = torch.stack([cdf[[j for j in range(3) if j != i]].prod(0) for i in range(3)])
    expected = torch.trapezoid(pdf * others, x)
    masks = draw_exactly(p.float().expand(40000, 3), torch.ones(40000, dtype=torch.long), seeded())
    torch.testing.assert_close(masks.mean(0).double(), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("grid", [(8, 8), (7, 12), (1, 9), (6, 1)])
def test_centre_distance_by_loops(grid):
    expected = [
        sum((abs(i - n // 2) / (n / 2)) ** 2 for i, n in zip(index, grid, strict=True)) ** 0.5
        for index in np.ndindex(*grid)
    ]
    torch.testing.assert_close(centre_distance(grid), torch.tensor(expected, dtype=torch.float32))


def test_position_count_rounds_to_the_nearest():
    assert position_count(torch.tensor([0.3, 0.26, 0.001, 1.0]), 10).tolist() == [3, 3, 1, 10]


@pytest.mark.parametrize("grid", [(16, 16), (15, 20), (1, 9)])
def test_centre_block_holds_dc_and_the_fraction(grid):
    block = centre_block(grid, torch.tensor([grid[0] * grid[1]] * 2), 0.25, 0.0).reshape(2, *grid)
    assert bool(block[:, grid[0] // 2, grid[1] // 2].all())
    sides = [n if n == 1 else round(n * 0.25 ** (1 / sum(m > 1 for m in grid))) for n in grid]
    assert int(block[0].sum()) == sides[0] * sides[1]


# ---- interpolation


@pytest.mark.parametrize(("old", "new"), [((8, 8), (16, 16)), ((9, 8), (5, 30)), ((10,), (7,)), ((1, 12), (1, 18))])
def test_interpolation_keeps_linear_functions_of_k(old, new):
    def linear(grid):
        axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / n for n in grid]
        return sum((i + 1) * k for i, k in enumerate(torch.meshgrid(*axes, indexing="ij")))

    result, expected = interpolate_positions(linear(old), new), linear(new)
    inside = torch.ones(new, dtype=torch.bool)
    for axis, (n, m) in enumerate(zip(old, new, strict=True)):
        k = (torch.arange(m) - m // 2) / m
        fits = (k >= -(n // 2) / n - 1e-9) & (k <= (n - 1 - n // 2) / n + 1e-9)
        inside &= fits.reshape([-1 if a == axis else 1 for a in range(len(new))])
    torch.testing.assert_close(result[inside], expected[inside])
    assert result.shape == new


def test_interpolation_to_the_same_grid_is_the_identity():
    pattern = torch.rand(3, 7, 10)
    assert torch.equal(interpolate_positions(pattern, (7, 10)), pattern)


def test_interpolation_refuses_an_empty_grid():
    with pytest.raises(ValueError, match="positions"):
        interpolate_positions(torch.rand(4, 4), (4, 0))


# ---- variable density


def test_variable_density_is_the_clipped_polynomial():
    p = VariableDensity(power=4)(0.2, (30, 41), seeded()).probabilities[0, 0].flatten().double()
    distance = centre_distance((30, 41)).double()
    law = (1 - distance / distance.max()) ** 4
    free = (p < 1) & (law > 1e-6)
    torch.testing.assert_close((p / law)[free], (p / law)[free][:1].expand(int(free.sum())), rtol=1e-3, atol=0)
    assert float(p[~free & (law > 1e-6)].min()) == 1


def test_variable_density_without_fall_off_is_uniform():
    sample = VariableDensity(power=0)(0.25, (16, 16))
    torch.testing.assert_close(sample.probabilities, torch.full((1, 1, 16, 16), 0.25))


def test_variable_density_centre_is_always_acquired():
    mask = VariableDensity(power=1, center_fraction=0.04)([0.1] * 8, (50, 50), seeded()).mask
    assert bool((mask[:, 0, 20:30, 20:30] == 1).all())
    scaled = VariableDensity(power=0, center_share=0.5)([0.08, 0.32], (50, 50), seeded()).probabilities
    assert (scaled == 1).flatten(1).sum(1).tolist() == [100, 400]


@pytest.mark.parametrize("policy", [VariableDensity(center_fraction=0.3), Equispaced(center_fraction=0.3)])
def test_centre_larger_than_the_ratio_is_refused(policy):
    with pytest.raises(ValueError, match=r"center_fraction=0\.3.* more than the"):
        policy([0.5, 0.1], (20, 20))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: VariableDensity(power=-1), "power"),
        (lambda: VariableDensity(power=float("nan")), "power"),
        (lambda: VariableDensity(center_fraction=1.0), "center_fraction"),
        (lambda: VariableDensity(center_share=-0.1), "center_share"),
        (lambda: VariableDensity(center_share=0.1, center_fraction=0.1), "got both"),
        (lambda: VariableDensity(readout_axis=-1), "readout_axis"),
        (lambda: UniformRandom(readout_axis=2)(0.5, (8, 8)), "readout_axis"),
        (lambda: Equispaced(readout_axis=None), "readout_axis"),
        (lambda: Equispaced()(0.5, (8, 8, 8)), "2 axes"),
        (lambda: Equispaced(center_fraction=2), "center_fraction"),
        (lambda: PoissonDisk(slope=-1), "slope"),
        (lambda: PoissonDisk()(0.5, (8, 8, 8)), "plane"),
        (lambda: PoissonDisk(readout_axis=0)(0.5, (8, 8)), "plane"),
        (lambda: Radial()(0.5, (8,)), "2 axes"),
        (lambda: Spectrum(torch.ones(4, 4, dtype=torch.complex64)), "magnitude"),
        (lambda: Spectrum(-torch.ones(4, 4)), "magnitude"),
        (lambda: Spectrum(torch.full((4, 4), torch.nan)), "magnitude"),
        (lambda: Spectrum(torch.ones(4, 4), readout_axis=2), "readout_axis"),
    ],
)
def test_bad_arguments_are_refused_by_name(build, name):
    with pytest.raises(ValueError, match=name):
        build()


# ---- equispaced


@settings(deadline=None, max_examples=40)
@given(lines=st.integers(2, 80), count=st.integers(1, 80), seed=st.integers(0, 1000))
def test_equispaced_gaps_differ_by_at_most_one(lines, count, seed):
    count = min(count, lines)
    mask = Equispaced(readout_axis=0)(count / lines, (4, lines), seeded(seed)).mask[0, 0, 0]
    taken = mask.nonzero().flatten()
    assert len(taken) == count
    gaps = torch.diff(taken, append=taken[:1] + lines)  # around the edge
    assert int(gaps.max() - gaps.min()) <= 1


def test_equispaced_centre_that_uses_the_whole_ratio():
    # MONAI's equispaced mask divides by zero here: the centre times the acceleration is 1
    mask = Equispaced(readout_axis=0, center_fraction=0.25)(0.25, (8, 16)).mask[0, 0, 0]
    assert mask.nonzero().flatten().tolist() == [6, 7, 8, 9]


# ---- radial


def test_radial_is_the_union_of_drawn_spokes():
    n, ratio = 64, 0.1
    mask = Radial()(ratio, (n, n), seeded(3)).mask[0, 0]
    start = float(torch.rand(1, generator=seeded(3))) * np.pi
    drawn = np.zeros((n, n), bool)
    spokes = 0
    while drawn.sum() < mask.sum():
        before = drawn.copy()
        angle = start + spokes * np.deg2rad(111.24611797)
        for t in np.arange(-46, 47):
            y, x = round(float(np.sin(angle) * t)) + n // 2, round(float(np.cos(angle) * t)) + n // 2
            if 0 <= y < n and 0 <= x < n:
                drawn[y, x] = True
        spokes += 1
    acquired = mask.bool().numpy()
    assert (acquired & ~drawn).sum() <= 2  # rounding at half positions
    assert (before & ~acquired).sum() <= 2  # all spokes but the last are complete
    assert acquired[n // 2, n // 2]


def test_radial_starts_at_any_angle():
    masks = Radial()([0.05] * 400, (33, 33), seeded()).mask[:, 0]
    ring = (centre_distance((33, 33)).reshape(33, 33) - 0.8).abs() < 0.05
    frequency = masks.mean(0)[ring]
    assert float(frequency.std() / frequency.mean()) < 0.5


# ---- spectrum


def test_spectrum_is_top_k():
    energy = magnitude((12, 15))
    mask = Spectrum(energy)(0.2, (12, 15)).mask[0, 0].bool()
    assert int(mask.sum()) == 36
    assert float(energy[mask].min()) > float(energy[~mask].max())


def test_spectrum_of_lines_ranks_their_mean_energy():
    energy = torch.tensor([[3.0, 0.0, 2.0], [0.0, 2.5, 2.0]])  # squares: 9, 6.25, 8
    assert Spectrum(energy, readout_axis=0)(2 / 3, (2, 3)).mask.flatten().tolist() == [1, 0, 1]


def test_spectrum_on_another_grid_keeps_its_shape():
    other = Spectrum(magnitude((32, 32))).for_grid((64, 48))
    mask = other(0.2, (64, 48)).mask[0, 0]
    expected = Spectrum(magnitude((64, 48)))(0.2, (64, 48)).mask[0, 0]
    assert float((mask - expected).abs().mean()) < 0.02
