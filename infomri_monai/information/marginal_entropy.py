"""Marginal entropy of the measured k-space, the objective of the privacy scenario, in nats."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from infomri_monai.acquisition.symmetry import conjugate_partner
from infomri_monai.arrays import takes

__all__ = ["MarginalEntropy", "measurement_entropy", "pair_entropy", "position_entropy"]

_LOG_2_PI_E = math.log(2 * math.pi * math.e)


@takes(variance_real="real", variance_imag="real", noise_std="scalar")
def position_entropy(variance_real: Tensor, variance_imag: Tensor, noise_std: float) -> Tensor:
    """Entropy of a noisy k-space sample under its Gaussian marginal (equation 34).

    Computed from logarithms, so that neither the variance nor the noise underflows.

    Args:
        variance_real: variance of the real part of noise-free k-space, >= 0, any shape.
        variance_imag: variance of the imaginary part, of the same shape.
        noise_std: standard deviation of the noise per real component, in k-space units, > 0.

    Returns:
        H_i = log(2 pi e) + 1/2 log(v_r + s^2) + 1/2 log(v_m + s^2), nats, of the variances' shape.

    Example:
        >>> import torch
        >>> position_entropy(torch.zeros(1), torch.zeros(1), 1.0)  # noise alone: log(2 pi e)
        tensor([2.8379])
    """
    log_noise = variance_real.new_tensor(2 * math.log(noise_std))
    total = torch.logaddexp(variance_real.log(), log_noise) + torch.logaddexp(variance_imag.log(), log_noise)
    return _LOG_2_PI_E + 0.5 * total


@takes(variance_real="real", variance_imag="real", noise_std="scalar")
def pair_entropy(variance_real: Tensor, variance_imag: Tensor, noise_std: float) -> Tensor:
    """Half the joint entropy of a sample and its conjugate partner: the share of each of the two (equation 35).

    The two hold the same signal, k_-i = conj(k_i) for a real image, and independent noise.

    Args:
        variance_real: as in :func:`position_entropy`.
        variance_imag: as in :func:`position_entropy`.
        noise_std: as in :func:`position_entropy`.

    Returns:
        1/2 H_{i,-i} = log(2 pi e) + 1/4 log[s^2 (2 v_r + s^2)] + 1/4 log[s^2 (2 v_m + s^2)], nats.

    Example:
        >>> import torch
        >>> pair_entropy(torch.zeros(1), torch.zeros(1), 1.0)  # without signal the partner says nothing
        tensor([2.8379])
    """
    both = position_entropy(2 * variance_real, 2 * variance_imag, noise_std)
    return 0.5 * (both + _LOG_2_PI_E) + math.log(noise_std)


class _PairSum(torch.autograd.Function):
    """sum_i m_i (A_i + m_-i D_i) with D_i = D_-i; its gradient A_i + 2 m_-i D_i gathers, where autograd would scatter."""

    @staticmethod
    def forward(ctx: Any, mask: Tensor, single: Tensor, paired: Tensor, partner: Tensor) -> Tensor:
        ctx.save_for_backward(mask, single, paired, partner)
        # no matrix product: autocast would round it to half precision
        return torch.addcmul(single, mask.index_select(1, partner), paired).mul_(mask).sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        mask, single, paired, partner = ctx.saved_tensors
        slope = torch.addcmul(single, mask.index_select(1, partner), paired, value=2)
        return gradients[0].unsqueeze(1) * slope, None, None, None


@takes(mask="mask", position="real", pair="real")
def measurement_entropy(mask: Tensor, position: Tensor, pair: Tensor) -> Tensor:
    """Ĥ(Y|m) from the entropies of its parts (equation 37), summed over the measured positions.

    Linear in every m_i, so that its derivative at a 0/1 mask is the entropy that measuring position i adds. Self-conjugate
    positions (DC, Nyquist) are the same scalar as their partner and count once, by ``position`` (decision 16).

    Args:
        mask: 0/1 (relaxed only where it requires a gradient), shape (batch, 1, *spatial); a 1D mask has size 1 along its
            read-out axis.
        position: H_i, centred, shape ``spatial``.
        pair: 1/2 H_{i,-i}, centred, shape ``spatial``.

    Returns:
        Nats per mask, shape (batch,), in the mask's dtype (float32 for half precision).

    Raises:
        ValueError: if the mask's shape does not fit the grid of ``position``.

    Example:
        >>> import torch
        >>> mask = torch.tensor([[[0.0, 1, 1, 1]], [[0.0, 1, 1, 0]]])  # a pair and DC; one of the pair and DC
        >>> measurement_entropy(mask, torch.full((4,), 3.0), torch.full((4,), 2.0))
        tensor([7., 6.])
    """
    grid = tuple(position.shape)
    axes = _readout_axes(mask, grid)
    dims = len(grid)
    # of complex images the entropies of i and -i differ, and D must be the same for both
    paired = pair - 0.5 * (position + conjugate_partner(position, dims))
    index = torch.arange(position.numel(), device=position.device).reshape(grid)
    paired = torch.where(conjugate_partner(index, dims) == index, 0, paired)
    single = position
    if axes:
        single, paired = single.sum(axes, keepdim=True), paired.sum(axes, keepdim=True)
        index = torch.arange(single.numel(), device=position.device).reshape(single.shape)
    partner = conjugate_partner(index, dims)
    own = partner == index
    # a line that is its own partner brings both of its pairs' positions at once: m^2 = m
    single, paired = torch.where(own, single + paired, single), torch.where(own, 0, paired)
    dtype = mask.dtype if mask.dtype in (torch.float32, torch.float64) else torch.float32
    return _PairSum.apply(
        mask.flatten(1).to(dtype), single.flatten().to(dtype), paired.flatten().to(dtype), partner.flatten()
    )


def _readout_axes(mask: Tensor, grid: tuple[int, ...]) -> list[int]:
    """Axes along which a 1D mask has size 1, after checking the mask's shape."""
    if mask.ndim == len(grid) + 2 and mask.shape[1] == 1:
        differing = [axis for axis, n in enumerate(grid) if mask.shape[axis + 2] != n]
        if len(differing) <= min(1, len(grid) - 1) and all(mask.shape[axis + 2] == 1 for axis in differing):
            return differing
    raise ValueError(
        f"mask must have shape (batch, 1, *{grid}), with size 1 along the read-out axis of a 1D policy, as the k-space "
        f"statistics are of the grid {grid}; got {tuple(mask.shape)}."
    )


