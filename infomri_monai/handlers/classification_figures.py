"""Handler that leaves the pictures of an evaluation of classifications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
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
from infomri_monai.handlers.classification_quality import ClassificationQualityHandler
from infomri_monai.handlers.first_batch import FirstBatch, draw_masks
from infomri_monai.information import MarginalEntropy
from infomri_monai.metrics import ClassificationTable
from infomri_monai.metrics.class_labels import class_names
from infomri_monai.sampling import SamplingPolicy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassificationFigures"]


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
