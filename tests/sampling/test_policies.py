"""Properties that every sampling policy has, whatever its law.

A frozen policy draws what the policy draws, and nothing changes it.
"""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from helper import refuses, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import CASES, Case
from torch import nn
from torch.utils.data import DataLoader

from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom, save_policy
from infomri_monai.sampling.policy import FrozenPolicy

GRIDS = [(32, 32), (33, 24), (20, 47)]

each_policy = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
each_grid = pytest.mark.parametrize("grid", GRIDS, ids=str)


def positions(case: Case, grid: tuple[int, int]) -> tuple[int, ...]:
    axis = case.make(grid).readout_axis
    return tuple(1 if i == axis else n for i, n in enumerate(grid))


def allowed_error(case: Case, n: int) -> float:
    return (0.5 if case.exact else max(0.5, 1e-3 * n)) / n + 1e-6


@each_policy
@each_grid
def test_masks_are_binary_and_meet_each_ratio(case, grid):
    ratios = [0.1, 0.35, 0.217, 0.9]
    sample = case.make(grid)(ratios, grid, seeded())
    shape = (4, 1, *positions(case, grid))
    assert sample.mask.shape == sample.probabilities.shape == shape
    assert sample.mask.dtype == sample.probabilities.dtype == torch.float32
    assert set(sample.mask.unique().tolist()) <= {0.0, 1.0}
    assert bool(((sample.probabilities >= 0) & (sample.probabilities <= 1)).all())
    n = sample.mask[0].numel()
    mean = sample.probabilities.flatten(1).mean(1)
    assert float((mean - torch.tensor(ratios)).abs().max()) <= 0.5 / n + 1e-4
    realised = sample.mask.flatten(1).mean(1)
    torch.testing.assert_close(realised, sample.ratio)
    assert float((realised - torch.tensor(ratios)).abs().max()) <= allowed_error(case, n)


@each_policy
def test_probabilities_are_the_frequencies_of_many_masks(case):
    draws, grid = 800, (24, 20)
    sample = case.make(grid)([0.3] * draws, grid, seeded())
    frequency, p = sample.mask.mean(0), sample.probabilities.mean(0)
    if case.bias is None:
        assert torch.equal(frequency, p)
    else:
        noise = float((p * (1 - p) / draws).sqrt().mean())
        assert float((frequency - p).abs().mean()) <= case.bias + noise


@each_policy
def test_certain_and_impossible_positions_are_honest(case):
    if case.approximate:
        return
    sample = case.make((24, 20))([0.3] * 50, (24, 20), seeded())
    assert bool((sample.mask[sample.probabilities == 1] == 1).all())
    assert bool((sample.mask[sample.probabilities == 0] == 0).all())


@each_policy
def test_the_seed_decides_the_mask(case):
    policy, grid = case.make((32, 24)), (32, 24)
    first, again, other = (policy([0.25, 0.3], grid, seeded(seed)).mask for seed in (1, 1, 2))
    assert torch.equal(first, again)
    if case.bias is not None:
        assert not torch.equal(first, other) or first.shape[2:].numel() < 33  # equispaced lines have few offsets
        assert not torch.equal(first, policy([0.25, 0.3], grid, seeded(7)).mask)


@each_policy
def test_the_global_generator_serves_when_none_is_given(case):
    policy = case.make((16, 16))
    torch.manual_seed(3)
    first = policy(0.3, (16, 16)).mask
    torch.manual_seed(3)
    assert torch.equal(first, policy(0.3, (16, 16)).mask)


@each_policy
def test_ratio_one_acquires_everything(case):
    sample = case.make((24, 20))(1.0, (24, 20), seeded())
    assert bool((sample.mask == 1).all())
    assert float(sample.probabilities.min()) > 0.99


@each_policy
def test_the_smallest_ratio_acquires_one_position(case):
    n = torch.Size(positions(case, (12, 10))).numel()
    assert float(case.make((12, 10))(1 / n, (12, 10), seeded()).mask.sum()) == 1


@each_policy
@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.1, float("nan"), [], [0.2, 2.0]])
def test_ratio_outside_its_range_is_refused(case, ratio):
    refuses(ValueError, "ratio", case.make((16, 16)), ratio, (16, 16))


@each_policy
def test_ratio_below_one_position_is_refused(case):
    refuses(ValueError, "cannot be met on grid", case.make((16, 16)), 0.001, (16, 16))


