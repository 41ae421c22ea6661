"""The rate-distortion table: one row per sampling ratio, printed and written with units and conventions."""

from __future__ import annotations

import csv
import json
import math
import os
from typing import NamedTuple

from infomri_monai.atomic import atomic_path

__all__ = ["RateDistortionRow", "RateDistortionTable"]

_NAN = float("nan")


class RateDistortionRow(NamedTuple):
    """One sampling ratio; NaN for what was not measured. Qualities are means over slices unless the name says volume.

    Attributes:
        ratio: requested sampled positions / all positions.
        realised_ratio: mean ratio of the masks.
        psnr: of the reconstruction, dB, per slice.
        zero_filled_psnr: of the zero-filled image, dB, per slice.
        ssim: of the reconstruction, per slice.
        zero_filled_ssim: of the zero-filled image, per slice.
        volume_psnr: of the reconstruction, dB, per volume.
        volume_ssim: of the reconstruction, per volume.
        standardized_squared_error: 1 if calibrated.
        correlation: of sigma with |error|, per slice.
        pooled_correlation: of sigma with |error| over all slices together.
        coverage: of the central 90 % interval.
        redundancy_ratio: share of sampled positions whose conjugate partner is sampled too (43).
        images: number of slices.
    """

    ratio: float
    realised_ratio: float
    psnr: float
    zero_filled_psnr: float
    ssim: float = _NAN
    zero_filled_ssim: float = _NAN
    volume_psnr: float = _NAN
    volume_ssim: float = _NAN
    standardized_squared_error: float = _NAN
    correlation: float = _NAN
    pooled_correlation: float = _NAN
    coverage: float = _NAN
    redundancy_ratio: float = _NAN
    images: int = 0


#: header, unit (or the value of a calibrated model) and number format of every field
_COLUMNS: dict[str, tuple[str, str, str]] = {
    "ratio": ("ratio", "asked", ".4f"),
    "realised_ratio": ("ratio", "realised", ".4f"),
    "psnr": ("PSNR", "dB, slice", ".2f"),
    "zero_filled_psnr": ("ZF PSNR", "dB, slice", ".2f"),
    "ssim": ("SSIM", "slice", ".4f"),
    "zero_filled_ssim": ("ZF SSIM", "slice", ".4f"),
    "volume_psnr": ("PSNR", "dB, vol.", ".2f"),
    "volume_ssim": ("SSIM", "volume", ".4f"),
    "standardized_squared_error": ("std.sq.err", "ideal 1", ".3f"),
    "correlation": ("sigma corr", "slice", ".3f"),
    "pooled_correlation": ("sigma corr", "pooled", ".3f"),
    "coverage": ("coverage", "ideal .9", ".3f"),
    "redundancy_ratio": ("redund.", "eq. 43", ".3f"),
    "images": ("slices", "", "d"),
}


class RateDistortionTable:
    """Rows in ascending ratio under headers that name unit and convention.

    Args:
        method: what was evaluated, e.g. ``"InfoMRI, 2D"``; the table's title.
        rows: rows in any order, one per ratio.
        conventions: lines printed below the table and written to the JSON file, by field.

    Raises:
        ValueError: if two rows have one ratio.

    Example:
        >>> table = RateDistortionTable("demo", [RateDistortionRow(0.25, 0.2501, 31.0, 27.5, images=8)])
        >>> print(table)
        demo
         ratio     ratio       PSNR    ZF PSNR  slices
         asked  realised  dB, slice  dB, slice
        ------  --------  ---------  ---------  ------
        0.2500    0.2501      31.00      27.50       8
    """

    def __init__(
        self, method: str, rows: list[RateDistortionRow] | None = None, conventions: dict[str, str] | None = None
    ) -> None:
        self.method = method
        self.conventions = dict(conventions or {})
        self.rows: list[RateDistortionRow] = []
        for row in rows or []:
            self.add(row)

    def add(self, row: RateDistortionRow) -> None:
        """Add a row.

        Raises:
            ValueError: if the table has one with this ratio.
        """
        if any(math.isclose(row.ratio, other.ratio) for other in self.rows):
            raise ValueError(f"ratio {row.ratio} is in the table already.")
        self.rows = sorted([*self.rows, row])

    def _shown(self) -> list[str]:
        """Fields that at least one row has a value for."""
        return [f for f in _COLUMNS if f == "ratio" or any(not math.isnan(getattr(row, f)) for row in self.rows)]

    def _cells(self) -> list[list[str]]:
        """Header, unit and value rows as text."""
        fields = self._shown()
        values = [
            ["-" if math.isnan(v := getattr(row, f)) else format(v, _COLUMNS[f][2]) for f in fields]
            for row in self.rows
        ]
        return [[_COLUMNS[f][0] for f in fields], [_COLUMNS[f][1] for f in fields], *values]

    def _notes(self) -> list[str]:
        return [
            f"{_COLUMNS[f][0]} ({_COLUMNS[f][1]}): {self.conventions[f]}"
            for f in self._shown()
            if f in self.conventions
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
            writer.writerow(["method", *RateDistortionRow._fields])
            writer.writerows([self.method, *("" if math.isnan(v) else v for v in row)] for row in self.rows)

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write method, conventions and rows, completely or not at all; what was not measured is null."""
        rows = [{f: None if math.isnan(v) else v for f, v in row._asdict().items()} for row in self.rows]
        content = {"method": self.method, "conventions": self.conventions, "rows": rows}
        with atomic_path(path) as part:
            part.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
