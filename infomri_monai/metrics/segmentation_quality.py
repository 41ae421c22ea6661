"""Everything the segmentation table needs, accumulated over batches and ranks.

Also here: The segmentation table: agreement with the raters, calibration and diversity, one row per sampling ratio.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.overlap import GeneralizedEnergyDistance, MeanEntropy, RaterDice, SampleDiversity
from infomri_monai.metrics.probability import BrierScore, ExpectedCalibrationError, PooledCalibrationError
from infomri_monai.metrics.rate_distortion import MaskRatio
from infomri_monai.metrics.structures import channel_masks, structure_masks, structure_names
from infomri_monai.metrics.tables import Column, RatioTable
from infomri_monai.metrics.volumes import VolumeCoverage

__all__ = ["SegmentationQuality", "SegmentationRow", "SegmentationTable", "structure_field"]

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


class Segmentation(Protocol):
    """The fields of a ``SegmentationPosterior`` that are read here."""

    @property
    def samples(self) -> Tensor: ...
    @property
    def majority(self) -> Tensor: ...
    @property
    def class_probabilities(self) -> Tensor: ...
    @property
    def entropy(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...


class SegmentationQuality:
    """Collects segmentations of any ratios and makes the segmentation table.

    Args:
        method: title of the table.
        num_classes: classes with the background, or (multi-label) labels.
        structures: names of the structures, for their columns of Dice; None numbers them. A single one has no own column.
        multi_label: structures are independent 0-1 channels.

    Raises:
        ValueError: if ``num_classes`` is too small, or ``structures`` are not as many, or give a column twice.

    Example:
        >>> import torch
        >>> from infomri_monai.acquisition import FourierMeasurement
        >>> from infomri_monai.networks import LatentSegmenter
        >>> from infomri_monai.sampling import PatternGenerationNetwork
        >>> from infomri_monai.systems import SegmentationSystem
        >>> network = LatentSegmenter(channels=(8, 8))
        >>> system = SegmentationSystem(PatternGenerationNetwork((16, 16)), FourierMeasurement(), network)
        >>> image, label = torch.rand(2, 1, 16, 16), torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        >>> evaluation = SegmentationQuality("demo", num_classes=2)
        >>> for ratio in (0.25, 0.5):
        ...     evaluation.update(system.infer(image, ratio, samples=4), label, ratio)
        >>> [(row.acceleration, row.images) for row in evaluation.table().rows]
        [(4.0, 2), (2.0, 2)]
    """

    def __init__(
        self, method: str, num_classes: int, structures: Sequence[str] | None = None, multi_label: bool = False
    ) -> None:
        self.method = method
        self.num_classes = num_classes
        self.multi_label = multi_label
        count = num_classes if multi_label else num_classes - 1
        if count < 1:
            raise ValueError(f"num_classes must be at least 2 (multi-label: 1), got {count} structures.")
        self.structures = structure_names(structures, count)
        self.metrics: dict[str, RatioMetric] = {
            "realised_ratio": MaskRatio(),
            "ged": GeneralizedEnergyDistance(),
            "ged_unbiased": GeneralizedEnergyDistance(unbiased=True),
            "dice": RaterDice("majority"),
            "dice_samples": RaterDice("samples"),
            "ece": PooledCalibrationError(),
            "ece_per_image": ExpectedCalibrationError(),
            "brier": BrierScore(),
            "diversity": SampleDiversity(),
            "entropy": MeanEntropy(),
            "volume_coverage": VolumeCoverage(),
        }
        shown = list(self.structures) if len(self.structures) > 1 else []
        self._fields = {name: structure_field(name) for name in shown}
        clash = [field for field in self._fields.values() if field in self.metrics]
        if clash or len(set(self._fields.values())) < len(shown):
            raise ValueError(f"structures must give different columns, none of {list(self.metrics)}, got {shown}.")
        self.metrics |= {field: RaterDice("majority", i) for i, field in enumerate(self._fields.values())}

    def update(
        self,
        posterior: Segmentation,
        labels: Tensor,
        ratio: Tensor | float,
        volume: Tensor | int | None = None,
    ) -> None:
        """Add a batch.

        Args:
            posterior: what the system inferred.
            labels: the raters' labels, integers, -1 in every pixel of a missing rater: maps (batch, rater, *spatial), or
                0-1 channels (batch, rater, structure, *spatial) if multi-label.
            ratio: requested sampling ratio, one or one per image.
            volume: which volume each image belongs to, for :meth:`by_image`.

        Raises:
            ValueError: if shapes do not fit, or a label's value is no class.
        """
        labels = convert_to_tensor(labels, track_meta=False)
        raters = channel_masks(labels) if self.multi_label else structure_masks(labels, self.num_classes)
        samples, s = posterior.samples, len(self.structures)
        if raters.ndim != samples.ndim or raters.shape[2:] != samples.shape[2:] or raters.shape[2] != s:
            raise ValueError(
                f"labels {tuple(labels.shape)} do not fit {s} structures and samples {tuple(samples.shape)} "
                "(batch, sample, structure, *spatial)."
            )
        raters = raters.to(samples.device)
        probabilities = posterior.class_probabilities[:, -s:]
        by_samples, by_probabilities = ("ged", "ged_unbiased", "dice_samples", "volume_coverage"), ("ece", "brier")
        inputs = dict.fromkeys(by_samples, (samples, raters)) | {
            "realised_ratio": (posterior.mask, posterior.mask),
            "diversity": (samples, samples),
            "entropy": (posterior.entropy, posterior.entropy),
        }
        inputs |= dict.fromkeys((*by_probabilities, "ece_per_image"), (probabilities, raters))
        for name, metric in self.metrics.items():
            metric(*inputs.get(name, (posterior.majority, raters)), ratio=ratio, volume=volume)

    def table(self) -> SegmentationTable:
        """The table of all batches since ``reset()``, on every rank the same.

        Raises:
            ValueError: if there are none.
        """
        columns = {name: metric.by_ratio() for name, metric in self.metrics.items()}
        structures = {name: columns.pop(field) for name, field in self._fields.items()}
        counts = self.metrics["ged"].images_by_ratio()
        rows = [
            SegmentationRow(
                ratio=s,
                images=counts[s],
                structure_dice={name: column[s] for name, column in structures.items()},
                **{name: column[s] for name, column in columns.items()},
            )
            for s in counts
        ]
        return SegmentationTable(self.method, rows, {name: m.convention for name, m in self.metrics.items()})

    def by_image(self) -> dict[str, Tensor]:
        """Values of every image in the order seen (rank after rank), each (n,), by column.

        Beside the columns that are means over images there are ``ratio`` and ``volume`` (negative if none was given).

        Raises:
            ValueError: if there are no images.
        """
        ratio, volume = self.metrics["ged"].image_labels()
        values = {n: m.by_image() for n, m in self.metrics.items() if isinstance(m, PerImageMetric)}
        return {"ratio": ratio, "volume": volume, **values}

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self.metrics.values():
            metric.reset()
