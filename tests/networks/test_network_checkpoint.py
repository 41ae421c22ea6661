"""Weights are loaded strictly, and nothing in the file is executed."""

import pytest
import torch
from helper import refuses

from infomri_monai.networks import GaussianUNet, UnrolledReconstructor, load_network


def small(phases=1, channels=4):
    return UnrolledReconstructor(phases=phases, channels=channels)


@pytest.fixture
def path(tmp_path):
    torch.save(small().state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_loads_every_tensor_in_evaluation_mode(path):
    loaded = load_network(small(), path)
    expected = torch.load(path, weights_only=True)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert not loaded.training


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (small(phases=2), "lacks phases.1"),
        (small(channels=8), r"of shape \(4, .*\) instead of \(8, "),
        (GaussianUNet(features=(4, 4, 8, 8, 8, 4)), "another architecture than GaussianUNet"),
    ],
)
def test_another_architecture_is_refused_and_leaves_the_network_alone(path, network, message):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    refuses(ValueError, message, load_network, network, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_extra_tensors_may_be_ignored_by_the_beginning_of_their_names(path):
    torch.save({**small().state_dict(), "head.weight": torch.ones(2), "header": torch.tensor(float("nan"))}, path)
    load_network(small(), path, ignore=("head.", "header"))
    refuses(ValueError, r"unknown head\.weight", load_network, small(), path)
    refuses(ValueError, "unknown header", load_network, small(), path, ignore=("head.",))
    refuses(ValueError, r"unknown head\.weight", load_network, small(), path, ignore=("ead.",))


def test_what_the_network_has_is_loaded_even_if_it_would_be_ignored(path):
    loaded = load_network(small(), path, ignore=("phases.", "step_size"))
    expected = torch.load(path, weights_only=True)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    refuses(ValueError, r"lacks phases\.1", load_network, small(phases=2), path, ignore=("phases.",))


@pytest.mark.parametrize("content", [{"model": {"weight": torch.ones(1)}}, [torch.ones(1)], {}])
def test_not_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    refuses(ValueError, "not a plain state dict", load_network, small(), tmp_path / "model.pt")


def test_nan_weights(path):
    state = small().state_dict()
    state["step_size"] = torch.full_like(state["step_size"], float("nan"))
    torch.save(state, path)
    refuses(ValueError, "NaN or Inf in step_size", load_network, small(), path)


def test_missing_file(tmp_path):
    refuses(FileNotFoundError, "does not exist", load_network, small(), tmp_path / "model.pt")
