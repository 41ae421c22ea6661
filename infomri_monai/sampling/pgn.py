"""The pattern generation network: one learned policy for every sampling ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infomri_monai.sampling.bernoulli import rescale_probabilities, sample_within_tolerance
from infomri_monai.sampling.policy import SamplingPolicy

__all__ = ["PatternGenerationNetwork"]


class PatternGenerationNetwork(SamplingPolicy):
    """PGN: position embedding and ratio -> 1x1-convolution MLP -> sigmoid -> rescale -> Bernoulli (equations 13-17).

    The MLP has one hidden layer. Its logit is ``MLP([E; s])`` plus, after :meth:`warm_start`, nothing else: the warm start
    only sets E and the weights, so that the trained module is the paper's.

    Args:
        grid: spatial grid, e.g. ``(128, 128)``.
        readout_axis: None for 2D; the read-out axis for whole Cartesian lines (the embedding is then per line).
        embedding_width: channels d of the position embedding E.
        hidden: width of the hidden layer.
        logit_slope: probabilities are ``sigmoid(logit_slope * logit)`` (decision 8).
        tolerance: largest accepted difference of realised and wanted ratio (13).
        proposals: parallel proposals of the bounded rejection.
        gradient_slope: steepness of the straight-through gradient.
        seed: seed of the paper's random initialisation.

    Raises:
        ValueError: if the grid is empty or ``embedding_width`` or ``hidden`` < 1.

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
        gradient_slope: float = 10.0,
        seed: int = 0,
    ) -> None:
        super().__init__(readout_axis)
        if embedding_width < 1 or hidden < 4:
            raise ValueError(f"embedding_width must be >= 1 and hidden >= 4, got {embedding_width} and {hidden}.")
        self.grid = tuple(int(n) for n in grid)
        self.logit_slope = logit_slope
        self.tolerance = tolerance
        self.proposals = proposals
        self.gradient_slope = gradient_slope
        positions = self.position_shape(self.grid)
        generator = torch.Generator().manual_seed(seed)
        # logits of U(0.01, 0.99) probabilities, the field's start (LOUPE, SeqMRI)
        start = torch.rand((1, embedding_width, *positions), generator=generator) * 0.98 + 0.01
        self.embedding = nn.Parameter(torch.logit(start) / logit_slope)
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
        flat = self.embedding.flatten(2)
        # [E; s] through a 1x1 convolution, with the ratio's column added once per sample instead of once per position
        from_position = torch.einsum("hd,ndp->nhp", self.hidden_weight[:, :-1], flat)
        from_ratio = self.hidden_weight[:, -1] * ratio.to(flat).unsqueeze(1) + self.hidden_bias
        features = F.relu(from_position + from_ratio.unsqueeze(2))
        logit = torch.einsum("oh,nhp->nop", self.output_weight, features) + self.output_bias
        p = rescale_probabilities(torch.sigmoid(self.logit_slope * logit), ratio)
        return p.reshape(-1, 1, *self.embedding.shape[2:])

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw masks by Algorithm 1, steps 3-10."""
        ratio = ratio.to(self.embedding.device)
        p = self.probabilities(ratio)
        mask = sample_within_tolerance(
            p, ratio, self.tolerance, self.proposals, self.gradient_slope, generator
        )
        return mask, p

    @torch.no_grad()
    def warm_start(self, magnitude: Tensor, half_plane: bool = False, width: float = 0.03) -> PatternGenerationNetwork:
        """Set the embedding and the MLP so that the first masks are near the top-k of a k-space spectrum.

        E becomes each position's rank in the spectrum, in [0, 1]. Top-k at ratio s is then ``E > 1 - s``, which the MLP holds
        exactly: logit = (E + s - 1) / (5 * width). The other hidden units keep their random input weights and start with a
        zero output weight, so that learning can bend the law.

        Args:
            magnitude: mean k-space magnitude of the training set, non-negative, shape ``grid``.
            half_plane: put every position of one half-plane behind all of the other, breaking the conjugate symmetry (for
                real-valued images, where the second half carries nothing new).
            width: width of the soft edge, as a share of all positions.

        Returns:
            This policy.

        Raises:
            ValueError: if ``magnitude`` does not fit the grid, is negative or not finite, or ``width`` is not positive.
        """
        if tuple(magnitude.shape) != self.grid:
            raise ValueError(f"magnitude must have the policy's grid {self.grid}, got {tuple(magnitude.shape)}.")
        if not bool(torch.isfinite(magnitude).all()) or bool((magnitude < 0).any()):
            raise ValueError("magnitude must be finite and non-negative.")
        if width <= 0:
            raise ValueError(f"width must be positive, got {width}.")
        energy = magnitude.to(self.embedding).square()
        if self.readout_axis is not None:
            energy = energy.mean(self.readout_axis, keepdim=True)
        if half_plane:
            energy = torch.where(_upper_half(energy.shape, energy.device), energy + energy.max(), energy)
        order = energy.flatten().argsort()
        rank = torch.empty_like(order)
        rank[order] = torch.arange(order.numel(), device=order.device)
        self.embedding[:] = 0
        self.embedding[0, 0] = ((rank + 0.5) / rank.numel()).reshape(energy.shape)
        self.hidden_weight[:2] = 0
        self.hidden_weight[0, 0] = self.hidden_weight[0, -1] = 1.0
        self.hidden_weight[1, 0] = self.hidden_weight[1, -1] = -1.0
        self.hidden_bias[:2] = torch.tensor([-1.0, 1.0])
        self.output_weight.zero_()
        gain = 1 / (self.logit_slope * width)
        self.output_weight[0, :2] = torch.tensor([gain, -gain])
        self.output_bias.zero_()
        return self


def _upper_half(positions: Sequence[int], device: torch.device) -> Tensor:
    """One of each pair of conjugate partners (and the self-conjugate positions) on a centred grid."""
    from infomri_monai.acquisition.symmetry import conjugate_partner

    index = torch.arange(math.prod(positions), device=device).reshape(tuple(positions))
    return index >= conjugate_partner(index, len(positions))
