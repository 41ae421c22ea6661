"""An acceleration in words."""

from __future__ import annotations

__all__ = ["acceleration_text"]


def acceleration_text(ratio: float) -> str:
    """How many times fewer positions are measured.

    Args:
        ratio: sampling ratio, in [0, 1].

    Example:
        >>> [acceleration_text(ratio) for ratio in (1, 0.125, 0.3, 0)]
        ['1×', '8×', '3.33×', 'nothing measured']
    """
    return f"{1 / ratio:.3g}\u00d7" if ratio > 0 else "nothing measured"
