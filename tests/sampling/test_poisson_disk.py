"""Blue noise of the Poisson-disk law."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from monai.utils import OptionalImportError
from scipy.spatial.distance import pdist, squareform

from infomri_monai.acquisition.fourier import image_to_kspace
from infomri_monai.sampling import PoissonDisk, UniformRandom
from infomri_monai.sampling.darts import largest_scale, throw_darts
from infomri_monai.sampling.draw import centre_distance


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_nearest_neighbours_of_a_drawn_mask_follow_the_radius():
    # nominal radius less the half position of smoothing, for every pair
    mask = PoissonDisk(slope=0)(1 / 16, (96, 96), seeded()).mask[0, 0].numpy()
    place = np.argwhere(mask > 0)
    nearest = (squareform(pdist(place)) + 1e9 * np.eye(len(place))).min(1)
    jammed = np.sqrt(0.65 * 16)  # density = 0.65 / radius^2
    assert nearest.min() >= 0.9 * jammed - 0.5
    assert np.percentile(nearest, 99) < 2 * jammed


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


def test_low_frequencies_of_the_mask_are_blue():
    ratios, grid = [0.1] * 30, (64, 64)
    y, x = np.mgrid[-32:32, -32:32]
    low = (np.hypot(y, x) > 0) & (np.hypot(y, x) < 8)
    disk, random = (
        float(image_to_kspace(policy(ratios, grid, seeded()).mask[:, 0]).abs().square().mean(0)[low].mean())
        for policy in (PoissonDisk(slope=0), UniformRandom())
    )
    assert disk < 0.3 * random


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
    with pytest.raises(OptionalImportError, match=r"infomri-monai\[poisson\]"):
        PoissonDisk()(0.25, (16, 16))
