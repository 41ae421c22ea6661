"""The agreement below which a case goes to review: chosen on validation cases, kept in a file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.utils import optional_import
from torch import Tensor

from infomri_monai.arrays import as_values, takes
from infomri_monai.files import atomic_path, null_unless_finite
from infomri_monai.triage.risk_coverage import check_cases

__all__ = ["ReviewThreshold", "check_wish", "choose_threshold", "load_threshold", "save_threshold"]

_beta, _ = optional_import("scipy.stats", name="beta")


class ReviewThreshold(NamedTuple):
    """A threshold on agreement and how it was chosen.

    Attributes:
        threshold: cases with agreement >= threshold are kept; inf sends every case to review.
        error_rate: wanted share of unacceptable cases among those kept, at most.
        measured_error: that share among the validation cases kept; NaN if none is kept.
        kept: share of the validation cases that are kept, in [0, 1].
        cases: number of validation cases.
        acceptable: quality (Dice) from which a case is acceptable.
        confidence: probability with which the error rate holds (see :func:`choose_threshold`); None if it was only measured.
    """

    threshold: float
    error_rate: float
    measured_error: float
    kept: float
    cases: int
    acceptable: float
    confidence: float | None = None

    def needs_review(self, agreement: Tensor | Sequence[float]) -> Tensor:
        """Which cases go to a person, bool of the agreement's shape; an agreement of NaN always does.

        Example:
            >>> chosen = choose_threshold([0.9, 0.8, 0.5], [0.95, 0.9, 0.4], acceptable=0.7, error_rate=0.1)
            >>> chosen.needs_review([0.85, 0.7, float("nan")])
            tensor([False,  True,  True])
        """
        return ~(as_values(agreement, "agreement").double() >= self.threshold)

    def __str__(self) -> str:
        if math.isinf(self.threshold):
            wanted = f"at most {self.error_rate:.4g} of the kept below Dice {self.acceptable:.4g}"
            return f"No agreement threshold gives {wanted} on {self.cases} validation cases: every case goes to review."
        return (
            f"Cases with agreement below {self.threshold:.4f} go to review: on {self.cases} validation cases "
            f"{self.kept:.1%} are kept, {self.measured_error:.1%} of them below Dice {self.acceptable:.4g}."
        )


@takes(acceptable="scalar", error_rate="scalar", confidence="scalar")
def choose_threshold(
    agreement: Tensor | Sequence[float],
    quality: Tensor | Sequence[float],
    acceptable: float,
    error_rate: float,
    confidence: float | None = None,
) -> ReviewThreshold:
    """The smallest agreement from which on at most ``error_rate`` of the validation cases kept are unacceptable.

    The candidates are the agreements that occur; cases that tie are kept together. Without ``confidence`` the error rate is
    simply the measured one, which a threshold chosen for it tends to underestimate. With ``confidence`` the upper
    Clopper-Pearson bound of the error must not exceed ``error_rate``, and the thresholds are tested one after the other from
    the strictest downwards until the first that fails (fixed-sequence testing). No correction for the number of thresholds
    is needed then: a false choice must falsely pass the first threshold that is too low, which happens with probability
    1 - confidence at most. The sequence starts at the strictest threshold that keeps enough cases to pass at all, with no
    unacceptable one among them. Start and order depend on the agreements alone, so given these the statement is exact: with
    probability ``confidence`` over the qualities, the expected error among cases with the kept agreements is at most
    ``error_rate``. (The number of unacceptable cases is then a sum of independent Bernoulli variables of different
    probabilities. Binomial tails are conservative for it from one below the mean downwards (Hoeffding), which is where a test
    with confidence >= 0.75 passes: a binomial variable is at most its mean with a probability above 1/4.) It holds for new
    cases as far as they are like the validation cases, so one subject's slices must not be in both.

    Args:
        agreement: confidence of every validation case, higher is surer, (cases,).
        quality: Dice of every validation case against the label, (cases,).
        acceptable: quality from which a case is acceptable.
        error_rate: wanted share of unacceptable cases among those kept, in [0, 1); in (0, 0.5] with ``confidence``.
        confidence: in [0.75, 1), or None.

    Returns:
        The threshold. If none will do it is inf: everything goes to review.

    Raises:
        ValueError: if the cases do not fit (see :func:`~infomri_monai.triage.risk_coverage.check_cases`) or a number is
            outside its range.
        ImportError: if ``confidence`` is given and scipy is not installed.

    Example:
        >>> chosen = choose_threshold([0.9, 0.8, 0.6, 0.5], [0.9, 0.9, 0.9, 0.2], acceptable=0.7, error_rate=0.05)
        >>> chosen.threshold, chosen.kept
        (0.6, 0.75)
        >>> print(choose_threshold([0.9, 0.8], [0.1, 0.2], acceptable=0.7, error_rate=0.05))
        No agreement threshold gives at most 0.05 of the kept below Dice 0.7 on 2 validation cases: every case goes to review.

    References:
        Angelopoulos, Bates, Candes, Jordan and Lei, Learn then Test, 2021 (fixed-sequence testing of a risk).
        Clopper and Pearson, Biometrika 26, 1934. Hoeffding, Annals of Mathematical Statistics 27, 1956 (sums of Bernoulli
        variables of different probabilities). Greenberg and Mohri, Statistics and Probability Letters 86, 2014 (the 1/4).
    """
    score, value = check_cases("quality", agreement, quality)
    check_wish(acceptable, error_rate, confidence)
    thresholds, group, size = score.unique(return_inverse=True, return_counts=True)  # ascending
    unacceptable = torch.zeros_like(thresholds).index_add_(0, group, (value < acceptable).double())
    kept, bad = (counts.flip(0).cumsum(0).flip(0) for counts in (size.double(), unacceptable))
    if confidence is None:
        found = (bad / kept <= error_rate).nonzero()
        index = int(found[0]) if len(found) else None
    else:
        enough = _bound(torch.zeros_like(kept), kept, confidence) <= error_rate
        passes = (_bound(bad, kept, confidence) <= error_rate) | ~enough
        failed = (~passes).nonzero()
        index = int(failed[-1]) + 1 if len(failed) else 0
        index = index if bool(enough[index : index + 1].any()) else None
    if index is None:
        return ReviewThreshold(math.inf, error_rate, math.nan, 0.0, len(score), acceptable, confidence)
    error, share = float(bad[index] / kept[index]), float(kept[index]) / len(score)
    return ReviewThreshold(float(thresholds[index]), error_rate, error, share, len(score), acceptable, confidence)


def check_wish(acceptable: float, error_rate: float, confidence: float | None) -> None:
    """Check what a threshold is asked to give.

    Raises:
        ValueError: if a number is outside its range.
    """
    if not math.isfinite(acceptable):
        raise ValueError(f"acceptable must be finite, got {acceptable}.")
    if not 0 <= error_rate < 1:
        raise ValueError(f"error_rate must lie in [0, 1), got {error_rate}.")
    if confidence is not None and not 0.75 <= confidence < 1:
        raise ValueError(f"confidence must lie in [0.75, 1) or be None, got {confidence}.")
    if confidence is not None and not 0 < error_rate <= 0.5:
        raise ValueError(f"error_rate must lie in (0, 0.5] when a confidence is asked for, got {error_rate}.")


def _bound(bad: Tensor, kept: Tensor, confidence: float) -> Tensor:
    """Upper Clopper-Pearson bound of a share, one-sided."""
    upper = torch.as_tensor(_beta.ppf(confidence, (bad + 1).numpy(), (kept - bad).clamp(min=1e-9).numpy()))
    return torch.where(bad < kept, upper, 1.0)


def save_threshold(chosen: ReviewThreshold, path: str | os.PathLike[str]) -> None:
    """Write a threshold as JSON, completely or not at all; a threshold of inf is null, and so is an error of NaN.

    Args:
        chosen: what :func:`~infomri_monai.triage.choose_threshold` returned for agreements in [0, 1].
        path: the file; its folder is made if absent.

    Raises:
        ValueError: if :func:`load_threshold` would refuse the file.
    """
    _check(chosen, Path(path).name)
    content = {name: null_unless_finite(value) for name, value in chosen._asdict().items()}
    with atomic_path(path) as part:
        part.write_text(json.dumps(content | {"meaning": str(chosen)}, indent=2, allow_nan=False) + "\n")


def load_threshold(path: str | os.PathLike[str]) -> ReviewThreshold:
    """Read what :func:`save_threshold` wrote; a threshold of null is inf, which sends every case to review.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not JSON, a field is missing or of the wrong kind, or a number is outside its range.

    Example:
        >>> import tempfile
        >>> from infomri_monai.triage.threshold import choose_threshold
        >>> path = os.path.join(tempfile.mkdtemp(), "threshold.json")
        >>> chosen = choose_threshold([0.9, 0.5], [0.9, 0.2], acceptable=0.7, error_rate=0.05)
        >>> save_threshold(chosen, path)
        >>> load_threshold(path) == chosen
        True
    """
    name = Path(path).name
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"threshold file {name} is not JSON: {error}.") from error
    fields = content if isinstance(content, dict) else {}
    if missing := [field for field in ReviewThreshold._fields if field not in fields]:
        raise ValueError(f"threshold file {name} lacks {', '.join(missing)}; write it with save_threshold.")
    nullable = {"threshold": math.inf, "measured_error": math.nan, "confidence": None}
    values = {field: _number(name, field, fields[field], nullable) for field in ReviewThreshold._fields}
    chosen = ReviewThreshold(**values)
    _check(chosen, name)
    return chosen


def _check(chosen: ReviewThreshold, name: str) -> None:
    """Refuse numbers outside their range; ``name`` is the file's."""
    if not (0 <= chosen.threshold <= 1 or chosen.threshold == math.inf):
        raise ValueError(
            f"threshold file {name}: threshold must be an agreement in [0, 1], or null in the file (inf in Python) where every "
            f"case goes to review, got {chosen.threshold}."
        )
    try:
        check_wish(chosen.acceptable, chosen.error_rate, chosen.confidence)
    except ValueError as error:
        raise ValueError(f"threshold file {name}: {error}") from error
    if (
        not 0 <= chosen.kept <= 1
        or chosen.cases < 1
        or not isinstance(chosen.cases, int)
        or not (math.isnan(chosen.measured_error) or 0 <= chosen.measured_error <= 1)
    ):
        raise ValueError(
            f"threshold file {name}: kept must lie in [0, 1], cases be a whole number above 0 and measured_error at most 1, "
            f"got {chosen.kept}, {chosen.cases} and {chosen.measured_error}."
        )


def _number(name: str, field: str, value: Any, nullable: dict[str, float | None]) -> Any:
    if value is None and field in nullable:
        return nullable[field]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"threshold file {name}: {field} must be a finite number, got {value!r}.")
    return value