class MarginalEntropy(nn.Module):
    """Estimate Ĥ(Y|m) of the entropy of the measurements, differentiable in the mask (equations 36 and 37).

    Positions are independent Gaussians with the variances of the training set; a position and its conjugate partner, both
    measured, hold the same signal twice. That is the case of real-valued images only: with phase the partners say more than
    this estimate grants (their variances may then differ; a pair takes the mean of the two). The noise must be positive,
    because two noise-free copies of one value have the entropy minus infinity.

    Nothing is stored in a checkpoint: the maps follow from the data's statistics.

    Args:
        variance_real: variance of the real part of noise-free k-space over the training set, centred, shape ``spatial``.
        variance_imag: variance of the imaginary part.
        noise_std: standard deviation of the noise per real component, in the units of the variances' square root, > 0.

    Raises:
        ValueError: if the variances differ in shape, are negative or not finite, or ``noise_std`` is not a positive number.

    References:
        InfoMRI, section III-E, equations (33) to (37).

    Example:
        >>> import torch
        >>> entropy = MarginalEntropy(torch.ones(4, 4), torch.ones(4, 4), noise_std=1e-3)
        >>> one, pair = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> one[0, 0, 1, 1] = pair[0, 0, 1, 1] = pair[0, 0, 3, 3] = 1
        >>> entropy(one), entropy(pair)  # the partner takes entropy away
        (tensor([2.8379]), tensor([-7.4466]))
    """

    position: Tensor
    pair: Tensor

    @takes(variance_real="real", variance_imag="real", noise_std="scalar")
    def __init__(self, variance_real: Tensor, variance_imag: Tensor, noise_std: float) -> None:
        super().__init__()
        self.noise_std = _check_noise(noise_std)
        _check_variances(variance_real, variance_imag)
        self.grid = tuple(variance_real.shape)
        real, imag = (v.detach().to(torch.float64) for v in (variance_real, variance_imag))
        shared = [0.5 * (v + conjugate_partner(v, len(self.grid))) for v in (real, imag)]
        position = position_entropy(real, imag, self.noise_std)
        index = torch.arange(real.numel(), device=real.device).reshape(self.grid)
        own = conjugate_partner(index, len(self.grid)) == index
        self.register_buffer("position", position, persistent=False)
        pair = torch.where(own, position, pair_entropy(shared[0], shared[1], self.noise_std))
        self.register_buffer("pair", pair, persistent=False)

    @takes(mask="mask")
    def forward(self, mask: Tensor) -> Tensor:
        """Entropy of the measurements of every mask.

        Args:
            mask: 0/1 (relaxed only where it requires a gradient), shape (batch, 1, *spatial); a 1D mask has size 1 along its
                read-out axis. The masks' ratios may differ.

        Returns:
            Nats, summed over the measured positions, shape (batch,).

        Raises:
            ValueError: if the mask's shape does not fit the grid of the statistics.
        """
        device = getattr(mask, "device", None) if isinstance(mask, Tensor) else None
        return measurement_entropy(mask, self.position.to(device), self.pair.to(device))

    def position_entropy(self) -> Tensor:
        """H_i of a position measured without its partner, nats, float64, shape ``spatial``."""
        return self.position

    def pair_entropy(self) -> Tensor:
        """Share 1/2 H_{i,-i} of a position measured with its partner, nats; H_i at self-conjugate positions."""
        return self.pair


def _check_noise(noise_std: float) -> float:
    if not 0 < noise_std < math.inf:
        raise ValueError(
            f"noise_std must be a finite number > 0, got {noise_std}: without noise the entropy of a position measured with "
            "its conjugate partner is minus infinity, and so is that of a position of zero variance."
        )
    return float(noise_std)


def _check_variances(real: Tensor, imag: Tensor) -> None:
    if real.shape != imag.shape or real.ndim not in (1, 2, 3) or not real.numel():
        raise ValueError(
            "variance_real and variance_imag must have one shape, that of the grid (1, 2 or 3 axes), got "
            f"{tuple(real.shape)} and {tuple(imag.shape)}."
        )
    for name, variance in (("variance_real", real), ("variance_imag", imag)):
        if variance.is_complex() or not bool((torch.isfinite(variance) & (variance >= 0)).all()):
            raise ValueError(f"{name} must be real, finite and >= 0, got a value that is not.")
