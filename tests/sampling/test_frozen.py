"""A frozen policy draws what the policy draws, and nothing changes it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from infomri_monai.sampling import PatternGenerationNetwork, UniformRandom, save_policy
from infomri_monai.sampling.policy import FrozenPolicy


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
    trained = policy()
    before = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    frozen = FrozenPolicy(trained)
    system = nn.Sequential(frozen).train()
    system.requires_grad_(True)
    assert not list(system.parameters())
    assert not system.state_dict()
    assert not frozen.policy.training
    sample = frozen(0.25, (12, 10), torch.Generator().manual_seed(0))
    assert not sample.mask.requires_grad
    assert not sample.probabilities.requires_grad
    with torch.no_grad():
        trained.embedding.zero_()  # it is a copy
    assert all(torch.equal(before[key], tensor) for key, tensor in frozen.policy.state_dict().items())


def test_the_given_policy_stays_trainable():
    trained = policy().train()
    FrozenPolicy(trained)
    assert trained.training
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_another_grid_is_frozen_too():
    moved = FrozenPolicy(policy()).for_grid((16, 16))
    assert isinstance(moved, FrozenPolicy)
    assert moved(0.25, (16, 16)).mask.shape == (1, 1, 16, 16)
    free = FrozenPolicy(UniformRandom())
    assert free.for_grid((9, 9)) is free


def test_its_arguments_make_it_again():
    frozen = FrozenPolicy(policy())
    again = FrozenPolicy(**frozen.config())
    masks = [p(0.3, (12, 10), torch.Generator().manual_seed(2)).mask for p in (frozen, again)]
    assert torch.equal(*masks)


def test_it_stays_on_its_device():
    frozen = FrozenPolicy(policy(), "meta")
    assert frozen.for_grid((16, 16)).policy.embedding.device.type == "meta"
    assert FrozenPolicy(**frozen.config()).policy.embedding.device.type == "meta"


def test_it_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="policy must be one of"):
        save_policy(FrozenPolicy(policy()), tmp_path / "policy.pt")
