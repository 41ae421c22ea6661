"""The rate-distortion table: one row per sampling ratio, printed and written with units and conventions."""

from __future__ import annotations

from typing import NamedTuple

from infomri_monai.metrics.ratio_table import Column, RatioTable

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


_COLUMNS: dict[str, Column] = {
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


class RateDistortionTable(RatioTable[RateDistortionRow]):
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

    def columns(self) -> dict[str, Column]:
        """Every field in order."""
        return dict(_COLUMNS)

    def record(self, row: RateDistortionRow) -> dict[str, float]:
        """The row by field."""
        return row._asdict()
