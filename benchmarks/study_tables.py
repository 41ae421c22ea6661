"""Numbers of benchmarks/results/*.json: written by the studies; means over seeds, differences and tables for the pages."""

from __future__ import annotations

import itertools
import json
import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

__all__ = ["FILTERS", "FUNCTIONS", "cell", "check_complete", "read", "spread", "table", "write_results"]

RESULTS = Path(__file__).resolve().parent / "results"
#: column (a ratio, an acceleration, a number of samples) -> one value per seed
Row = Mapping[float, Sequence[float]]


def read(name: str) -> Any:
    """Content of results/NAME.json; keys that are numbers become numbers. None where there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"), object_hook=_numeric) if path.exists() else None


def _numeric(content: dict[str, Any]) -> dict[Any, Any]:
    try:
        return {float(key): value for key, value in content.items()}
    except ValueError:
        return content


def write_results(name: str, runs: Path, content: Mapping[str, Any]) -> None:
    """Write results/NAME.json of a study, with its hardware.

    Args:
        name: of the file.
        runs: folder of the study's runs.
        content: what the file says.

    Raises:
        FileNotFoundError: if no run is finished.
    """
    if not any(runs.glob("*/finished.json")):
        raise FileNotFoundError(f"{runs} holds no finished run; call the action 'train' first.")
    hardware = f"CPU, one thread a run, {platform.machine()}, torch {version('torch')}"
    text = json.dumps({"hardware": hardware, **content}, indent=1) + "\n"
    part = RESULTS / f"{name}.json.part"
    part.write_text(text, encoding="utf-8")
    part.replace(RESULTS / f"{name}.json")


def check_complete(results: Mapping[str, Mapping[str, Row]], seeds: Mapping[str, int], but: Iterable[str] = ()) -> None:
    """Every quantity of an experiment has a value of every seed, or none.

    Args:
        results: quantity -> experiment -> row.
        seeds: experiment -> number of finished runs.
        but: quantities that were not measured with every seed.

    Raises:
        ValueError: if one was not finite in some runs only: a mean over the others would pass over what diverged.
    """
    for quantity, experiments in results.items():
        for name, row in experiments.items():
            for column, values in row.items():
                if len(values) != seeds[name] and quantity not in but:
                    raise ValueError(
                        f"{name}: {quantity} at {column} is finite in {len(values)} of {seeds[name]} runs."
                    )


def cell(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def spread(row: Row) -> dict[float, tuple[float, float]]:
    """Mean and standard deviation (NaN of one seed) by column, in ascending order."""
    return {x: (mean(v), stdev(v) if len(v) > 1 else math.nan) for x, v in sorted(row.items())}


def table(
    rows: Mapping[str, Row],
    heading: Callable[[float], str],
    digits: int,
    columns: Iterable[float] = (),
    corner: str = "",
) -> str:
    """Markdown table: a row per experiment, a column per ratio, acceleration or number of samples.

    Args:
        rows: what stands in front of a row -> the row.
        heading: of a column.
        digits: of every cell, behind the point.
        columns: which, in this order; all by default.
        corner: what stands above the rows' names.
    """
    shown = list(columns) or sorted({column for row in rows.values() for column in row})
    lines = [f"| {corner} | " + " | ".join(heading(c) for c in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(cell(row[c], digits) if c in row else "" for c in shown) + " |")
    return "\n".join(lines)


def rows(results: Mapping[str, Row], names: Mapping[str, str] | Iterable[str]) -> dict[str, Row]:
    """The rows of some experiments: all of them, as labels name them, or those of a list that were run, named as they are."""
    if isinstance(names, Mapping):
        return {label: results[name] for label, name in names.items()}
    return {f"`{name}`": results[name] for name in names if name in results}


def seed(row: Row, number: int = 0) -> dict[float, list[float]]:
    """One seed's values."""
    return {column: [values[number]] for column, values in row.items()}


def best(rivals: Iterable[Row], lowest: bool = False) -> dict[float, list[float]]:
    """Mean of the best rival in every column."""
    given = list(rivals)
    choose = min if lowest else max
    return {c: [choose(mean(row[c]) for row in given)] for c in sorted(given[0])}


def minus(row: Row, other: Row, columns: Iterable[float] = ()) -> list[float]:
    """Difference of the means in every column (those that both have by default)."""
    return [mean(row[c]) - mean(other[c]) for c in columns or sorted(set(row) & set(other))]


def below(row: Row, other: Row) -> list[float]:
    """By how many percent the row's mean is below the other's, in every column."""
    return [100 * (1 - mean(row[c]) / mean(other[c])) for c in sorted(row)]


def means(row: Row, columns: Iterable[float] = ()) -> list[float]:
    """Mean over seeds in every column."""
    return [mean(row[c]) for c in columns or sorted(row)]


def falling(experiments: Mapping[str, Row]) -> bool:
    """Whether the mean falls from each experiment to the next, in every column."""
    given = [means(row) for row in experiments.values()]
    return all(x > y for one, after in itertools.pairwise(given) for x, y in zip(one, after, strict=True))


def claim(holds: bool, words: str) -> str:
    """The words, if the data says so; a report whose words have become wrong is not written.

    Raises:
        ValueError: if it does not hold.
    """
    if not holds:
        raise ValueError(f"the results no longer say {words!r}: put the page's template right (benchmarks/pages).")
    return words


def fixed(value: float, digits: int = 2) -> str:
    """A number with so many digits behind the point; a true minus sign, and none before zero."""
    said = f"{value:.{digits}f}"
    return said.removeprefix("-") if float(said) == 0 else said.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """With a plus or minus sign."""
    said = fixed(value, digits)
    return said if said.startswith("−") else f"+{said}"


def span(values: Iterable[float], digits: int = 2) -> str:
    """Lowest to highest; one number where both round to the same."""
    given = list(values)
    low, high = fixed(min(given), digits), fixed(max(given), digits)
    return low if low == high else f"{low} to {high}"


def each(values: Iterable[float], digits: int = 2, between: str = "/") -> str:
    """All values in a row, or "a, b and c"."""
    said = [fixed(value, digits) for value in values]
    return between.join(said) if between != "and" else ", ".join(said[:-1]) + f" and {said[-1]}"


def percent(ratio: float) -> str:
    """12.5 % of 0.125."""
    return f"{100 * ratio:.4g} %"


def times(acceleration: float) -> str:
    """4× of 4."""
    return f"{acceleration:g}×"


FILTERS: dict[str, Callable[..., str]] = {
    f.__name__: f
    for f in (fixed, signed, span, each, percent, times, cell)  # what turns numbers into text
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (read, table, rows, seed, best, minus, below, means, mean, falling, claim, cell, percent, times)
}
