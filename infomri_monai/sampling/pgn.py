"""The pattern generation network (PGN): one learned law of masks for every sampling ratio, and its warm start from a spectrum."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from infomri_monai.acquisition.symmetry import conjugate_partner
from infomri_monai.arrays import takes
from infomri_monai.sampling.draw import rescale_probabilities, shift_to_ratio
from infomri_monai.sampling.learned import LearnedPolicy

__all__ = ["PatternGenerationNetwork", "relu_readout", "warm_started_pgn"]

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


class PatternGenerationNetwork(LearnedPolicy):
    """PGN: position embedding and ratio -> 1x1-convolution MLP -> sigmoid -> rescale -> Bernoulli (equations 13-17).

    The MLP has one hidden layer. :meth:`warm_start` only sets E and the MLP's weights, so that the trained module is the
    paper's but for ``rescale``.

    Args:
        grid: spatial grid, e.g. ``(128, 128)``.
        readout_axis: None for 2D; the read-out axis for whole Cartesian lines (the embedding is then per line).
        embedding_width: channels d of the position embedding E.
        hidden: width of the hidden layer.
        logit_slope: probabilities are ``sigmoid(logit_slope * logit)`` (decision 8).
        tolerance: largest accepted difference of realised and wanted ratio (13).
        proposals: parallel proposals of the bounded rejection.
        gradient_slope: steepness of the straight-through gradient; None for the half-weighted one, which suits random starts
            (:func:`~infomri_monai.sampling.draw.straight_through`).
        rescale: how the ratio is met: ``"shift"`` shifts the logits (:func:`shift_to_ratio`), ``"scale"`` is the paper's (17).
        seed: seed of the paper's random initialisation.
        ratio_range: lowest and highest ratio of the training, kept with the policy so that inference can say when a request
            lies outside; nothing is refused.

    Raises:
        ValueError: if the grid is empty, ``embedding_width`` < 1, ``hidden`` < 4, ``logit_slope`` is not positive, ``rescale`` is
            unknown or ``ratio_range`` is not 0 < low <= high <= 1.

    Example:
        >>> import torch
        >>> pgn = PatternGenerationNetwork((32, 32))
        >>> sample = pgn([0.1, 0.25], (32, 32), torch.Generator().manual_seed(0))
        >>> sample.mask.shape, [round(float(r), 2) for r in sample.ratio]
        (torch.Size([2, 1, 32, 32]), [0.1, 0.25])
    """

    def __init__(
        self,
        grid: Sequence[int],
        readout_axis: int | None = None,
        embedding_width: int = 1,
        hidden: int = 16,
        logit_slope: float = 5.0,
        tolerance: float = 1e-3,
        proposals: int = 4,
        gradient_slope: float | None = 10.0,
        rescale: str = "shift",
        seed: int = 0,
        ratio_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__(grid, readout_axis, logit_slope, tolerance, proposals, gradient_slope, seed, ratio_range)
        if embedding_width < 1 or hidden < 4:
            raise ValueError(f"embedding_width must be >= 1 and hidden >= 4, got {embedding_width} and {hidden}.")
        if rescale not in ("shift", "scale"):
            raise ValueError(f"rescale must be 'shift' or 'scale', got {rescale!r}.")
        self.embedding_width, self.hidden, self.rescale = embedding_width, hidden, rescale
        generator = torch.Generator().manual_seed(seed)
        self.embedding = self.start(embedding_width, generator)
        self.hidden_weight = nn.Parameter(self._uniform((hidden, embedding_width + 1), generator))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.output_weight = nn.Parameter(self._uniform((1, hidden), generator))
        self.output_bias = nn.Parameter(torch.zeros(1))

    @staticmethod
    def _uniform(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        bound = 1 / math.sqrt(shape[1])
        return (torch.rand(shape, generator=generator) * 2 - 1) * bound

    def probabilities(self, ratio: Tensor) -> Tensor:
        """p(s) = R_s(sigmoid(MLP([E; s]))), equation (16).

        Args:
            ratio: sampling ratios, shape (batch,).

        Returns:
            Probabilities with mean ``ratio``, shape (batch, 1, *positions), differentiable in the PGN's parameters.
        """
        with torch.autocast(self.embedding.device.type, enabled=False):  # bfloat16 ties neighbouring logits
            # [E; s] through a 1x1 convolution: the part of the positions is the same for all samples
            position = self.embedding.flatten(2)[0].T @ self.hidden_weight[:, :-1].T
            offset = ratio.to(position).unsqueeze(1) * self.hidden_weight[:, -1] + self.hidden_bias
            logit = self.logit_slope * (relu_readout(position, offset, self.output_weight[0]) + self.output_bias)
            logit = logit.unsqueeze(1)
            shifted = self.rescale == "shift"
            p = shift_to_ratio(logit, ratio) if shifted else rescale_probabilities(torch.sigmoid(logit), ratio)
        return p.reshape(-1, 1, *self.embedding.shape[2:])

    def position_parameters(self) -> list[nn.Parameter]:
        """The position embedding."""
        return [self.embedding]

    @torch.no_grad()
    @takes(magnitude="real", asymmetry="scalar", width="scalar")
    def warm_start(self, magnitude: Tensor, asymmetry: float = 1.0, width: float = 0.2) -> PatternGenerationNetwork:
        """Set the embedding and the MLP so that the first masks are near the top-k of a k-space spectrum, at every ratio.

        With q the share of positions that are at least as important as a position, in (0, 1], E = -g log q and the logit is E
        with g = 1 / (logit_slope * width). Under the shifted sigmoid the mask of ratio s is then q < s with a soft edge, and
        learning moves single positions across it. The other hidden units keep their random input weights and start with a zero
        output weight, so that learning can bend the law with the ratio.

        Args:
            magnitude: mean k-space magnitude of the training set, non-negative, shape ``grid``.
            asymmetry: factor, at least 1, by which the energy of one half of k-space counts less. 1 keeps the whole plane.
                Where images are real or nearly so, -k carries what k does, and a start that prefers one half-plane lets the
                learned mask leave the copies out; ``math.inf`` puts all of one half-plane before all of the other.
            width: width of the soft edge, relative to the ratio.

        Returns:
            This policy.

        Raises:
            ValueError: if ``magnitude`` does not fit the grid, is negative or not finite, ``width`` is not positive,
                ``asymmetry`` < 1 or the policy rescales by the paper's (17), under which this start is not near top-k.
        """
        if tuple(magnitude.shape) != self.grid:
            raise ValueError(f"magnitude must have the policy's grid {self.grid}, got {tuple(magnitude.shape)}.")
        if not bool(torch.isfinite(magnitude).all()) or bool((magnitude < 0).any()):
            raise ValueError("magnitude must be finite and non-negative.")
        if not width > 0 or not asymmetry >= 1:
            raise ValueError(f"width must be > 0 and asymmetry >= 1, got {width} and {asymmetry}.")
        if self.rescale != "shift":
            raise ValueError(
                "warm_start needs rescale='shift'; with rescale='scale' start from the paper's initialisation."
            )
        energy = magnitude.to(self.embedding.device, torch.float64).square()
        if self.readout_axis is not None:
            energy = energy.mean(self.readout_axis, keepdim=True)
        score = torch.log(energy + torch.finfo(torch.float64).tiny)
        score = torch.where(_upper_half(energy.shape, energy.device), score, score - min(math.log(asymmetry), 1e6))
        order = score.flatten().argsort(descending=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(1, order.numel() + 1, device=order.device)
        self.embedding.zero_()
        self.embedding[0, 0] = -torch.log(rank / rank.numel()).reshape(score.shape) / (self.logit_slope * width)
        # relu(E) - relu(-E) = E
        self.hidden_weight[:2] = 0
        self.hidden_weight[0, 0], self.hidden_weight[1, 0] = 1.0, -1.0
        self.hidden_bias.zero_()
        self.output_weight.zero_()
        self.output_weight[0, 0], self.output_weight[0, 1] = 1.0, -1.0
        self.output_bias.zero_()
        return self


def _upper_half(positions: Sequence[int], device: torch.device) -> Tensor:
    """One of each pair of conjugate partners (and the self-conjugate positions) on a centred grid."""
    index = torch.arange(math.prod(positions), device=device).reshape(tuple(positions))
    return index >= conjugate_partner(index, len(positions))


@takes(magnitude="real", asymmetry="scalar", width="scalar")
def warm_started_pgn(
    magnitude: Tensor, grid: Sequence[int], asymmetry: float = 1.0, width: float = 0.2, **arguments: Any
) -> PatternGenerationNetwork:
    """Make a PGN and warm-start it.

    Args:
        magnitude: mean k-space magnitude of the training set, shape ``grid``.
        grid: spatial grid.
        asymmetry: see :meth:`PatternGenerationNetwork.warm_start`.
        width: see :meth:`PatternGenerationNetwork.warm_start`.
        **arguments: further arguments of :class:`PatternGenerationNetwork`.

    Example:
        >>> import torch
        >>> pgn = warm_started_pgn(torch.rand(8, 8), (8, 8), readout_axis=0)
        >>> pgn(0.25, (8, 8)).mask.shape
        torch.Size([1, 1, 1, 8])
    """
    return PatternGenerationNetwork(grid, **arguments).warm_start(magnitude, asymmetry, width)
