"""Handler that leaves the pictures of an evaluation of classifications.

Also here: Ignite handler that makes the classification table of an evaluation. Handler that writes what an evaluation
said of every single image.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.figures import (
    acceleration_text,
    classification_by_acceleration_figure,
    classified_image_figure,
    entropy_map_figure,
    predictive_entropy_figure,
    reliability_figure,
    roc_figure,
    save_figure,
)
from infomri_monai.files import atomic_path, null_unless_finite
from infomri_monai.handlers.sweep import FirstBatch, RatioSweepHandler, SweptImages, draw_masks
from infomri_monai.information import MarginalEntropy
from infomri_monai.metrics import ClassificationQuality, ClassificationTable
from infomri_monai.metrics.classification import class_field, class_names, class_targets
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.systems import ClassificationPosterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassificationFigures", "ClassificationQualityHandler", "PredictionTable"]


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


class ClassificationFigures:
    """Pictures of an evaluation that sweeps ratios: performance, reliability, ROC, uncertainty, masks, entropy map, examples.

    The evaluator's prediction is a :class:`~infomri_monai.systems.ClassificationPosterior`. The first rank draws what all have
    seen.

    Args:
        quality: the evaluator's :class:`ClassificationQualityHandler`, attached before this one.
        policy: the policy whose masks and probabilities are drawn.
        entropy: estimator of the entropy of what is measured, on the policy's device; None draws no map and no Ĥ.
        output_dir: folder of ``performance.png``, ``reliability.png``, ``roc.png``, ``predictive_entropy.png``, ``masks.png``,
            ``examples.png`` and (with ``entropy``) ``entropy_map.png``.
        seed: seed of the drawn masks and of the examples' noise.
        labels: names of the classes or labels; None takes those of ``quality``.
        measurement: the evaluation's measurement, for the zero-filled images of the examples, measured anew with the masks that
            were used (noise differs); None leaves them out.
        examples: number of images in ``examples.png``, at most the first batch's: the first of every class, then the second, at
            the middle ratio.

    Raises:
        ValueError: if ``examples`` < 1, or ``labels`` are not as many as ``quality``'s.
    """

    def __init__(
        self,
        quality: ClassificationQualityHandler,
        policy: SamplingPolicy,
        entropy: MarginalEntropy | None,
        output_dir: str | Path,
        seed: int = 0,
        labels: Sequence[str] | None = None,
        measurement: FourierMeasurement | None = None,
        examples: int = 4,
    ) -> None:
        if examples < 1:
            raise ValueError(f"examples must be at least 1, got {examples}.")
        own = quality.collector
        self.labels = class_names(own.labels if labels is None else labels, own.num_classes, own.multi_label)
        self.quality, self.policy, self.entropy, self.measurement = quality, policy, entropy, measurement
        self.output_dir, self.seed, self.examples = Path(output_dir), seed, examples
        self._first = FirstBatch()

    def attach(self, engine: Engine) -> None:
        """Register: keep the first batch of an epoch, draw at its end."""
        self._first.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._draw)

    def _draw(self, engine: Engine) -> None:
        table, collector = self.quality.table, self.quality.collector
        if table is None:
            return
        # these talk to the other ranks
        images, diagrams, answers = collector.by_image(), collector.diagrams(), collector.auroc.get_buffer()
        if idist.get_rank() != 0 or self._first.prediction is None:
            return
        self._save(self._performance(table), "performance")
        known = {acceleration_text(s): d for s, d in sorted(diagrams.items(), reverse=True)}
        self._save(self._reliability(known), "reliability")
        self._save(self._roc(*answers), "roc")
        self._save(self._uncertainty(images), "predictive_entropy")
        masks = self.output_dir / "masks.png"
        draw_masks(self.policy, self._ratios(), self._first.image, self.seed, masks, self.entropy)
        if self.entropy is not None:
            self._save(self._entropy_map(self.entropy), "entropy_map")
        self._save(self._examples(), "examples")

    def _save(self, figure: Figure, name: str) -> None:
        save_figure(figure, self.output_dir / f"{name}.png")

    def _ratios(self) -> Tensor:
        return self.quality.ratios.sort(descending=True).values

    def _performance(self, table: ClassificationTable) -> Figure:
        """Accuracy and AUROC with their intervals; the classes' own areas in a panel of theirs."""
        scored = self.quality.collector.auroc.names
        kind = f"AUROC of {self._name(scored[0])}" if len(scored) == 1 else f"AUROC, mean of {len(scored)}"
        metrics: dict[str, dict[str, Any]] = {
            "accuracy": {table.method: {row.acceleration: row.accuracy for row in table.rows}},
            kind: {table.method: {row.acceleration: row.auroc for row in table.rows}},
        }
        each = {self._name(n): {row.acceleration: row.class_auroc.get(n) for row in table.rows} for n in scored}
        every = f"AUROC of each {'label' if self.quality.collector.multi_label else 'class against the rest'}"
        metrics[every] = {n: {a: e for a, e in curve.items() if e is not None} for n, curve in each.items()}
        shown = {label: {n: c for n, c in curves.items() if _measured(c)} for label, curves in metrics.items()}
        known = not any(math.isnan(row.subjects) for row in table.rows)
        level = 100 * self.quality.collector.bootstrap.level
        interval = f"{level:.3g} % bootstrap interval over {'subjects' if known else 'images'}"
        return classification_by_acceleration_figure({k: c for k, c in shown.items() if c}, interval, table.method)

    def _name(self, scored: str) -> str:
        """This handler's name of one of the collector's classes."""
        return self.labels[self.quality.collector.labels.index(scored)]

    def _reliability(self, diagrams: dict[str, Any]) -> Figure:
        multi_label = self.quality.collector.multi_label
        return reliability_figure(
            diagrams,
            "Reliability of the probabilities",
            frequency="share of labels that are there" if multi_label else "share of right answers",
            probability=f"mean probability of {'a label' if multi_label else 'the answer'}",
            counted="labels" if multi_label else "images",
        )

    def _roc(self, statistics: Tensor, labels: Tensor) -> Figure:
        scores, targets = statistics.cpu().unbind(1)
        answers = {name: (scores[at], targets[at]) for name, at in self._by_ratio(labels[:, 0].cpu())}
        return roc_figure(
            answers, [self._name(n) for n in self.quality.collector.auroc.names], "Receiver operating characteristic"
        )

    def _uncertainty(self, images: dict[str, Tensor]) -> Figure:
        multi_label, count = self.quality.collector.multi_label, self.quality.collector.num_classes
        right = (images["exact_match"] if multi_label else images["accuracy"]).cpu()
        entropy = images["entropy"].cpu()
        answers = {name: (entropy[at], right[at]) for name, at in self._by_ratio(images["ratio"].cpu())}
        highest = count * math.log(2) if multi_label else math.log(count)
        return predictive_entropy_figure(answers, highest, title="Does uncertainty find the errors?")

    def _by_ratio(self, ratio: Tensor) -> list[tuple[str, Tensor]]:
        """Which images have which ratio, from the lowest acceleration to the highest."""
        close = [
            (s, torch.isclose(ratio, torch.as_tensor(s, dtype=ratio.dtype), atol=1e-6)) for s in self._ratios().tolist()
        ]
        return [(acceleration_text(s), at) for s, at in close if bool(at.any())]

    @torch.no_grad()
    def _entropy_map(self, entropy: MarginalEntropy) -> Figure:
        ratios = self._ratios().tolist()
        generator = torch.Generator(_device(self.policy)).manual_seed(self.seed)
        learned = self.policy(ratios, self._first.image.shape[-2:], generator).probabilities
        probabilities = dict(zip(ratios, learned, strict=True))
        return entropy_map_figure(
            entropy.position_entropy(), entropy.pair_entropy(), probabilities, "Entropy over k-space"
        )

    @torch.no_grad()
    def _examples(self) -> Figure:
        """Images of different classes at the middle ratio."""
        image, label, result = self._first.image, self._first.label, self._first.prediction
        each, order = len(image) // len(self.quality.ratios), self.quality.ratios.argsort(descending=True).tolist()
        kinds = (label[:each] > 0).any(1).long() if self.quality.collector.multi_label else label[:each]
        times = torch.stack([(kinds[:i] == kinds[i]).sum() for i in range(each)])
        first = (times * (int(kinds.max()) + 1) + kinds).argsort(stable=True)[: self.examples].tolist()
        middle = order[(len(order) - 1) // 2]
        zero_filled = None
        if self.measurement is not None:
            device = _device(self.measurement)
            generator = torch.Generator(device).manual_seed(self.seed)
            zero_filled = self.measurement.zero_filled(image.to(device), result.mask.to(device), generator)
        return classified_image_figure(
            result,
            image,
            label,
            [middle * each + i for i in first],
            zero_filled=zero_filled,
            classes=self.labels,
            multi_label=self.quality.collector.multi_label,
            title=f"Classified at {acceleration_text(float(self.quality.ratios[middle]))}",
        )


def _measured(curve: dict[float, tuple[float, float, float]]) -> bool:
    return any(not math.isnan(value) for value, _, _ in curve.values())


def _device(module: torch.nn.Module) -> torch.device:
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


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
