"""Policies saved and loaded, and files that must not be."""

from __future__ import annotations

import inspect

import pytest
import torch
from helper import refuses
from policies import CASES
from torch import nn

from infomri_monai.sampling import PatternGenerationNetwork, SamplingPolicy, UniformRandom, load_policy, save_policy
from infomri_monai.sampling.checkpoint import POLICIES
from infomri_monai.sampling.policy import FrozenPolicy


class Unregistered(UniformRandom):
    """A policy that no checkpoint may name."""


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_loaded_policy_draws_the_same_masks(case, tmp_path):
    policy = case.make((24, 20))
    loaded = load_policy(save_policy(policy, tmp_path / "policy.pt"))
    assert type(loaded) is type(policy)
    assert loaded.grid == policy.grid
    masks = [p([0.2, 0.5], (24, 20), torch.Generator().manual_seed(0)).mask for p in (policy, loaded)]
    assert torch.equal(*masks)
    assert [path.name for path in tmp_path.iterdir()] == ["policy.pt"]


def test_a_trained_policy_keeps_its_weights(tmp_path):
    policy = PatternGenerationNetwork((8, 8), hidden=5, embedding_width=2, ratio_range=[0.1, 0.3])
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_()
    loaded = load_policy(save_policy(policy, tmp_path / "policy.pt"))
    for name, value in policy.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert loaded.ratio_range == loaded.for_grid((9, 7)).ratio_range == (0.1, 0.3)


@pytest.mark.parametrize("bad", [(0.3, 0.1), (0.0, 0.3), (0.1, 1.2), (0.1,)])
def test_refuses_a_ratio_range(bad):
    refuses(ValueError, "ratio_range must", PatternGenerationNetwork, (8, 8), ratio_range=bad)


def test_the_file_is_plain(tmp_path):
    content = torch.load(save_policy(PatternGenerationNetwork((8, 8)), tmp_path / "p.pt"), weights_only=True)
    assert sorted(content) == ["config", "policy", "state_dict"]
    assert content["config"]["grid"] == [8, 8]


def test_missing_file_and_folder(tmp_path):
    refuses(FileNotFoundError, r"none\.pt", load_policy, tmp_path / "none.pt")
    refuses(FileNotFoundError, "not a file", load_policy, tmp_path)
    refuses(FileNotFoundError, "folder", save_policy, UniformRandom(), tmp_path / "none" / "p.pt")


def test_an_unregistered_class_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="UniformRandom, VariableDensity, got Unregistered"):
        save_policy(Unregistered(), tmp_path / "p.pt")
    assert list(tmp_path.iterdir()) == []


def changed(**entries):
    policy = PatternGenerationNetwork((8, 8))
    return {"policy": type(policy).__name__, "config": policy.config(), "state_dict": policy.state_dict(), **entries}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nn.Conv2d(1, 2, 3).state_dict(), r"not a policy checkpoint.*bias.*network"),
        ([1, 2], "not a policy checkpoint.*list"),
        ({"policy": "UniformRandom"}, "not a policy checkpoint"),
        (changed(policy="Magic"), "'Magic'; known are"),
        (changed(policy=3), "known are"),
        (changed(config={"grid": [8, 8], "colour": 1}), "does not hold a PatternGenerationNetwork.*colour"),
        (changed(config={"grid": [9, 8]}), "size mismatch"),
        (changed(config=None), "does not hold"),
        (changed(state_dict={}), "Missing key"),
        (changed(state_dict={**changed()["state_dict"], "extra": torch.ones(1)}), "Unexpected key"),
        (changed(state_dict=7), "does not hold"),
    ],
)
def test_other_contents_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "p.pt")
    refuses(ValueError, f"(?s){message}", load_policy, tmp_path / "p.pt")


def test_every_concrete_policy_can_be_saved():
    def subclasses(cls):
        return {cls, *(deeper for sub in cls.__subclasses__() for deeper in subclasses(sub))}

    package = {c for c in subclasses(SamplingPolicy) if c.__module__.startswith("infomri_monai.")}
    # a frozen policy wraps one during an audit; what is saved is the policy
    package = {c for c in package - {FrozenPolicy} if not inspect.isabstract(c)}
    assert package == set(POLICIES.values())
