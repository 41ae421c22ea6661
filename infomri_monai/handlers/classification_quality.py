"""Ignite handler that makes the classification table of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infomri_monai.handlers.ratio_sweep import RatioSweepHandler
from infomri_monai.metrics import ClassificationQuality, ClassificationTable

__all__ = ["ClassificationQualityHandler"]


class ClassificationQualityHandler(RatioSweepHandler[ClassificationTable]):
    """Collect accuracy, AUROC with intervals, calibration and entropies per ratio from an evaluator that sweeps ratios.

    The evaluator's prediction is a :class:`~infomri_monai.systems.ClassificationPosterior`, its label class numbers, (batch,), or
    (multi-label) zeros and ones, (batch, C). Metrics are published and files written as
    :class:`~infomri_monai.handlers.RateDistortionHandler` does; an AUROC that a test set without one of the classes leaves
    undefined is not published, and the log says so. Values of single images are in ``collector.by_image()``, reliability
    diagrams in ``collector.diagrams()``.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        method: title of the table.
        num_classes: classes, or (multi-label) labels.
        labels: names of the classes or labels, for their columns of AUROC; None numbers them.
        multi_label: labels are independent of each other.
        output_dir: folder of ``classification.csv``, ``.json`` and ``.md``; None writes nothing.
        volume_key: key of the batch that says which subject (or volume) an image is of: the intervals resample subjects. None
            takes every image for a subject of its own, which makes them too narrow where there are several of one.
        bootstrap: how often subjects are drawn for the intervals; 0, e.g. while training, gives none.
        seed: of the draws.

    Raises:
        ValueError: if a ratio is outside (0, 1], or as :class:`~infomri_monai.metrics.ClassificationQuality`.
    """

    collector: ClassificationQuality

    def __init__(
        self,
        ratios: Sequence[float],
        method: str = "InfoMRI",
        num_classes: int = 2,
        labels: Sequence[str] | None = None,
        multi_label: bool = False,
        output_dir: str | Path | None = None,
        volume_key: str | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
    ) -> None:
        collector = ClassificationQuality(method, num_classes, labels, multi_label, bootstrap, seed)
        super().__init__(collector, ratios, "classification", output_dir, volume_key)
