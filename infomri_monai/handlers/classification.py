"""Handlers of classifications: pictures and single predictions of an evaluation; files and report of an inference."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from ignite import distributed as idist
from ignite.engine import Engine
from monai.utils import CommonKeys
from torch import Tensor

from infomri_monai.acquisition import FourierMeasurement
from infomri_monai.engines.classification import VolumeClassification
from infomri_monai.engines.prepare import device_of
from infomri_monai.figures import (
    acceleration_text,
    classification_by_acceleration_figure,
    classified_image_figure,
    entropy_map_figure,
    predictive_entropy_figure,
    reliability_figure,
    roc_figure,
)
from infomri_monai.files import atomic_path
from infomri_monai.handlers.cases import WriteCases, case_sidecar, write_files
from infomri_monai.handlers.sweep import RatioSweepHandler, SweepPictures, SweptImage, SweptImages
from infomri_monai.information import MarginalEntropy
from infomri_monai.metrics import ClassificationQuality, ClassificationTable
from infomri_monai.metrics.classification import class_field, class_names, class_targets
from infomri_monai.metrics.tables import write_rows
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.systems import ClassificationPosterior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ClassificationFigures", "PredictionTable", "ReportRow", "WriteClassification", "write_report"]


class ClassificationFigures(SweepPictures):
    """Pictures of an evaluation that sweeps ratios: performance, reliability, ROC, uncertainty, masks, entropy map, examples.

    The evaluator's prediction is a :class:`~infomri_monai.systems.ClassificationPosterior`. The first rank draws what all have
    seen.

    Args:
        quality: the evaluator's handler of a :class:`~infomri_monai.metrics.ClassificationQuality`, attached before this one.
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
        quality: RatioSweepHandler,
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
        super().__init__(quality, output_dir, seed)
        own: ClassificationQuality = quality.collector
        self.collector = own
        self.labels = class_names(own.labels if labels is None else labels, own.num_classes, own.multi_label)
        self.policy, self.entropy, self.measurement, self.examples = policy, entropy, measurement, examples

    def gather(self) -> tuple[dict[str, Tensor], dict[float, Any], Any]:
        """Values of every image, diagrams by ratio, and scores, targets and ratios."""
        return self.collector.by_image(), self.collector.diagrams(), self.collector.auroc.get_buffer()

    def draw(self, table: ClassificationTable, gathered: tuple[dict[str, Tensor], dict[float, Any], Any]) -> None:
        """Draw all."""
        images, diagrams, answers = gathered
        self.save(self._performance(table), "performance")
        known = {acceleration_text(s): d for s, d in sorted(diagrams.items(), reverse=True)}
        self.save(self._reliability(known), "reliability")
        self.save(self._roc(*answers), "roc")
        self.save(self._uncertainty(images), "predictive_entropy")
        self.draw_masks(self.policy, self.descending(), self.entropy)
        if self.entropy is not None:
            self.save(self._entropy_map(self.entropy), "entropy_map")
        self.save(self._examples(), "examples")

    def _performance(self, table: ClassificationTable) -> Figure:
        """Accuracy and AUROC with their intervals; the classes' own areas in a panel of theirs."""
        scored = self.collector.auroc.names
        kind = f"AUROC of {self._name(scored[0])}" if len(scored) == 1 else f"AUROC, mean of {len(scored)}"
        metrics: dict[str, dict[str, Any]] = {
            "accuracy": {table.method: {row.acceleration: row.accuracy for row in table.rows}},
            kind: {table.method: {row.acceleration: row.auroc for row in table.rows}},
        }
        each = {self._name(n): {row.acceleration: row.class_auroc.get(n) for row in table.rows} for n in scored}
        every = f"AUROC of each {'label' if self.collector.multi_label else 'class against the rest'}"
        metrics[every] = {n: {a: e for a, e in curve.items() if e is not None} for n, curve in each.items()}
        shown = {label: {n: c for n, c in curves.items() if _measured(c)} for label, curves in metrics.items()}
        known = not any(math.isnan(row.subjects) for row in table.rows)
        level = 100 * self.collector.bootstrap.level
        interval = f"{level:.3g} % bootstrap interval over {'subjects' if known else 'images'}"
        return classification_by_acceleration_figure({k: c for k, c in shown.items() if c}, interval, table.method)

    def _name(self, scored: str) -> str:
        """This handler's name of one of the collector's classes."""
        return self.labels[self.collector.labels.index(scored)]

    def _reliability(self, diagrams: dict[str, Any]) -> Figure:
        multi_label = self.collector.multi_label
        return reliability_figure(
            diagrams,
            "Reliability of the probabilities",
            frequency="share of labels that are there" if multi_label else "share of right answers",
            probability=f"mean probability of {'a label' if multi_label else 'the answer'}",
            counted="labels" if multi_label else "images",
        )

    def _roc(self, statistics: Tensor, labels: Tensor) -> Figure:
        scores, targets = statistics.cpu().unbind(1)
        answers = {name: (scores[at], targets[at]) for name, at in self.by_ratio(labels[:, 0].cpu())}
        return roc_figure(
            answers, [self._name(n) for n in self.collector.auroc.names], "Receiver operating characteristic"
        )

    def _uncertainty(self, images: dict[str, Tensor]) -> Figure:
        multi_label, count = self.collector.multi_label, self.collector.num_classes
        right = (images["exact_match"] if multi_label else images["accuracy"]).cpu()
        entropy = images["entropy"].cpu()
        answers = {name: (entropy[at], right[at]) for name, at in self.by_ratio(images["ratio"].cpu())}
        highest = count * math.log(2) if multi_label else math.log(count)
        return predictive_entropy_figure(answers, highest, title="Does uncertainty find the errors?")

    @torch.no_grad()
    def _entropy_map(self, entropy: MarginalEntropy) -> Figure:
        ratios = self.descending().tolist()
        generator = torch.Generator(device_of(self.policy)).manual_seed(self.seed)
        learned = self.policy(ratios, self.image.shape[-2:], generator).probabilities
        probabilities = dict(zip(ratios, learned, strict=True))
        return entropy_map_figure(
            entropy.position_entropy(), entropy.pair_entropy(), probabilities, "Entropy over k-space"
        )

    @torch.no_grad()
    def _examples(self) -> Figure:
        """Images of different classes at the middle ratio."""
        image, label, result = self.image, self.label, self.prediction
        each, order = len(image) // len(self.quality.ratios), self.quality.ratios.argsort(descending=True).tolist()
        kinds = (label[:each] > 0).any(1).long() if self.collector.multi_label else label[:each]
        times = torch.stack([(kinds[:i] == kinds[i]).sum() for i in range(each)])
        first = (times * (int(kinds.max()) + 1) + kinds).argsort(stable=True)[: self.examples].tolist()
        middle = order[(len(order) - 1) // 2]
        zero_filled = None
        if self.measurement is not None:
            device = device_of(self.measurement)
            generator = torch.Generator(device).manual_seed(self.seed)
            zero_filled = self.measurement.zero_filled(image.to(device), result.mask.to(device), generator)
        return classified_image_figure(
            result,
            image,
            label,
            [middle * each + i for i in first],
            zero_filled=zero_filled,
            classes=self.labels,
            multi_label=self.collector.multi_label,
            title=f"Classified at {acceleration_text(float(self.quality.ratios[middle]))}",
        )


def _measured(curve: dict[float, tuple[float, float, float]]) -> bool:
    return any(not math.isnan(value) for value, _, _ in curve.values())


class PredictionTable(SweptImages[dict[str, float]]):
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
        super().__init__(ratios)
        self.output_dir = Path(output_dir)
        self.labels, self.keys = labels, tuple(keys)
        self.rows: list[dict[str, Any]] = []

    def notes(self, engine: Engine) -> list[dict[str, float]]:
        """What the columns say of every image."""
        output: Any = engine.state.output
        prediction: ClassificationPosterior = output[CommonKeys.PRED]
        columns = self._labels_and_probabilities(prediction.probabilities, output[CommonKeys.LABEL])
        columns |= {
            "realised_ratio": prediction.ratio,
            "entropy": prediction.entropy,
            "mutual_information": prediction.mutual_information,
            "kspace_entropy": prediction.kspace_entropy,
        }
        numbers = self._numbers(engine.state.batch, len(prediction.ratio) // len(self.ratios))
        table = torch.stack([values.cpu().double() for values in columns.values()], 1).tolist()
        notes = [dict(zip(columns, values, strict=True)) for values in table]
        return [numbers[i % len(numbers)] | note for i, note in enumerate(notes)]

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

    def conclude(self, images: list[SweptImage[dict[str, float]]]) -> None:
        """Write the file, on the first rank."""
        self.rows = [
            {"image": image.number, **dict.fromkeys(self.keys), "ratio": image.ratio, "acceleration": 1 / image.ratio}
            | image.note
            for image in images
        ]
        if idist.get_rank() == 0 and self.rows:
            write_rows(self.output_dir / "predictions.csv", self.rows, list(self.rows[0]))


class ReportRow(NamedTuple):
    """A case of the report.

    Attributes:
        case: its number, from 1; logs name cases by it.
        name: name of its file.
        result: what the inferer returned; None if the case failed.
        reason: why it failed.
        warnings: what a reader must know before trusting the numbers.
    """

    case: int
    name: str
    result: VolumeClassification | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()


def write_report(
    rows: Iterable[ReportRow], path: str | os.PathLike[str], labels: Sequence[str], multi_label: bool = False
) -> None:
    """Write the table, completely or not at all; fields that are not known are empty.

    Args:
        rows: the cases, in any order; may be none.
        path: the CSV file.
        labels: names of the classes or labels.
        multi_label: also list the labels of probability above one half.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.csv"
        >>> write_report([ReportRow(1, "a", reason="ValueError: image holds NaN or Inf values.")], path, ["no", "yes"])
        >>> header, row = path.read_text().splitlines()
        >>> header.split(",")[-6:-3]
        ['probability_no', 'probability_yes', 'most_probable']
        >>> row.rstrip(",")
        '1,a,failed,ValueError: image holds NaN or Inf values.'
    """
    probabilities = [f"probability_{label}" for label in labels]
    columns = [
        *("case", "name", "status", "reason", "simulated", "ratio_requested", "ratio_realised", "ratio_of_all_masks"),
        *("acceleration", "masks", "slices", "case_rule", *probabilities, "most_probable"),
        *(["above_one_half"] if multi_label else []),
        *("entropy_nats", "mutual_information_nats", "warnings"),
    ]
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_fields(row, labels, multi_label) for row in sorted(rows, key=lambda row: row.case))


def _fields(row: ReportRow, labels: Sequence[str], multi_label: bool) -> dict[str, Any]:
    result = row.result
    fields = {"case": row.case, "name": row.name, "status": "ok" if result else "failed", "reason": row.reason}
    if result is None:
        return fields
    known = dict(zip(labels, result.probabilities.tolist(), strict=True))
    ratio, requested = float(result.ratio.mean()), result.record.ratio_requested
    fields |= {
        "simulated": "yes" if result.record.simulated else "no",
        "ratio_requested": "" if requested is None else requested,
        "ratio_realised": ratio,
        "ratio_of_all_masks": float(result.ratio_of_all_masks.mean()),
        "acceleration": 1 / ratio if ratio > 0 else "",
        "masks": result.masks,
        "slices": len(result.ratio),
        "case_rule": result.case_rule,
        **{f"probability_{label}": probability for label, probability in known.items()},
        "most_probable": max(known, key=known.__getitem__),
        "entropy_nats": result.entropy,
        "mutual_information_nats": "" if result.masks == 1 else result.mutual_information,
        "warnings": "; ".join(row.warnings),
    }
    if multi_label:
        fields["above_one_half"] = "; ".join(label for label, probability in known.items() if probability > 0.5)
    return fields


_UNITS = (
    "probabilities: 0 to 1; entropy, mutual_information: nats (independent labels: entropy summed over them); ratio: share of "
    "k-space positions; null: not known (a slice without signal; mutual information of one mask)"
)


class WriteClassification(WriteCases):
    """Write the diagnoses of an evaluator whose inferer is a :class:`~infomri_monai.engines.ClassificationInferer`.

    ``report.csv`` has a row for every case, in the order of their numbers: the case's number and name, whether it succeeded or
    why not, how it was acquired, the probability of every label, their entropy, the mutual information between label and mask
    (empty for a single mask), and warnings. ``<case>.json`` holds the same and the values of every slice; a case that failed has
    none. No image, no k-space and no mask is written, nor anything from which one could be computed but the probabilities.

    The report is written anew after every case, so that an interruption loses nothing, and belongs to one run. Several ranks
    write ``report.rank<i>.csv`` until the end, when rank 0 puts them together.

    Args:
        output_dir: folder of the files; made if absent.
        name_by: ``"stem"`` or ``"index"``, see :class:`~infomri_monai.handlers.cases.WriteCases`; names stand in the
            report too.
        labels: names of the classes, or labels if ``multi_label``; None numbers them from 0.
        multi_label: independent labels instead of exclusive classes, as the network's.

    Raises:
        ValueError: as WriteCases; if names repeat; at the start of a run if their number or ``multi_label`` is not the network's.
        RuntimeError: at the end of the run, if cases failed; it lists their numbers and reasons.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        name_by: str = "stem",
        labels: Sequence[str] | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__(output_dir, name_by)
        if not isinstance(multi_label, bool):
            raise ValueError(f"multi_label must be True or False, got {multi_label!r}.")
        if labels is not None and (isinstance(labels, str) or not labels or len(set(labels)) < len(labels)):
            raise ValueError(f"labels must be different names, one for each class, got {labels!r}.")
        self.labels = None if labels is None else tuple(str(label) for label in labels)
        self.multi_label = multi_label
        self.rows: dict[int, ReportRow] = {}
        self._names: tuple[str, ...] = ()

    def begin(self, network: Any) -> None:
        """Forget the rows of an earlier run; check names and kind of the labels against the network."""
        if bool(network.multi_label) is not self.multi_label:
            raise ValueError(f"multi_label={self.multi_label}, but the network has multi_label={network.multi_label}.")
        number = int(network.num_classes)
        self._names = self.labels or tuple(f"class_{i}" for i in range(number))
        if len(self._names) != number:
            raise ValueError(f"labels must be {number} names, one for each class of the network, got {self.labels}.")
        self.rows = {}

    def write(self, result: VolumeClassification, batch: dict[str, Any], index: int, network: Any) -> None:
        """Write the case's JSON file and note its row."""
        row = ReportRow(index, self.names[index], result=result, warnings=_warnings(result, network))
        details = self._details(result, row.warnings)
        sidecar = case_sidecar(result.record, result.ratio, type(network).__name__, details)
        write_files(self.prefix(index), {}, sidecar, "")
        self.rows[index] = row

    def follow(self, index: int) -> None:
        """Write the report as it stands."""
        if index in self.failures:
            self.rows[index] = ReportRow(index, self.names[index], reason=self.failures[index])
        rank, alone = idist.get_rank(), idist.get_world_size() == 1
        write_report(
            self.rows.values(),
            self.output_dir / ("report.csv" if alone else f"report.rank{rank}.csv"),
            self._names,
            self.multi_label,
        )

    def end(self) -> None:
        """Put the ranks' rows together; a case that several ranks have seen is there once."""
        parts: list[dict[int, ReportRow]] = idist.all_gather(self.rows)  # type: ignore[assignment]
        if idist.get_rank() != 0:
            return
        merged = {index: row for part in reversed(parts) for index, row in part.items()}
        write_report(merged.values(), self.output_dir / "report.csv", self._names, self.multi_label)
        for rank in range(len(parts)):
            (self.output_dir / f"report.rank{rank}.csv").unlink(missing_ok=True)

    def _details(self, result: VolumeClassification, warnings: Sequence[str]) -> dict[str, Any]:
        """What the JSON file says about the diagnosis; NaN or None for what is unknown."""
        of_slices = result.slice_probabilities.T.tolist()
        alone = result.masks == 1
        return {
            "labels": list(self._names),
            "multi_label": self.multi_label,
            "masks": result.masks,
            "ratio_of_all_masks": float(result.ratio_of_all_masks.mean()),
            "case_rule": result.case_rule,
            "slices": len(result.ratio),
            "probabilities": dict(zip(self._names, result.probabilities.tolist(), strict=True)),
            "most_probable": self._names[int(result.probabilities.argmax())],
            "entropy": result.entropy,
            "mutual_information": None if alone else result.mutual_information,
            "slice_probabilities": dict(zip(self._names, of_slices, strict=True)),
            "slice_entropy": result.slice_entropy.tolist(),
            "slice_mutual_information": None if alone else result.slice_mutual_information.tolist(),
            "warnings": list(warnings),
            "units": _UNITS,
        }


def _warnings(result: VolumeClassification, network: Any) -> tuple[str, ...]:
    """What a reader must know before trusting the numbers."""
    record, empty = result.record, int(result.slice_entropy.isnan().sum())
    said = {
        "k-space was simulated from an image": record.simulated,
        "the sampling ratio lies outside the range that the policy was trained for": record.ratio_extrapolated,
        f"{result.masks} masks are as many acquisitions, see ratio_of_all_masks": result.masks > 1,
        f"{empty} of {len(result.ratio)} slices have no signal and do not count": empty > 0,
        "the network takes the measured object for real-valued": not record.simulated
        and getattr(network, "real_valued", False),
    }
    return tuple(text for text, holds in said.items() if holds)
