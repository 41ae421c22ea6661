"""Ignite handler that makes the rate-distortion table of an evaluation."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.atomic import atomic_path
from infomri_monai.metrics import RateDistortion, RateDistortionTable
from infomri_monai.sampling.policy import check_ratio

__all__ = ["RateDistortionHandler"]


def _as_numbers(labels: Tensor | Sequence[str]) -> Tensor:
    """Volume labels as integers, the same on every rank."""
    if isinstance(labels, Tensor):
        return labels
    return torch.tensor([crc32(str(label).encode()) for label in labels])


class RateDistortionHandler:
    """Collect quality, calibration and redundancy per ratio from an evaluator that sweeps ratios.

    After every epoch ``engine.state.metrics`` holds ``<metric>_at_<ratio>`` for every column and ratio (so that MONAI's MLflow
    handler logs them) and ``<metric>`` as the mean over the ratios. With an ``output_dir`` the table is written there and
    printed to the log.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        method: title of the table.
        output_dir: folder of ``rate_distortion.csv``, ``.json`` and ``.md``; None writes nothing.
        volume_key: key of the batch that says to which volume a slice belongs; None leaves volume-level metrics out.

    Raises:
        ValueError: if a ratio is outside (0, 1].
    """

    def __init__(
        self,
        ratios: Sequence[float],
        method: str = "InfoMRI",
        output_dir: str | Path | None = None,
        volume_key: str | None = None,
    ) -> None:
        self.ratios = check_ratio(ratios, "ratios")
        self.output_dir = Path(output_dir) if output_dir is not None else None
        self.volume_key = volume_key
        self.collector = RateDistortion(method)
        self.table: RateDistortionTable | None = None

    def attach(self, engine: Engine) -> None:
        """Register the handler's three events."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.collector.reset())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def update(self, engine: Engine) -> None:
        """Add the batch that the evaluator has just processed."""
        output: Any = engine.state.output
        batch: Any = engine.state.batch
        images = output[CommonKeys.LABEL]
        ratio = self.ratios.repeat_interleave(images.shape[0] // len(self.ratios))
        volume = None
        if self.volume_key is not None:
            volume = _as_numbers(batch[self.volume_key]).repeat(len(self.ratios))
        self.collector.update(output[CommonKeys.PRED], images, ratio, volume)

    def finish(self, engine: Engine) -> None:
        """Publish the metrics and write the table."""
        self.table = self.collector.table()
        rows = [row._asdict() for row in self.table.rows]
        for name in rows[0]:
            values = [row[name] for row in rows]
            if name in ("ratio", "images"):
                continue
            finite = [(row["ratio"], value) for row, value in zip(rows, values, strict=True) if math.isfinite(value)]
            if finite and len(finite) < len(rows):
                logging.getLogger(__name__).warning("%s is not finite at %d ratios", name, len(rows) - len(finite))
            engine.state.metrics |= {f"{name}_at_{ratio:.4f}": value for ratio, value in finite}
            if finite:
                engine.state.metrics[name] = sum(value for _, value in finite) / len(finite)
        if self.output_dir is not None and idist.get_rank() == 0:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            self.table.write_csv(self.output_dir / "rate_distortion.csv")
            self.table.write_json(self.output_dir / "rate_distortion.json")
            with atomic_path(self.output_dir / "rate_distortion.md") as part:
                part.write_text(self.table.markdown(), encoding="utf-8")
            logging.getLogger(__name__).info("\n%s", self.table)
