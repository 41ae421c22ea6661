"""A review threshold's file: JSON that says in words what it means, written completely and checked when read."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from infomri_monai.atomic import atomic_path
from infomri_monai.json_numbers import null_unless_finite
from infomri_monai.triage.threshold import ReviewThreshold, check_wish

__all__ = ["load_threshold", "save_threshold"]


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
        or not _is_share(chosen.measured_error)
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


def _is_share(value: float) -> bool:
    return math.isnan(value) or 0 <= value <= 1
