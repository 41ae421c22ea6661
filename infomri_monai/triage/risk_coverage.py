"""Does the agreement of samples find the cases that go wrong? Risk-coverage curve, its area, and what a review removes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from infomri_monai.arrays import as_values, takes

__all__ = ["RiskCoverage", "check_cases", "risk_coverage", "share_removed"]


class RiskCoverage(NamedTuple):
    """A risk-coverage curve beside the best possible one.

    Attributes:
        coverage: share of the cases kept, most certain first, (cases,): 1 / n, 2 / n, ..., 1.
        risk: mean risk of the cases kept, (cases,).
        perfect_risk: the same if the cases were kept in the order of their true risk.
    """

    coverage: Tensor
    risk: Tensor
    perfect_risk: Tensor

    @property
    def area(self) -> float:
        """Mean of the curve over its points (AURC), in the unit of the risk."""
        return float(self.risk.mean())

    @property
    def excess(self) -> float:
        """Area above that of the perfect order (E-AURC), >= 0."""
        return self.area - float(self.perfect_risk.mean())

    @property
    def random(self) -> float:
        """Expected area of a score that knows nothing: the mean risk of all cases."""
        return float(self.risk[-1])


def check_cases(name: str, agreement: Tensor | Sequence[float], quality: Tensor | Sequence[float]) -> list[Tensor]:
    """Both as finite float64 tensors of one length.

    Raises:
        ValueError: if they are not one-dimensional, empty, of different lengths or not finite; ``name`` names the second.
    """
    both = (("agreement", agreement), (name, quality))
    pair = [as_values(values, what).detach().cpu().double() for what, values in both]
    if any(values.ndim != 1 for values in pair) or pair[0].shape != pair[1].shape or pair[0].numel() == 0:
        raise ValueError(
            f"agreement and {name} must hold one number per case, shape (cases,) with at least one case, got "
            f"{tuple(pair[0].shape)} and {tuple(pair[1].shape)}."
        )
    for what, values in zip(("agreement", name), pair, strict=True):
        if not bool(values.isfinite().all()):
            raise ValueError(f"{what} must be finite, got {int((~values.isfinite()).sum())} values that are not.")
    return pair


@takes(acceptable="scalar")
def risk_coverage(
    agreement: Tensor | Sequence[float], dice: Tensor | Sequence[float], acceptable: float | None = None
) -> RiskCoverage:
    """Mean risk of the cases kept when the least certain are sent away, for every share kept.

    Cases of equal agreement have no order. The curve is its expected value over a random order among them, so it depends
    neither on the order of the data nor on a sorting routine.

    Args:
        agreement: confidence of every case, higher is surer, (cases,).
        dice: quality of every case in [0, 1], (cases,).
        acceptable: None takes 1 - Dice as a case's risk; a number in (0, 1] takes 1 where Dice < ``acceptable``, else 0, so
            that the risk is the share of bad cases among those kept.

    Returns:
        The curve.

    Raises:
        ValueError: if the two do not fit (see :func:`check_cases`), a Dice is outside [0, 1] or ``acceptable`` outside (0, 1].

    Example:
        >>> curve = risk_coverage([0.9, 0.8, 0.5], [1.0, 0.7, 0.4])
        >>> curve.risk
        tensor([0.0000, 0.1500, 0.3000], dtype=torch.float64)
        >>> round(curve.area, 4), curve.excess
        (0.15, 0.0)

    References:
        Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, ICLR 2019 (AURC, E-AURC).
    """
    confidence, quality = check_cases("dice", agreement, dice)
    if float(quality.min()) < 0 or float(quality.max()) > 1:
        raise ValueError(f"dice must lie in [0, 1], got {float(quality.min()):.4g} to {float(quality.max()):.4g}.")
    if acceptable is not None and not 0 < acceptable <= 1:
        raise ValueError(f"acceptable must lie in (0, 1] or be None, got {acceptable}.")
    risk = 1 - quality if acceptable is None else (quality < acceptable).double()
    coverage = torch.arange(1, len(risk) + 1, dtype=torch.float64) / len(risk)
    return RiskCoverage(coverage, _curve(confidence, risk), _curve(-risk, risk))


def _curve(confidence: Tensor, risk: Tensor) -> Tensor:
    """Mean risk of the 1, 2, ..., n most certain cases; within a tie every case counts with the tie's mean risk."""
    _, group, size = confidence.unique(return_inverse=True, return_counts=True)  # ascending
    mean = torch.zeros(len(size), dtype=risk.dtype).index_add_(0, group, risk) / size
    expected = mean.flip(0).repeat_interleave(size.flip(0))
    return expected.cumsum(0) / torch.arange(1, len(risk) + 1, dtype=torch.float64)


@takes(reviewed="scalar", worst="scalar")
def share_removed(
    agreement: Tensor | Sequence[float], dice: Tensor | Sequence[float], reviewed: float = 0.2, worst: float = 0.1
) -> float:
    """Which share of the worst cases is among the least certain that are sent to review.

    Both sets are shares of the cases exactly: where ``reviewed`` or ``worst`` times the number of cases is not whole, the
    marginal case counts with the fraction, and cases that tie at the margin count alike (the expected value over a random
    order among them). A score that knows nothing is therefore expected at ``reviewed`` whatever the number of cases.

    Args:
        agreement: confidence of every case, higher is surer, (cases,).
        dice: quality of every case, (cases,).
        reviewed: share of the cases sent to review, in (0, 1].
        worst: share of the cases, lowest Dice first, that a review should find, in (0, 1].

    Returns:
        Share in [0, 1].

    Raises:
        ValueError: if a share is outside (0, 1] or the two do not fit (see :func:`check_cases`).

    Example:
        >>> dice = torch.arange(10) / 10.0
        >>> share_removed(dice, dice), share_removed(1 - dice, dice), share_removed(torch.ones(10), dice)
        (1.0, 0.0, 0.2)
    """
    for name, share in (("reviewed", reviewed), ("worst", worst)):
        if not 0 < share <= 1:
            raise ValueError(f"{name} must lie in (0, 1], got {share}.")
    confidence, quality = check_cases("dice", agreement, dice)
    sent, bad = _lowest(confidence, reviewed), _lowest(quality, worst)
    return float((sent * bad).sum() / bad.sum())


def _lowest(values: Tensor, share: float) -> Tensor:
    """Membership in [0, 1] in the lowest ``share`` of the cases; it sums to share * cases."""
    _, group, tied = values.unique(return_inverse=True, return_counts=True)  # ascending
    below = tied.cumsum(0) - tied
    return ((share * len(values) - below.double()) / tied).clamp(0, 1)[group]
