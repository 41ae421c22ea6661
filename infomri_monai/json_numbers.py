"""Numbers for JSON, whose standard knows neither NaN nor infinity."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["null_unless_finite"]


def null_unless_finite(value: Any) -> Any:
    """The value, or None (null in JSON) in the place of NaN and of either infinity.

    Args:
        value: a number; anything else stays as it is.

    Example:
        >>> [null_unless_finite(value) for value in (0.5, 3, float("nan"), float("-inf"), None, "nan", True)]
        [0.5, 3, None, None, None, 'nan', True]
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value
