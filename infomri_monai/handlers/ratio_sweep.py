"""What the handlers share that make a table of an evaluation sweeping ratios."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from zlib import crc32

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.atomic import atomic_path
from infomri_monai.metrics.ratio_table import RatioTable
from infomri_monai.sampling.policy import check_ratio

__all__ = ["RatioSweepHandler"]

#: columns that name or count, rather than measure
_LABELS = ("acceleration", "ratio", "images", "subjects")

T = TypeVar("T", bound=RatioTable[Any])
T_co = TypeVar("T_co", bound=RatioTable[Any], covariant=True)


class Collector(Protocol[T_co]):
    """What collects batches and makes the table."""

    # the prediction is the collector's own kind of result
    def update(self, prediction: Any, label: Tensor, ratio: Tensor, volume: Tensor | None, /) -> None: ...
    def table(self) -> T_co: ...
    def reset(self) -> None: ...


def _as_numbers(labels: Tensor | Sequence[str]) -> Tensor:
    """Volume labels as integers, the same on every rank."""
    if isinstance(labels, Tensor):
        return labels
    return torch.tensor([crc32(str(label).encode()) for label in labels])


class RatioSweepHandler(Generic[T]):
    """Feed a collector from an evaluator that sweeps ratios, publish its table's columns and write the table.

    After every epoch ``engine.state.metrics`` holds ``<metric>_at_<ratio>`` for every column and ratio (so that MONAI's MLflow
    handler logs them) and ``<metric>`` as the mean over the ratios. With an ``output_dir`` the table is written there and
    printed to the log.

    Args:
        collector: gets the evaluator's prediction and label.
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        file_name: name of the files without suffix.
        output_dir: folder of the ``.csv``, ``.json`` and ``.md`` file; None writes nothing.
        volume_key: key of the batch that says to which volume an image belongs; None for no volumes.

    Raises:
        ValueError: if a ratio is outside (0, 1]; after the first epoch, if the key metric is no column of the table.
    """

    def __init__(
        self,
        collector: Collector[T],
        ratios: Sequence[float],
        file_name: str,
        output_dir: str | Path | None = None,
        volume_key: str | None = None,
    ) -> None:
        self.ratios = check_ratio(ratios, "ratios")
        self.file_name = file_name
        self.output_dir = Path(output_dir) if output_dir is not None else None
        self.volume_key = volume_key
        self.collector = collector
        self.table: T | None = None
        self.key_metric: str | None = None

    def attach(self, engine: Engine, name: str | None = None) -> None:
        """Register the handler's three events.

        Args:
            engine: the evaluator.
            name: column whose mean over the ratios says which model is best; given by MONAI where the handler stands in
                ``key_val_metric``, e.g. ``{"psnr": handler}``.
        """
        self.key_metric = name
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.collector.reset())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def update(self, engine: Engine) -> None:
        """Add the batch that the evaluator has just processed."""
        output: Any = engine.state.output
        batch: Any = engine.state.batch
        labels = output[CommonKeys.LABEL]
        ratio = self.ratios.repeat_interleave(labels.shape[0] // len(self.ratios))
        volume = None
        if self.volume_key is not None:
            volume = _as_numbers(batch[self.volume_key]).repeat(len(self.ratios))
        self.collector.update(output[CommonKeys.PRED], labels, ratio, volume)

    def finish(self, engine: Engine) -> None:
        """Publish the metrics and write the table."""
        self.table = self.collector.table()
        records = self.table.records()
        if self.key_metric is not None:
            self._check_key(records[0])
            engine.state.metrics[self.key_metric] = math.nan  # where no ratio has a finite value
        for name in records[0]:
            if name in _LABELS:
                continue
            finite = [(r["ratio"], r[name]) for r in records if math.isfinite(r[name])]
            if finite and len(finite) < len(records):
                logging.getLogger(__name__).warning("%s is not finite at %d ratios", name, len(records) - len(finite))
            engine.state.metrics |= {f"{name}_at_{ratio:.4f}": value for ratio, value in finite}
            if finite:
                engine.state.metrics[name] = sum(value for _, value in finite) / len(finite)
        if self.output_dir is not None and idist.get_rank() == 0:
            self._write(self.table, self.output_dir)

    def _check_key(self, columns: Mapping[str, Any]) -> None:
        names = [name for name in columns if name not in _LABELS]
        if self.key_metric not in names:
            raise ValueError(f"key metric must be one of {', '.join(names)}, got {self.key_metric!r}.")

    def _write(self, table: T, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        table.write_csv(folder / f"{self.file_name}.csv")
        table.write_json(folder / f"{self.file_name}.json")
        with atomic_path(folder / f"{self.file_name}.md") as part:
            part.write_text(table.markdown(), encoding="utf-8")
        logging.getLogger(__name__).info("\n%s", table)