@each_policy
def test_grid_of_the_policy_is_respected(case):
    policy = case.make((16, 16))
    if policy.grid is None:
        assert policy.for_grid((40, 30)) is policy
        assert policy(0.3, (40, 30)).mask.shape[0] == 1
    else:
        refuses(ValueError, r"\(40, 30\) differs .*for_grid", policy, 0.3, (40, 30))
        assert policy.for_grid((16, 16)) is policy
        assert policy.for_grid((40, 30)).grid == (40, 30)
        assert policy.grid == (16, 16)
        refuses(ValueError, "2 axes", policy.for_grid, (16, 16, 16))
    refuses(ValueError, "shape", policy.for_grid, (0, 16))


@each_policy
def test_config_and_state_rebuild_the_policy(case):
    policy = case.make((24, 20))
    twin = type(policy)(**policy.config())
    twin.load_state_dict(policy.state_dict())
    for copied in (twin, pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy)):
        assert torch.equal(copied([0.2, 0.4], (24, 20), seeded()).mask, policy([0.2, 0.4], (24, 20), seeded()).mask)


@each_policy
@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_masks_live_where_the_ratios_do(case, device):
    policy = case.make((16, 16)).to(device)
    ratio = torch.tensor([0.3, 0.5], device=device)
    sample = policy(ratio, (16, 16), torch.Generator(device).manual_seed(0))
    assert {tensor.device.type for tensor in sample} == {device}
    assert float((sample.ratio - ratio).abs().max()) <= 0.5 / sample.mask[0].numel() + 1e-6


@each_policy
@settings(deadline=None, max_examples=15)
@given(ratio=st.floats(0.02, 1.0), height=st.integers(8, 40), width=st.integers(8, 40), seed=st.integers(0, 2**31 - 1))
def test_any_ratio_on_any_grid_is_exact(case, ratio, height, width, seed):
    grid = (height, width)
    n = torch.Size(positions(case, grid)).numel()
    if ratio * n < 1:
        return
    sample = case.make(grid)(ratio, grid, seeded(seed))
    assert abs(float(sample.mask.sum()) / n - ratio) <= allowed_error(case, n)


# torch warns that a process with threads is forked; what is tested is that the policies survive it
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_policies_work_in_forked_workers():
    policies = [case.make((16, 16)) for case in CASES.values()]
    draw = lambda chosen: [float(policy(0.3, (16, 16), seeded(5)).mask.sum()) for policy in chosen]  # noqa: E731
    there = DataLoader(policies, batch_size=4, num_workers=2, multiprocessing_context="fork", collate_fn=draw)
    assert [total for batch in there for total in batch] == draw(policies)


def policy(readout_axis=None):
    made = PatternGenerationNetwork((12, 10), readout_axis=readout_axis, ratio_range=(0.1, 0.5))
    with torch.no_grad():
        made.embedding.add_(torch.randn(made.embedding.shape, generator=torch.Generator().manual_seed(0)))
    return made


@pytest.mark.parametrize("axis", [None, 1])
def test_draws_the_policys_masks(axis):
    trained = policy(axis)
    frozen = FrozenPolicy(trained)
    seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
    for a, b in zip(trained([0.2, 0.4], (12, 10), seeds[0]), frozen([0.2, 0.4], (12, 10), seeds[1]), strict=True):
        assert torch.equal(a, b)
    assert (frozen.grid, frozen.ratio_range, frozen.readout_axis) == ((12, 10), (0.1, 0.5), axis)


def test_nothing_reaches_it():
    trained = policy().train()
    before = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    frozen = FrozenPolicy(trained)
    system = nn.Sequential(frozen).train()
    system.requires_grad_(True)
    assert not list(system.parameters())
    assert not system.state_dict()
    assert not frozen.policy.training
    assert trained.training
    assert all(parameter.requires_grad for parameter in trained.parameters())
    sample = frozen(0.25, (12, 10), torch.Generator().manual_seed(0))
    assert not sample.mask.requires_grad
    assert not sample.probabilities.requires_grad
    with torch.no_grad():
        trained.embedding.zero_()  # it is a copy
    assert all(torch.equal(before[key], tensor) for key, tensor in frozen.policy.state_dict().items())


def test_another_grid_is_frozen_too():
    moved = FrozenPolicy(policy()).for_grid((16, 16))
    assert isinstance(moved, FrozenPolicy)
    assert moved(0.25, (16, 16)).mask.shape == (1, 1, 16, 16)
    free = FrozenPolicy(UniformRandom())
    assert free.for_grid((9, 9)) is free


def test_it_stays_on_its_device():
    frozen = FrozenPolicy(policy(), "meta")
    assert frozen.for_grid((16, 16)).policy.embedding.device.type == "meta"
    assert FrozenPolicy(**frozen.config()).policy.embedding.device.type == "meta"


def test_it_is_not_saved(tmp_path):
    refuses(ValueError, "policy must be one of", save_policy, FrozenPolicy(policy()), tmp_path / "policy.pt")
