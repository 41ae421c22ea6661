"""Tables with one row per sampling ratio, printed and written with units and conventions, and what collects their numbers."""

from __future__ import annotations

import csv
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor

from infomri_monai.files import atomic_path, null_unless_finite
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric

__all__ = ["Column", "RatioTable", "TableCollector", "finite", "write_json", "write_rows"]

_NAN = float("nan")


def write_rows(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], columns: Sequence[str], missing: str = ""
) -> None:
    """Write a CSV file, completely or not at all.

    Args:
        path: the file.
        rows: column -> value.
        columns: the columns in order.
        missing: what stands for a value that is missing or NaN.
    """
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval=missing)
        writer.writeheader()
        writer.writerows({key: missing if value != value else value for key, value in row.items()} for row in rows)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write a JSON file, completely or not at all; NaN and infinity are null."""
    with atomic_path(path) as part:
        text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """For JSON: None in the place of NaN and infinity, also inside mappings and lists; other keys than texts become texts.

    Example:
        >>> finite({0.25: [1.0, float("nan")], "of": (float("inf"), "x")})
        {'0.25': [1.0, None], 'of': [None, 'x']}
    """
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return null_unless_finite(value)


#: header, unit (or the value of a perfect model) and number format; without a format it is in the files only
Column = tuple[str, str, str]


class Row(Protocol):
    """Any row is a NamedTuple that knows its ratio."""

    @property
    def ratio(self) -> float: ...

    def _asdict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Row)


class RatioTable(Generic[R]):
    """Rows in ascending ratio under headers that name unit and convention; subclasses say what a row holds.

    Args:
        method: what was evaluated, e.g. ``"InfoMRI, 2D"``; the table's title.
        rows: rows in any order, one per ratio.
        conventions: lines printed below the table and written to the JSON file, by field.
        told: what was left out of a field, or spoils it; printed, written and shown even where the field has no value.

    Raises:
        ValueError: if two rows have one ratio.

    Class attributes:
        fields: every field in order, whether measured or not.
    """

    fields: ClassVar[Mapping[str, Column]] = {}

    def __init__(
        self,
        method: str,
        rows: list[R] | None = None,
        conventions: dict[str, str] | None = None,
        told: Mapping[str, str] | None = None,
    ) -> None:
        self.method = method
        self.conventions, self.told = dict(conventions or {}), dict(told or {})
        self.rows: list[R] = []
        for row in rows or []:
            self.add(row)

    def columns(self) -> dict[str, Column]:
        """Every field in order, whether measured or not."""
        return dict(self.fields)

    def extra(self, row: R) -> dict[str, float]:
        """Numbers of the columns that :attr:`fields` does not know, or whose value is no number."""
        return {}

    def record(self, row: R) -> dict[str, float]:
        """The row's numbers by field, in the order of :meth:`columns`; NaN for what was not measured."""
        values = {"acceleration": 1 / row.ratio, **row._asdict(), **self.extra(row)}
        return {field: values.get(field, _NAN) for field in self.columns()}

    def records(self) -> list[dict[str, float]]:
        """All rows' numbers by field, in ascending ratio."""
        return [self.record(row) for row in self.rows]

    def add(self, row: R) -> None:
        """Add a row.

        Raises:
            ValueError: if the table has one with this ratio.
        """
        if any(math.isclose(row.ratio, other.ratio) for other in self.rows):
            raise ValueError(f"ratio {row.ratio} is in the table already.")
        self.rows = sorted([*self.rows, row], key=lambda r: r.ratio)

    def _shown(self) -> dict[str, Column]:
        """Fields that at least one row has a value for."""
        records = self.records()
        return {
            field: column
            for field, column in self.columns().items()
            if field == "ratio"
            or (column[2] and (field in self.told or any(not math.isnan(record[field]) for record in records)))
        }

    def _cells(self) -> list[list[str]]:
        """Header, unit and value rows as text."""
        shown = self._shown()
        values = [
            [
                _cell(record, field, style, "nan" if field in self.told else "-")
                for field, (_, _, style) in shown.items()
            ]
            for record in self.records()
        ]
        return [[header for header, _, _ in shown.values()], [unit for _, unit, _ in shown.values()], *values]

    def _notes(self) -> list[str]:
        shown = self._shown().items()
        notes = [(field, f"{header} ({unit}):") for field, (header, unit, _) in shown]
        told = [f"{title} {self.told[field]}" for field, title in notes if field in self.told]
        return [f"{title} {self.conventions[field]}" for field, title in notes if field in self.conventions] + told

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        rule = "  ".join("-" * w for w in widths)
        return "\n".join([self.method, *lines[:2], rule, *lines[2:], *self._notes()])

    def markdown(self) -> str:
        """The table for a README or a tracking server, with its conventions below."""
        header, unit, *values = self._cells()
        titles = [f"{h} ({u})" if u else h for h, u in zip(header, unit, strict=True)]
        rows = [titles, ["---:"] * len(titles), *values]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        notes = [f"- {note}" for note in self._notes()]
        return "\n".join([f"**{self.method}**", "", *lines, *([""] if notes else []), *notes]) + "\n"

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write all fields, one row per ratio, completely or not at all; what was not measured is empty."""
        write_rows(path, ({"method": self.method} | record for record in self.records()), ["method", *self.columns()])

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write method, conventions and rows, completely or not at all; what was not measured is null."""
        write_json(path, self.content())

    def content(self) -> dict[str, Any]:
        """Method, conventions and rows by name."""
        return {"method": self.method, "conventions": self.conventions, "told": self.told, "rows": self.records()}

    def write(self, folder: Path, name: str) -> None:
        """Write ``<name>.csv``, ``.json`` and ``.md``."""
        self.write_csv(folder / f"{name}.csv")
        self.write_json(folder / f"{name}.json")
        with atomic_path(folder / f"{name}.md") as part:
            part.write_text(self.markdown(), encoding="utf-8")


