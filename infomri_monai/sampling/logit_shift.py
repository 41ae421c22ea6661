"""Meeting the ratio by a common shift of the logits, the alternative to rescaling probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["shift_to_ratio"]

_REACH = 20.0  # sigmoid(+-20) is 0 or 1 in float32
_ITERATIONS = 30
_SMALL_STEP = 1e-4  # |f''| <= |f'|, so that the last Newton step leaves an error of its square, 1e-8


def shift_to_ratio(logits: Tensor, ratio: Tensor) -> Tensor:
    """Probabilities sigmoid(l - tau) whose mean is the sampling ratio.

    The rescaling of equation (17) multiplies: where the mean is above the ratio it takes probability from every
    position, DC included, and a mask that misses DC cannot be reconstructed; the shared offset of the logits then has
    to be learned for every ratio, and drifts. A common shift keeps sure positions sure, and makes the masks of one set
    of logits nested in probability over all ratios. tau is found by a bracketed Newton iteration; its derivative is the
    implicit one, d tau / d l_i = p_i (1 - p_i) / sum_j p_j (1 - p_j).

    Args:
        logits: shape (batch or 1, 1, n).
        ratio: wanted mean, shape (batch,), in (0, 1].

    Returns:
        Probabilities of shape (batch, 1, n).

    Example:
        >>> import torch
        >>> p = shift_to_ratio(torch.tensor([[[0.0, 10.0, -10.0, 0.0]]]), torch.tensor([0.5]))
        >>> [round(float(v), 3) for v in p.flatten()]
        [0.5, 1.0, 0.0, 0.5]
    """
    s = ratio.to(logits).reshape(-1, 1, 1)
    logits = logits.expand(s.shape[0], -1, -1)
    with torch.no_grad():
        tau = _root(logits, s)
        p = torch.sigmoid(logits - tau)
        derivative = (p * (1 - p)).mean(2, keepdim=True).clamp_min(1e-6)
    # one Newton step, which changes nothing in value and carries the implicit derivative
    tau = tau + (torch.sigmoid(logits - tau).mean(2, keepdim=True) - s) / derivative
    return torch.sigmoid(logits - tau)


def _root(logits: Tensor, s: Tensor) -> Tensor:
    """The shift whose mean probability is s, (batch, 1, 1), up to the caller's Newton step.

    Newton's iteration runs on the logit of the mean, which is nearly linear in the shift, and falls back to bisection where it
    leaves the bracket.
    """
    low, high = logits.amin(2, keepdim=True) - _REACH, logits.amax(2, keepdim=True) + _REACH
    tau = (low + high) / 2
    for _ in range(_ITERATIONS):
        p = torch.sigmoid(logits - tau)
        mean = p.mean(2, keepdim=True)
        low, high = torch.where(mean > s, tau, low), torch.where(mean > s, high, tau)
        slope = (mean - p.square_().mean(2, keepdim=True)) / (mean * (1 - mean))
        new = tau + (torch.logit(mean) - torch.logit(s)) / slope
        new = torch.where((new > low) & (new < high), new, (low + high) / 2)  # NaN (0 / 0) bisects too
        step, tau = (new - tau).abs().max(), new
        # on a GPU iterating is cheaper than waiting for the answer
        if not logits.is_cuda and float(step) < _SMALL_STEP:
            break
    return tau
