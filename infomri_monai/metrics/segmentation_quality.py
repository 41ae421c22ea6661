"""The segmentation table: agreement with the raters, calibration and diversity, one row per sampling ratio."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from infomri_monai.arrays import takes
from infomri_monai.metrics.cumulative import PerImageMetric, RatioMetric
from infomri_monai.metrics.overlap import dice_to_raters, energy_distance, sample_diversity
from infomri_monai.metrics.probability import (
    BinnedCalibration,
    brier_score,
    calibration_bins,
    expected_calibration_error,
)
from infomri_monai.metrics.rate_distortion import mask_ratio
from infomri_monai.metrics.structures import channel_masks, structure_masks, structure_names
from infomri_monai.metrics.tables import Column, RatioTable, TableCollector
from infomri_monai.metrics.volumes import volume_coverage

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
        ece: expected calibration error (46) of the class probabilities (softmax averaged over the latents) over the pixels of all
            images together.
        ece_of_samples: the same of the share of the segmentation samples that hold a pixel, as the paper averages.
        ece_per_image: of every image, of the class probabilities.
        brier: Brier score (47) of the class probabilities.
        brier_of_samples: the same of the share of samples.
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
    ece_of_samples: float = _NAN
    ece_per_image: float = _NAN
    brier: float = _NAN
    brier_of_samples: float = _NAN
    diversity: float = _NAN
    entropy: float = _NAN
    volume_coverage: float = _NAN
    images: int = 0

    @property
    def acceleration(self) -> float:
        """All positions / requested sampled positions."""
        return 1 / self.ratio


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

    fields: ClassVar = {
        "acceleration": ("accel.", "1/ratio", ".4g"),
        "ratio": ("ratio", "asked", ".4f"),
        "realised_ratio": ("ratio", "realised", ".4f"),
        "ged": ("GED", "V-stat.", ".4f"),
        "ged_unbiased": ("GED", "U-stat.", ".4f"),
        "dice": ("Dice", "majority", ".4f"),
        "dice_samples": ("Dice", "samples", ".4f"),
        "ece": ("ECE", "softmax", ".4f"),
        "ece_of_samples": ("ECE", "samples", ".4f"),
        "ece_per_image": ("ECE", "image", ".4f"),
        "brier": ("Brier", "softmax", ".4f"),
        "brier_of_samples": ("Brier", "samples", ".4f"),
        "diversity": ("diversity", "1 - IoU", ".4f"),
        "entropy": ("entropy", "nat", ".4f"),
        "volume_coverage": ("vol.cov.", "ideal .9", ".3f"),
        "images": ("images", "", "d"),
    }

    def columns(self) -> dict[str, Column]:
        """Every field in order; a structure that any row knows has its own, after the Dice of all."""
        names = dict.fromkeys(name for row in self.rows for name in row.structure_dice)
        own: dict[str, Column] = {structure_field(name): (name, "Dice", ".4f") for name in names}
        columns: dict[str, Column] = {}
        for field, column in self.fields.items():
            columns |= {field: column} | (own if field == "dice_samples" else {})
        return columns

    def extra(self, row: SegmentationRow) -> dict[str, float]:
        """The structures' Dice."""
        return {structure_field(name): value for name, value in row.structure_dice.items()}


#: conventions of the two probabilities of a pixel, and of their measures
_SOFTMAX = "of the softmax averaged over the latents"
_SHARE = "of the share of samples, as the paper averages"
_ECE = "10 bins over the pixels of all images and structures together, target: mean of the raters"
_BRIER = "target: every rater, mean over raters, structures and pixels, then images; 0 is best"


def _dice(which: str, over: str) -> PerImageMetric:
    """Mean over raters (and samples), structures and images."""
    convention = f"Dice of {which} with every rater, both empty: 1, mean over {over}, then images"
    return PerImageMetric(lambda masks, raters: dice_to_raters(masks, raters).nanmean(1), "1", convention)


def _energy_distance(kind: str, unbiased: bool) -> PerImageMetric:
    convention = (
        f"squared generalized energy distance (45), {kind}, d = 1 - IoU, both empty: IoU 1, mean over structures, then images; "
        "0 is best"
    )
    return PerImageMetric(partial(energy_distance, unbiased=unbiased), "1", convention)


def _by_samples() -> dict[str, RatioMetric]:
    """What compares all samples with all raters."""
    return {
        "ged": _energy_distance("V-statistic with self pairs", False),
        "ece_of_samples": BinnedCalibration(
            lambda samples, raters: calibration_bins(samples.float().mean(1), raters),
            f"expected calibration error (46) {_SHARE}, {_ECE}",
        ),
        "brier_of_samples": PerImageMetric(
            lambda samples, raters: brier_score(samples.float().mean(1), raters),
            "1",
            f"Brier score (47) {_SHARE}, {_BRIER}",
        ),
        "ged_unbiased": _energy_distance("U-statistic without self pairs", True),
        "dice_samples": _dice("every sample", "samples and raters, structures"),
        "volume_coverage": PerImageMetric(
            lambda samples, raters: volume_coverage(samples, raters).nanmean(1),
            "1",
            "share of raters whose volume of a structure lies inside the samples' central 90% interval, mean over structures, "
            "then images",
        ),
    }


