"""Conjugate partners, redundancy and Hermitian completion against the definition and explicit loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helper import GRIDS_1D, GRIDS_2D, GRIDS_3D, random_tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_monai.acquisition import (
    conjugate_partner,
    hermitian_completion,
    image_to_kspace,
    kspace_to_image,
    redundancy_ratio,
    split_by_symmetry,
)

GRIDS = GRIDS_1D + GRIDS_2D + GRIDS_3D


def bernoulli(shape, ratio=0.5, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < ratio).double()


def half_plane(grid):
    """One of every pair of partners, and the self-conjugate positions."""
    index = torch.arange(torch.Size(grid).numel()).reshape(grid)
    return (index >= conjugate_partner(index, len(grid))).double()


def partner_index(index, grid):
    """(N - k) mod N of the unshifted transform (decision 16), position by position."""
    unshifted = [(i - n // 2) % n for i, n in zip(index, grid, strict=True)]
    return tuple(((n - k) % n + n // 2) % n for k, n in zip(unshifted, grid, strict=True))


@pytest.mark.parametrize("grid", GRIDS)
def test_partner_is_the_definition_and_an_involution(grid):
    data = random_tensor(grid, torch.float64)
    partner = conjugate_partner(data, len(grid))
    for index in itertools.product(*map(range, grid)):
        assert partner[index] == data[partner_index(index, grid)]
    assert torch.equal(conjugate_partner(partner, len(grid)), data)
    kspace = image_to_kspace(data, len(grid))  # of a real image
    torch.testing.assert_close(conjugate_partner(kspace, len(grid)), kspace.conj())


@pytest.mark.parametrize("grid", GRIDS)
def test_split_and_ratio_are_the_counts_of_a_loop(grid):
    mask = bernoulli(grid)
    twice, once = split_by_symmetry(mask, len(grid))
    expected = torch.zeros_like(mask)
    for index in itertools.product(*map(range, grid)):
        other = partner_index(index, grid)
        expected[index] = float(mask[index] and mask[other] and other != index)
    assert torch.equal(twice, expected)
    assert torch.equal(once + twice, mask)
    torch.testing.assert_close(redundancy_ratio(mask, len(grid)), expected.sum() / mask.sum())


@pytest.mark.parametrize("grid", GRIDS)
def test_symmetric_mask_is_redundant_but_for_self_conjugates(grid):
    own = 2 ** sum(n % 2 == 0 for n in grid)
    positions = torch.Size(grid).numel()
    full = redundancy_ratio(torch.ones(grid, dtype=torch.float64), len(grid))
    torch.testing.assert_close(full, torch.tensor((positions - own) / positions, dtype=torch.float64))
    assert redundancy_ratio(half_plane(grid), len(grid)) == 0


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.3])
def test_bernoulli_mask_is_redundant_about_its_ratio(ratio):
    values = redundancy_ratio(bernoulli((64, 64, 64), ratio))
    assert values.mean().item() == pytest.approx(ratio, abs=4 * values.std().item() / 8)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_half_a_plane_gives_a_real_image_back(height, width, seed):
    grid = (height, width)
    image = random_tensor((1, 1, *grid), torch.float64, seed)
    mask = half_plane(grid)
    completed, known = hermitian_completion(image_to_kspace(image) * mask, mask)
    assert known.min() == 1
    torch.testing.assert_close(kspace_to_image(completed), image.to(torch.complex128))


@pytest.mark.parametrize("grid", GRIDS_2D)
def test_completion_averages_what_is_measured_twice(grid):
    kspace, mask = random_tensor((1, 1, *grid)), torch.ones(grid, dtype=torch.float64)
    completed, _ = hermitian_completion(kspace, mask)
    torch.testing.assert_close(kspace_to_image(completed).imag, torch.zeros(1, 1, *grid, dtype=torch.float64))
    torch.testing.assert_close(kspace_to_image(completed).real, kspace_to_image(kspace).real)


def test_lines_are_symmetric_along_the_phase_axis():
    lines = torch.tensor([0.0, 1, 1, 1]).reshape(1, 1, 1, 4)  # DC at 2, so 1 and 3 are partners
    assert torch.equal(conjugate_partner(lines), lines)
    torch.testing.assert_close(redundancy_ratio(lines), torch.tensor([[2 / 3]]))
    assert torch.equal(redundancy_ratio(torch.zeros(2, 1, 4, 4)), torch.zeros(2, 1))


@pytest.mark.parametrize("grid", [(5, 7), (4, 6), (1, 8)])
def test_the_completion_feels_a_sample_once(grid):
    """Measuring k makes k and -k known if neither was, and nothing new if one was; a position without a partner only itself."""
    own = conjugate_partner(torch.arange(math.prod(grid)).reshape(grid)) == torch.arange(math.prod(grid)).reshape(grid)
    mask = torch.zeros(grid, dtype=torch.float64)
    measured = (~own).nonzero()[0]
    mask[tuple(measured)] = 1
    partner = conjugate_partner(mask) > 0
    image = random_tensor(grid, torch.float64)
    kspace = image_to_kspace(image)
    mask.requires_grad_()
    completed, known = hermitian_completion(kspace * mask, mask)
    (gradient,) = torch.autograd.grad(known.sum(), mask, retain_graph=True)
    expected = torch.full(grid, 2.0, dtype=torch.float64)
    expected[own], expected[partner] = 1, 0
    torch.testing.assert_close(gradient, expected)
    # the true k-space is symmetric, so that a sample adds its energy as often as it becomes known
    (gradient,) = torch.autograd.grad((completed * kspace.conj()).real.sum(), mask)
    torch.testing.assert_close(gradient, expected * kspace.abs().square())
    full, _ = hermitian_completion(kspace, torch.ones(grid, dtype=torch.float64))
    torch.testing.assert_close(full, kspace)
