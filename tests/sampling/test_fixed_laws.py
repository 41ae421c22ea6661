"""What distinguishes the fixed laws, each against a closed form, an explicit construction or another library.

Blue noise of the Poisson-disk law.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from helper import refusals, refuses, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.utils import OptionalImportError
from policies import magnitude
from scipy.spatial.distance import pdist, squareform

from infomri_monai.acquisition.fourier import image_to_kspace
from infomri_monai.sampling import Equispaced, PoissonDisk, Radial, Spectrum, UniformRandom, VariableDensity
from infomri_monai.sampling.darts import largest_scale, throw_darts
from infomri_monai.sampling.draw import centre_distance, draw_exactly, position_count, scale_to_count, top_count
from infomri_monai.sampling.policy import interpolate_positions

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


# ---- variable density


def test_variable_density_is_the_clipped_polynomial():
    p = VariableDensity(power=4)(0.2, (30, 41), seeded()).probabilities[0, 0].flatten().double()
    distance = centre_distance((30, 41)).double()
    law = (1 - distance / distance.max()) ** 4
    free = (p < 1) & (law > 1e-6)
    torch.testing.assert_close((p / law)[free], (p / law)[free][:1].expand(int(free.sum())), rtol=1e-3, atol=0)
    assert float(p[~free & (law > 1e-6)].min()) == 1


def test_variable_density_centre_is_always_acquired():
    mask = VariableDensity(power=1, center_fraction=0.04)([0.1] * 8, (50, 50), seeded()).mask
    assert bool((mask[:, 0, 20:30, 20:30] == 1).all())
    scaled = VariableDensity(power=0, center_share=0.5)([0.08, 0.32], (50, 50), seeded()).probabilities
    assert (scaled == 1).flatten(1).sum(1).tolist() == [100, 400]


@pytest.mark.parametrize("policy", [VariableDensity(center_fraction=0.3), Equispaced(center_fraction=0.3)])
def test_centre_larger_than_the_ratio_is_refused(policy):
    refuses(ValueError, r"center_fraction=0\.3.* more than the", policy, [0.5, 0.1], (20, 20))


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


def fitted(plane: tuple[int, int], count: int, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Mask and radius at every position of a law without smoothing."""
    n = plane[0] * plane[1]
    order = torch.randperm(n, generator=seeded(), dtype=torch.int32).numpy()
    growth = (1 + slope * centre_distance(plane)).numpy()
    mask = np.zeros(n, bool)
    scale = largest_scale(order, growth, np.zeros(n, np.float32), plane, count, mask)
    return mask, (scale * growth).astype(np.float32)


@pytest.mark.parametrize(("plane", "slope"), [((64, 64), 0.0), ((64, 64), 4.0), ((48, 81), 4.0), ((51, 40), 60.0)])
def test_darts_keep_their_distance(plane, slope):
    mask, radius = fitted(plane, plane[0] * plane[1] // 6, slope)
    index = np.flatnonzero(mask)
    assert len(index) == plane[0] * plane[1] // 6
    proportions = np.array(plane) / max(plane)
    place = np.stack(np.unravel_index(index, plane), 1) / proportions
    distance = squareform(pdist(place))
    smaller = np.minimum(radius[index][:, None], radius[index][None])
    pairs = ~np.eye(len(index), dtype=bool)
    assert (distance[pairs] >= smaller[pairs] - 1e-4).all()


def test_darts_by_brute_force():
    plane, n = (14, 11), 154
    order = torch.randperm(n, generator=seeded(1), dtype=torch.int32).numpy()
    radius = (torch.rand(n, generator=seeded(2)) * 3).numpy()
    mask = np.zeros(n, bool)
    stuck = throw_darts(order, radius, plane, n, mask)
    chosen: list[int] = []
    for i in order:
        free = True
        for j in chosen:
            gap = np.abs(np.array(np.unravel_index(i, plane)) - np.array(np.unravel_index(j, plane)))
            gap = np.minimum(gap, np.array(plane) - gap) / (np.array(plane) / max(plane))  # around the edges
            free &= not float((gap**2).sum()) < float(radius[j]) ** 2
        if free:
            chosen.append(int(i))
    assert stuck == len(chosen)
    assert sorted(chosen) == np.flatnonzero(mask).tolist()


def pair_correlation(masks: torch.Tensor) -> torch.Tensor:
    """Frequency of a sampled position at every offset from a sampled one, over the density (periodic)."""
    power = image_to_kspace(masks).abs().square().mean(0)
    n = masks.shape[-1] * masks.shape[-2]
    correlation = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(power))).real
    return correlation * n / (masks.sum((1, 2)).square().mean() / n)


def test_pair_correlation_has_the_hole_that_independent_draws_lack():
    ratios, grid = [0.1] * 30, (64, 64)
    disk = pair_correlation(PoissonDisk(slope=0)(ratios, grid, seeded()).mask[:, 0])
    random = pair_correlation(UniformRandom()(ratios, grid, seeded()).mask[:, 0])
    y, x = np.mgrid[-32:32, -32:32]
    radius = np.hypot(y, x)
    hole, far = (radius > 0) & (radius < 1.9), radius > 12
    assert float(disk[hole].max()) < 0.02
    assert float(random[hole].mean()) == pytest.approx(1, abs=0.1)
    assert float(disk[far].mean()) == pytest.approx(1, abs=0.05)


def test_density_falls_from_the_centre_and_reaches_the_corners():
    masks = PoissonDisk(slope=4)([0.2] * 60, (64, 64), seeded()).mask[:, 0]
    profile = masks.mean(0).flatten()
    ring = (centre_distance((64, 64)) / np.sqrt(2) * 5).long().clamp_max(4)
    density = [float(profile[ring == k].mean()) for k in range(5)]
    assert density == sorted(density, reverse=True)
    corners = torch.stack(
        [masks[:, a, b] for a in (slice(0, 8), slice(-8, None)) for b in (slice(0, 8), slice(-8, None))]
    )
    assert bool((corners.sum((1, 2, 3)) > 0).all())


def test_dc_is_always_acquired():
    for grid in ((31, 20), (16, 16)):
        mask = PoissonDisk()([0.02, 0.1, 0.5], grid, seeded()).mask
        assert bool((mask[:, 0, grid[0] // 2, grid[1] // 2] == 1).all())


def test_discs_in_the_phase_encode_plane_of_a_volume():
    sample = PoissonDisk(readout_axis=1)(0.25, (20, 7, 30), seeded())
    assert sample.mask.shape == (1, 1, 20, 1, 30)
    flat = PoissonDisk()(0.25, (20, 30), seeded())
    assert torch.equal(sample.mask.flatten(), flat.mask.flatten())


def test_missing_numba_is_named(monkeypatch):
    for name in [name for name in sys.modules if name == "infomri_monai.sampling.darts"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    refuses(OptionalImportError, r"infomri-monai\[poisson\]", PoissonDisk(), 0.25, (16, 16))


test_refuses = refusals(
    (lambda: interpolate_positions(torch.rand(4, 4), (4, 0)), "positions"),
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
)
