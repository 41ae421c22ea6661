"""The PGN's hidden layer for a whole batch without keeping, or even making at once, its features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["relu_readout"]

_CHUNK = 4096  # positions whose features of a batch stay in a CPU's cache


def relu_readout(position: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """One hidden layer of rectified units whose input is the sum of a position's and a sample's part, read out to one value.

    ``out[b, n] = sum_h weight[h] * relu(position[n, h] + offset[b, h])``. The features, (batch, n, hidden), are as large as a layer
    of the networks; they are made chunk by chunk, and again in the backward pass.

    Args:
        position: part of every position, the same for all samples, shape (n, hidden).
        offset: part of every sample, shape (batch, hidden).
        weight: read-out weights, shape (hidden,).

    Returns:
        Tensor (batch, n), differentiable once in all three.

    Example:
        >>> import torch
        >>> relu_readout(torch.tensor([[1.0], [-3.0]]), torch.tensor([[1.0]]), torch.tensor([2.0]))
        tensor([[4., 0.]])
    """
    out: Tensor = _ReluReadout.apply(position, offset, weight)
    return out


def _chunks(position: Tensor) -> Iterator[slice]:
    step = position.shape[0] if position.is_cuda else _CHUNK
    return (slice(start, start + step) for start in range(0, position.shape[0], step))


class _ReluReadout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, position: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(position, offset, weight)
        out = position.new_empty(offset.shape[0], position.shape[0])
        for chunk in _chunks(position):
            out[:, chunk] = (position[chunk] + offset.unsqueeze(1)).relu_() @ weight
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor]:
        position, offset, weight = ctx.saved_tensors
        to_position, to_offset = torch.empty_like(position), torch.zeros_like(offset)
        to_weight = torch.zeros_like(weight)
        for chunk in _chunks(position):
            grad = grads[0][:, chunk]
            features = (position[chunk] + offset.unsqueeze(1)).relu_()
            to_weight += grad.reshape(-1) @ features.reshape(-1, features.shape[2])
            active = features.sign_().mul_(grad.unsqueeze(2))  # the gradient where the unit is on, 0 elsewhere
            to_offset += active.sum(1)
            to_position[chunk] = active.sum(0)
        return to_position * weight, to_offset * weight, to_weight
