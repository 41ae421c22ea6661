"""Weights are loaded strictly, and nothing in the file is executed."""

import os
import warnings

import pytest
import torch

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
    with pytest.raises(ValueError, match=message):
        load_network(network, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_extra_tensors_are_refused(path):
    torch.save({**small().state_dict(), "head.weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"unknown head\.weight"):
        load_network(small(), path)


def test_extra_tensors_may_be_ignored_by_the_beginning_of_their_names(path):
    torch.save({**small().state_dict(), "head.weight": torch.ones(2), "header": torch.tensor(float("nan"))}, path)
    load_network(small(), path, ignore=("head.", "header"))
    with pytest.raises(ValueError, match="unknown header"):
        load_network(small(), path, ignore=("head.",))
    with pytest.raises(ValueError, match=r"unknown head\.weight"):
        load_network(small(), path, ignore=("ead.",))


def test_what_the_network_has_is_loaded_even_if_it_would_be_ignored(path):
    loaded = load_network(small(), path, ignore=("phases.", "step_size"))
    expected = torch.load(path, weights_only=True)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    with pytest.raises(ValueError, match=r"lacks phases\.1"):
        load_network(small(phases=2), path, ignore=("phases.",))


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_pickle_that_executes_code_is_refused(tmp_path):
    torch.save({"weight": Malicious(tmp_path / "executed")}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="would execute code"):
        load_network(small(), tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_damaged_files(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load_network(small(), tmp_path / "model.pt")


def test_a_truncated_file(path):
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="damaged"):
        load_network(small(), path)


@pytest.mark.parametrize("content", [{"model": {"weight": torch.ones(1)}}, [torch.ones(1)], {}])
def test_not_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="not a plain state dict"):
        load_network(small(), tmp_path / "model.pt")


def test_torchscript_is_not_a_checkpoint(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="damaged or not a PyTorch checkpoint"):
        load_network(small(), tmp_path / "model.pt")


def test_nan_weights(path):
    state = small().state_dict()
    state["step_size"] = torch.full_like(state["step_size"], float("nan"))
    torch.save(state, path)
    with pytest.raises(ValueError, match="NaN or Inf in step_size"):
        load_network(small(), path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_network(small(), tmp_path / "model.pt")
