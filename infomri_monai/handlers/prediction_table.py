"""Handler that writes what an evaluation said of every single image."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.atomic import atomic_path
from infomri_monai.handlers.swept_images import SweptImages
from infomri_monai.json_numbers import null_unless_finite
from infomri_monai.metrics.class_labels import class_field, class_names, class_targets
from infomri_monai.systems import ClassificationPosterior

__all__ = ["PredictionTable"]


class PredictionTable:
    """``predictions.csv``: one row for every image and ratio of an evaluation that sweeps ratios.

    Columns: ``image`` (number in the data set, from 1), the ``keys``, ``ratio`` and ``acceleration`` asked for,
    ``realised_ratio``, ``label`` (class number; of independent labels ``label_<name>``, 0 or 1), ``probability_<name>``,
    ``entropy`` of the prediction, ``mutual_information`` of label and mask and ``kspace_entropy`` of the measurement, all in nats.
    Empty: not known. The images of all ranks are there, each once.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        output_dir: folder of the file.
        labels: names of the classes or labels; None numbers them.
        keys: keys of the batch whose whole numbers tell images apart; one that a batch lacks stays empty.

    Raises:
        ValueError: if a ratio is outside (0, 1]; in the first batch, if ``labels`` are not as many as the probabilities, or a
            key holds anything but whole numbers: a text could be a patient's name.
    """

    def __init__(
        self,
        ratios: Sequence[float],
        output_dir: str | Path,
        labels: Sequence[str] | None = None,
        keys: Sequence[str] = ("subject", "slice"),
    ) -> None:
        self.images: SweptImages[dict[str, float]] = SweptImages(ratios)
        self.output_dir = Path(output_dir)
        self.labels, self.keys = labels, tuple(keys)
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register after every batch and at an epoch's end."""
        self.images.attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        prediction: ClassificationPosterior = output[CommonKeys.PRED]
        columns = self._labels_and_probabilities(prediction.probabilities, output[CommonKeys.LABEL])
        columns |= {
            "realised_ratio": prediction.ratio,
            "entropy": prediction.entropy,
            "mutual_information": prediction.mutual_information,
            "kspace_entropy": prediction.kspace_entropy,
        }
        numbers = self._numbers(engine.state.batch, len(prediction.ratio) // len(self.images.ratios))
        table = torch.stack([values.cpu().double() for values in columns.values()], 1).tolist()
        notes = [dict(zip(columns, values, strict=True)) for values in table]
        self.images.add(engine, [numbers[i % len(numbers)] | note for i, note in enumerate(notes)])

    def _labels_and_probabilities(self, probabilities: Tensor, label: Tensor) -> dict[str, Tensor]:
        several = label.ndim == 2
        fields = [class_field(name) for name in class_names(self.labels, probabilities.shape[1], several)]
        targets = class_targets(label, len(fields), several)
        labels = {f"label_{field}": targets[:, i] for i, field in enumerate(fields)} if several else {"label": label}
        return labels | {f"probability_{field}": probabilities[:, i] for i, field in enumerate(fields)}

    def _numbers(self, batch: Any, images: int) -> list[dict[str, float]]:
        """What the batch's keys say of every image."""
        columns: dict[str, Sequence[float]] = {}
        for key in self.keys:
            if key not in batch:
                columns[key] = [float("nan")] * images
                continue
            values = batch[key]
            if not isinstance(values, Tensor) or values.is_floating_point() or tuple(values.shape) != (images,):
                raise ValueError(
                    f"batch[{key!r}] must hold one whole number for each of {images} images, nothing else."
                )
            columns[key] = values.tolist()
        return [{key: column[i] for key, column in columns.items()} for i in range(images)]

    def _write(self, engine: Engine) -> None:
        self.rows = [
            {"image": image.number, **dict.fromkeys(self.keys), "ratio": image.ratio, "acceleration": 1 / image.ratio}
            | image.note
            for image in self.images.gathered()
        ]
        if idist.get_rank() != 0 or not self.rows:
            return
        path = self.output_dir / "predictions.csv"
        with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows({k: null_unless_finite(v) for k, v in row.items()} for row in self.rows)
