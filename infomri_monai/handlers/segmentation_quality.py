"""Ignite handler that makes the segmentation table of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infomri_monai.handlers.ratio_sweep import RatioSweepHandler
from infomri_monai.metrics import SegmentationQuality, SegmentationTable

__all__ = ["SegmentationQualityHandler"]


class SegmentationQualityHandler(RatioSweepHandler[SegmentationTable]):
    """Collect energy distance, Dice, calibration and diversity per ratio from an evaluator that sweeps ratios.

    The evaluator's prediction is a :class:`~infomri_monai.systems.SegmentationPosterior`, its label the raters' labels, -1 for a
    missing rater. Metrics are published and files written as :class:`~infomri_monai.handlers.RateDistortionHandler` does;
    values of single images are in ``collector.by_image()``.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        method: title of the table.
        num_classes: classes with the background, or (multi-label) labels.
        structures: names of the structures, for their columns of Dice; None numbers them.
        multi_label: structures are independent 0-1 channels.
        output_dir: folder of ``segmentation.csv``, ``.json`` and ``.md``; None writes nothing.
        volume_key: key of the batch that says to which volume an image belongs, for the values of single images.
        simulated_raters: whether the raters were simulated; the table's title says so.

    Raises:
        ValueError: if a ratio is outside (0, 1], or as :class:`~infomri_monai.metrics.SegmentationQuality`.
    """

    collector: SegmentationQuality

    def __init__(
        self,
        ratios: Sequence[float],
        method: str = "InfoMRI",
        num_classes: int = 2,
        structures: Sequence[str] | None = None,
        multi_label: bool = False,
        output_dir: str | Path | None = None,
        volume_key: str | None = None,
        simulated_raters: bool = False,
    ) -> None:
        method = f"{method} (simulated raters)" if simulated_raters else method
        collector = SegmentationQuality(method, num_classes, structures, multi_label)
        super().__init__(collector, ratios, "segmentation", output_dir, volume_key)