def _by_probabilities() -> dict[str, RatioMetric]:
    """What compares the mean probabilities with all raters."""
    return {
        "ece": BinnedCalibration(calibration_bins, f"expected calibration error (46) {_SOFTMAX}, {_ECE}"),
        "ece_per_image": PerImageMetric(
            expected_calibration_error,
            "1",
            "expected calibration error (46) of an image, 10 bins, target: mean of the raters, structures pooled, mean over "
            "images",
        ),
        "brier": PerImageMetric(brier_score, "1", f"Brier score (47) {_SOFTMAX}, {_BRIER}"),
    }


class SegmentationQuality(TableCollector[SegmentationTable]):
    """Collects segmentations of any ratios and makes the segmentation table.

    Args:
        method: title of the table.
        num_classes: classes with the background, or (multi-label) labels.
        structures: names of the structures, for their columns of Dice; None numbers them. A single one has no own column.
        multi_label: structures are independent 0-1 channels.
        simulated_raters: whether the raters were simulated; the table's title says so.

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

    file_name = "segmentation"

    def __init__(
        self,
        method: str = "InfoMRI",
        num_classes: int = 2,
        structures: Sequence[str] | None = None,
        multi_label: bool = False,
        simulated_raters: bool = False,
    ) -> None:
        self.num_classes, self.multi_label = num_classes, multi_label
        count = num_classes if multi_label else num_classes - 1
        if count < 1:
            raise ValueError(f"num_classes must be at least 2 (multi-label: 1), got {count} structures.")
        self.structures = structure_names(structures, count)
        self._samples, self._probabilities = _by_samples(), _by_probabilities()
        own = {
            "realised_ratio": mask_ratio(),
            "dice": _dice("the majority mask", "raters, structures"),
            "diversity": PerImageMetric(
                lambda samples, _: sample_diversity(samples),
                "1",
                "mean 1 - IoU over pairs of different samples, both empty: IoU 1, mean over structures, then images",
            ),
            "entropy": PerImageMetric(
                lambda entropy, _: entropy.flatten(1).mean(1),
                "nat",
                "entropy of the mean class probabilities of a pixel, mean over pixels, then images",
            ),
        }
        metrics = {**own, **self._samples, **self._probabilities}
        shown = list(self.structures) if len(self.structures) > 1 else []
        self._fields = {name: structure_field(name) for name in shown}
        clash = [field for field in self._fields.values() if field in metrics]
        if clash or len(set(self._fields.values())) < len(shown):
            raise ValueError(f"structures must give different columns, none of {list(metrics)}, got {shown}.")
        metrics |= {field: _dice("the majority mask", "raters") for field in self._fields.values()}
        super().__init__(f"{method} (simulated raters)" if simulated_raters else method, metrics)

    @takes(label="label")
    def update(self, prediction: Any, label: Tensor, ratio: Tensor | float, volume: Tensor | int | None = None) -> None:
        """Add a batch.

        Args:
            prediction: a :class:`~infomri_monai.systems.SegmentationPosterior`.
            label: the raters' labels, integers, -1 in every pixel of a missing rater: maps (batch, rater, *spatial), or
                0-1 channels (batch, rater, structure, *spatial) if multi-label.
            ratio: requested sampling ratio, one or one per image.
            volume: which volume each image belongs to, for :meth:`by_image`.

        Raises:
            ValueError: if shapes do not fit, or a label's value is no class.
        """
        labels = convert_to_tensor(label, track_meta=False)
        raters = channel_masks(labels) if self.multi_label else structure_masks(labels, self.num_classes)
        samples, s = prediction.samples, len(self.structures)
        if raters.ndim != samples.ndim or raters.shape[2:] != samples.shape[2:] or raters.shape[2] != s:
            raise ValueError(
                f"labels {tuple(labels.shape)} do not fit {s} structures and samples {tuple(samples.shape)} "
                "(batch, sample, structure, *spatial)."
            )
        raters = raters.to(samples.device)
        inputs = {
            "realised_ratio": (prediction.mask, prediction.mask),
            "diversity": (samples, samples),
            "entropy": (prediction.entropy, prediction.entropy),
            **dict.fromkeys(self._samples, (samples, raters)),
            **dict.fromkeys(self._probabilities, (prediction.class_probabilities[:, -s:], raters)),
        }
        for i, field in enumerate(self._fields.values()):
            inputs[field] = prediction.majority[:, i : i + 1], raters[:, :, i : i + 1]
        for name, metric in self.metrics.items():
            metric(*inputs.get(name, (prediction.majority, raters)), ratio=ratio, volume=volume)

    def table(self) -> SegmentationTable:
        """The table of all batches since ``reset()``, on every rank the same.

        Raises:
            ValueError: if there are none.
        """
        columns = {name: metric.by_ratio() for name, metric in self.metrics.items()}
        structures = {name: columns.pop(field) for name, field in self._fields.items()}
        rows = [
            SegmentationRow(
                ratio=s,
                images=count,
                structure_dice={name: column[s] for name, column in structures.items()},
                **{name: column[s] for name, column in columns.items()},
            )
            for s, count in self.metrics["ged"].images_by_ratio().items()
        ]
        conventions = {name: m.convention for name, m in self.metrics.items()}
        return SegmentationTable(self.method, rows, conventions, self.told())