def _cell(record: dict[str, float], field: str, style: str, missing: str) -> str:
    """A number as text, with its interval if the record holds ``<field>_lower`` and ``<field>_upper``."""
    if math.isnan(record[field]):
        return missing
    ends = [record.get(f"{field}_{end}", math.nan) for end in ("lower", "upper")]
    interval = "" if any(map(math.isnan, ends)) else f" [{ends[0]:{style}}, {ends[1]:{style}}]"
    return format(record[field], style) + interval


T = TypeVar("T", bound=RatioTable[Any])


class TableCollector(ABC, Generic[T]):
    """Collects predictions of any ratios, over batches and ranks, and makes a table.

    Args:
        method: title of the table.
        metrics: column -> metric.

    Class attributes:
        file_name: of the table's files, without suffix.
    """

    file_name: ClassVar[str]

    def __init__(self, method: str, metrics: Mapping[str, RatioMetric]) -> None:
        self.method = method
        self.metrics = dict(metrics)

    @abstractmethod
    def update(self, prediction: Any, label: Tensor, ratio: Tensor | float, volume: Tensor | int | None = None) -> None:
        """Add a batch.

        Args:
            prediction: what the system returned.
            label: the batch's target.
            ratio: requested sampling ratio, one or one per image.
            volume: which volume (subject) each image is of; None if that is not known.

        Raises:
            ValueError: if shapes do not fit, or a value is out of range.
        """

    @abstractmethod
    def table(self) -> T:
        """The table of all batches since ``reset()``, on every rank the same.

        Raises:
            ValueError: if there are none.
        """

    def by_image(self) -> dict[str, Tensor]:
        """Values of every image in the order seen (rank after rank), each (n,), by column.

        Beside the columns that are means over images there are ``ratio`` and ``volume`` (negative if none was given).

        Raises:
            ValueError: if there are no images.
        """
        means = {name: metric for name, metric in self.metrics.items() if isinstance(metric, PerImageMetric)}
        ratio, volume = next(iter(means.values())).image_labels()
        return {"ratio": ratio, "volume": volume, **{name: metric.by_image() for name, metric in means.items()}}

    def told(self) -> dict[str, str]:
        """By column, where there is something to tell: images left out, and predictions that are not finite, by ratio."""
        found = {name: metric.told() for name, metric in self.metrics.items() if metric.get_buffer() is not None}
        return {
            name: "; ".join(f"at ratio {ratio:.4g} {words}" for ratio, words in said.items())
            for name, said in found.items()
            if said
        }

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.metrics.values():
            metric.reset()
