"""Properties that every sampling policy has, whatever its law."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import CASES, Case
from torch.utils.data import DataLoader, Dataset

GRIDS = [(32, 32), (33, 24), (20, 47)]

each_policy = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
each_grid = pytest.mark.parametrize("grid", GRIDS, ids=str)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    realised = sample.mask.flatten(1).mean(1)
    torch.testing.assert_close(realised, sample.ratio)
    assert float((realised - torch.tensor(ratios)).abs().max()) <= allowed_error(case, n)


@each_policy
def test_probabilities_have_the_ratio_as_mean(case):
    sample = case.make((33, 24))([0.1, 0.5], (33, 24), seeded())
    n = sample.mask[0].numel()
    mean = sample.probabilities.flatten(1).mean(1)
    assert float((mean - torch.tensor([0.1, 0.5])).abs().max()) <= 0.5 / n + 1e-4


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
def test_masks_of_a_batch_differ(case):
    if case.bias is not None:
        masks = case.make((32, 24))([0.3] * 6, (32, 24), seeded()).mask
        assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 1


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
def test_more_ratio_means_more_positions(case):
    ratios = torch.linspace(0.06, 1, 20)
    counts = case.make((24, 20))(ratios, (24, 20), seeded()).mask.flatten(1).sum(1)
    assert bool((counts.diff() >= (0 if case.exact else -1)).all())
    assert counts[-1] > counts[0]


@each_policy
def test_the_smallest_ratio_acquires_one_position(case):
    n = torch.Size(positions(case, (12, 10))).numel()
    assert float(case.make((12, 10))(1 / n, (12, 10), seeded()).mask.sum()) == 1


@each_policy
@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.1, float("nan"), [], [0.2, 2.0]])
def test_ratio_outside_its_range_is_refused(case, ratio):
    with pytest.raises(ValueError, match="ratio"):
        case.make((16, 16))(ratio, (16, 16))


@each_policy
def test_ratio_below_one_position_is_refused(case):
    with pytest.raises(ValueError, match="cannot be met on grid"):
        case.make((16, 16))(0.001, (16, 16))


@each_policy
def test_grid_of_the_policy_is_respected(case):
    policy = case.make((16, 16))
    if policy.grid is None:
        assert policy.for_grid((40, 30)) is policy
        assert policy(0.3, (40, 30)).mask.shape[0] == 1
    else:
        with pytest.raises(ValueError, match=r"\(40, 30\) differs .*for_grid"):
            policy(0.3, (40, 30))
        assert policy.for_grid((16, 16)) is policy
        assert policy.for_grid((40, 30)).grid == (40, 30)
        assert policy.grid == (16, 16)
        with pytest.raises(ValueError, match="2 axes"):
            policy.for_grid((16, 16, 16))
    with pytest.raises(ValueError, match="shape"):
        policy.for_grid((0, 16))


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


class MaskDataset(Dataset):
    """One mask per item, drawn in the worker."""

    def __init__(self, policies):
        self.policies = policies

    def __len__(self):
        return len(self.policies)

    def __getitem__(self, index):
        return self.policies[index](0.3, (16, 16), seeded(5)).mask.sum()


# torch warns that a process with threads is forked; what is tested is that the policies survive it
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_policies_work_in_forked_workers():
    policies = [case.make((16, 16)) for case in CASES.values()]
    here = [float(policy(0.3, (16, 16), seeded(5)).mask.sum()) for policy in policies]
    there = DataLoader(MaskDataset(policies), batch_size=4, num_workers=2, multiprocessing_context="fork")
    assert torch.cat(list(there)).tolist() == here
