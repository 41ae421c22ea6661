"""The segmentation table: agreement with the raters, calibration and diversity, one row per sampling ratio."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from infomri_monai.metrics.ratio_table import Column, RatioTable

__all__ = ["SegmentationRow", "SegmentationTable", "structure_field"]

_NAN = float("nan")


def structure_field(name: str) -> str:
    """Name of a structure's column of Dice in files and among an engine's metrics.

    Example:
        >>> structure_field("white matter")
        'dice_white_matter'
    """
    return "dice_" + re.sub(r"\W+", "_", name.strip().lower())


class SegmentationRow(NamedTuple):
    """One sampling ratio; NaN for what was not measured. Every value but ``ece`` is a mean over images.

    Attributes:
        ratio: requested sampled positions / all positions.
        realised_ratio: mean ratio of the masks.
        ged: squared generalized energy distance (45), V-statistic.
        ged_unbiased: the same, U-statistic.
        dice: of the majority mask, mean over raters and structures.
        dice_samples: of the samples, mean over samples, raters and structures.
        structure_dice: of the majority mask, mean over raters, by name of the structure.
        ece: expected calibration error (46) over the pixels of all images together.
        ece_per_image: of every image.
        brier: Brier score (47).
        diversity: mean 1 - IoU over pairs of samples.
        entropy: predictive entropy of a pixel, nats.
        volume_coverage: share of the raters' volumes inside the samples' 90 % interval.
        images: number of images.
    """

    ratio: float
    realised_ratio: float = _NAN
    ged: float = _NAN
    ged_unbiased: float = _NAN
    dice: float = _NAN
    dice_samples: float = _NAN
    structure_dice: Mapping[str, float] = MappingProxyType({})
    ece: float = _NAN
    ece_per_image: float = _NAN
    brier: float = _NAN
    diversity: float = _NAN
    entropy: float = _NAN
    volume_coverage: float = _NAN
    images: int = 0

    @property
    def acceleration(self) -> float:
        """All positions / requested sampled positions."""
        return 1 / self.ratio


#: every field but the structures', which follow ``dice_samples``
_COLUMNS: dict[str, Column] = {
    "acceleration": ("accel.", "1/ratio", ".4g"),
    "ratio": ("ratio", "asked", ".4f"),
    "realised_ratio": ("ratio", "realised", ".4f"),
    "ged": ("GED", "V-stat.", ".4f"),
    "ged_unbiased": ("GED", "U-stat.", ".4f"),
    "dice": ("Dice", "majority", ".4f"),
    "dice_samples": ("Dice", "samples", ".4f"),
    "ece": ("ECE", "pooled", ".4f"),
    "ece_per_image": ("ECE", "image", ".4f"),
    "brier": ("Brier", "eq. 47", ".4f"),
    "diversity": ("diversity", "1 - IoU", ".4f"),
    "entropy": ("entropy", "nat", ".4f"),
    "volume_coverage": ("vol.cov.", "ideal .9", ".3f"),
    "images": ("images", "", "d"),
}


class SegmentationTable(RatioTable[SegmentationRow]):
    """Rows in ascending ratio under headers that name unit and convention.

    Args:
        method: what was evaluated; the table's title.
        rows: rows in any order, one per ratio.
        conventions: lines printed below the table and written to the JSON file, by field.

    Raises:
        ValueError: if two rows have one ratio.

    Example:
        >>> row = SegmentationRow(0.125, ged=0.21, dice=0.83, structure_dice={"white matter": 0.85}, images=8)
        >>> print(SegmentationTable("demo", [row]))
        demo
         accel.   ratio      GED      Dice  white matter  images
        1/ratio   asked  V-stat.  majority          Dice
        -------  ------  -------  --------  ------------  ------
              8  0.1250   0.2100    0.8300        0.8500       8
    """

    def columns(self) -> dict[str, Column]:
        """Every field in order; a structure that any row knows has its own."""
        names = dict.fromkeys(name for row in self.rows for name in row.structure_dice)
        structures: dict[str, Column] = {structure_field(name): (name, "Dice", ".4f") for name in names}
        return _insert(_COLUMNS, structures)

    def record(self, row: SegmentationRow) -> dict[str, float]:
        """The row by field."""
        values = {"acceleration": row.acceleration, **row._asdict()}
        values |= {structure_field(name): value for name, value in values.pop("structure_dice").items()}
        return {field: values.get(field, _NAN) for field in self.columns()}


def _insert(columns: dict[str, Column], structures: dict[str, Column]) -> dict[str, Column]:
    """The structures' columns after the Dice of all."""
    after = list(columns).index("dice_samples") + 1
    items = list(columns.items())
    return dict([*items[:after], *structures.items(), *items[after:]])
