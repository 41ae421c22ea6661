"""Tables with one row per sampling ratio, printed and written with units and conventions."""

from __future__ import annotations

import csv
import json
import math
import os
from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

from infomri_monai.files import atomic_path

__all__ = ["Column", "RatioTable"]

#: header, unit (or the value of a perfect model) and number format; without a format it is in the files only
Column = tuple[str, str, str]


class Row(Protocol):
    """Any row knows its ratio."""

    @property
    def ratio(self) -> float: ...


R = TypeVar("R", bound=Row)


class RatioTable(ABC, Generic[R]):
    """Rows in ascending ratio under headers that name unit and convention (final: subclasses say what a row holds).

    Args:
        method: what was evaluated, e.g. ``"InfoMRI, 2D"``; the table's title.
        rows: rows in any order, one per ratio.
        conventions: lines printed below the table and written to the JSON file, by field.

    Raises:
        ValueError: if two rows have one ratio.
    """

    def __init__(self, method: str, rows: list[R] | None = None, conventions: dict[str, str] | None = None) -> None:
        self.method = method
        self.conventions = dict(conventions or {})
        self.rows: list[R] = []
        for row in rows or []:
            self.add(row)

    @abstractmethod
    def columns(self) -> dict[str, Column]:
        """Every field in order, whether measured or not."""

    @abstractmethod
    def record(self, row: R) -> dict[str, float]:
        """The row's numbers by field, in the order of :meth:`columns`; NaN for what was not measured."""

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
            if field == "ratio" or (column[2] and any(not math.isnan(record[field]) for record in records))
        }

    def _cells(self) -> list[list[str]]:
        """Header, unit and value rows as text."""
        shown = self._shown()
        values = [[_cell(record, field, style) for field, (_, _, style) in shown.items()] for record in self.records()]
        return [[header for header, _, _ in shown.values()], [unit for _, unit, _ in shown.values()], *values]

    def _notes(self) -> list[str]:
        return [
            f"{header} ({unit}): {self.conventions[field]}"
            for field, (header, unit, _) in self._shown().items()
            if field in self.conventions
        ]

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
        with atomic_path(path) as part, part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["method", *self.columns()])
            writer.writerows([self.method, *("" if math.isnan(v) else v for v in r.values())] for r in self.records())

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write method, conventions and rows, completely or not at all; what was not measured is null."""
        rows = [{f: None if math.isnan(v) else v for f, v in record.items()} for record in self.records()]
        content = {"method": self.method, "conventions": self.conventions, "rows": rows}
        with atomic_path(path) as part:
            part.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _cell(record: dict[str, float], field: str, style: str) -> str:
    """A number as text, with its interval if the record holds ``<field>_lower`` and ``<field>_upper``."""
    if math.isnan(record[field]):
        return "-"
    ends = [record.get(f"{field}_{end}", math.nan) for end in ("lower", "upper")]
    interval = "" if any(map(math.isnan, ends)) else f" [{ends[0]:{style}}, {ends[1]:{style}}]"
    return format(record[field], style) + interval
