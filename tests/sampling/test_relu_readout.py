"""The chunked hidden layer against the layer written out, its gradient against autograd's and finite differences."""

from __future__ import annotations

import pytest
import torch
from helper import random_tensor
from torch.autograd import gradcheck

from infomri_monai.sampling import pgn as module
from infomri_monai.sampling.pgn import relu_readout


def arguments(n, batch=3, hidden=5):
    shapes = ((n, hidden), (batch, hidden), (hidden,))
    return [random_tensor(shape, torch.float64, seed).requires_grad_() for seed, shape in enumerate(shapes)]


def written_out(position, offset, weight):
    return torch.einsum("bnh,h->bn", torch.relu(position[None] + offset[:, None]), weight)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 33])
def test_is_the_layer_written_out_in_value_and_gradient(n, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 8)
    ours, theirs = arguments(n), arguments(n)
    out, expected = relu_readout(*ours), written_out(*theirs)
    torch.testing.assert_close(out, expected)
    cotangent = random_tensor(out.shape, torch.float64, 9)
    for gradient, reference in zip(
        torch.autograd.grad(out, ours, cotangent), torch.autograd.grad(expected, theirs, cotangent), strict=True
    ):
        torch.testing.assert_close(gradient, reference)


def test_gradient_by_finite_differences():
    assert gradcheck(relu_readout, arguments(6))
