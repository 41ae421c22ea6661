"""Entropies of discrete distributions, in nats."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bernoulli_entropy", "categorical_entropy"]


def _entropy_terms(probabilities: Tensor) -> Tensor:
    """-p log p; written out, because torch.special.entr has no form in ONNX."""
    smallest = 1.1754943508222875e-38  # of float32's normal numbers
    return -probabilities * torch.log(probabilities.clamp(min=smallest))


def categorical_entropy(probabilities: Tensor, dim: int = 1) -> Tensor:
    """Entropy -sum p log p over one axis; 0 log 0 is 0.

    Args:
        probabilities: non-negative, sum to 1 over ``dim``.
        dim: axis of the classes.

    Returns:
        Nats, without the axis ``dim``.

    References:
        Cover and Thomas, "Elements of information theory", 2005, equation 2.1.

    Example:
        >>> import torch
        >>> categorical_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
        tensor([0.6931, 0.0000])
    """
    return _entropy_terms(probabilities).sum(dim)


def bernoulli_entropy(probabilities: Tensor) -> Tensor:
    """Entropy of every independent binary variable.

    Args:
        probabilities: of a 1, in [0, 1], any shape.

    Returns:
        Nats, the same shape.

    References:
        Cover and Thomas, "Elements of information theory", 2005, equation 2.5.

    Example:
        >>> import torch
        >>> bernoulli_entropy(torch.tensor([0.5, 1.0]))
        tensor([0.6931, 0.0000])
    """
    return _entropy_terms(probabilities) + _entropy_terms(1 - probabilities)
