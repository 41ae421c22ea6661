"""Markdown tables of the studies: mean and spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

__all__ = ["cell", "spread", "table"]


def cell(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def table(rows: Mapping[str, Mapping[float, Sequence[float]]], unit: str, digits: int = 3) -> str:
    """Markdown table: a row per experiment, a column per acceleration or K."""
    if not rows:
        return "(not run)\n"
    columns = sorted({column for row in rows.values() for column in row})
    lines = ["| | " + " | ".join(f"{c:g}{unit}" for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(cell(row[c], digits) if c in row else "" for c in columns) + " |")
    return "\n".join(lines) + "\n"


def spread(row: Mapping[float, Sequence[float]]) -> dict[float, tuple[float, float]]:
    """Mean and standard deviation (NaN of one seed) by column, in ascending order."""
    return {x: (mean(v), stdev(v) if len(v) > 1 else math.nan) for x, v in sorted(row.items())}
