"""What handlers share that follow an evaluation sweeping ratios: its table, notes on its images, and its pictures."""

from __future__ import annotations

import logging
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from zlib import crc32

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

from infomri_monai.engines.prepare import device_of
from infomri_monai.figures import acceleration_text, mask_figure, save_figure
from infomri_monai.metrics import RatioTable, TableCollector
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.sampling.policy import check_ratio
from infomri_monai.triage import sample_agreement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RatioSweepHandler", "SweepPictures", "SweptImage", "SweptImages", "batch_agreement"]

#: columns that name or count, rather than measure
_LABELS = ("acceleration", "ratio", "images", "subjects")


def _as_numbers(labels: Tensor | Sequence[str]) -> Tensor:
    """Volume labels as integers, the same on every rank."""
    if isinstance(labels, Tensor):
        return labels
    return torch.tensor([crc32(str(label).encode()) for label in labels])


class RatioSweepHandler:
    """Feed a collector from an evaluator that sweeps ratios, publish its table's columns and write the table.

    After every epoch ``engine.state.metrics`` holds ``<metric>_at_<ratio>`` for every column and ratio (so that MONAI's MLflow
    handler logs them) and ``<metric>`` as the mean over the ratios. A column without a value at any ratio is not published. Where
    it has none at one ratio (predictions that are not finite, the AUROC of a test set without one of the classes), its mean is NaN.
    The log says so, and how many images were left out. A key metric that is not defined is infinitely bad: nothing is better than
    NaN, and no later model would be the best one. With an ``output_dir`` the table is written there and printed to the log.

    Args:
        collector: gets the evaluator's prediction and label: :class:`~infomri_monai.metrics.RateDistortion`,
            :class:`~infomri_monai.metrics.SegmentationQuality` or :class:`~infomri_monai.metrics.ClassificationQuality`.
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.
        output_dir: folder of the ``.csv``, ``.json`` and ``.md`` file, which the collector names; None writes nothing.
        volume_key: key of the batch that says to which volume (subject) an image belongs, for what is measured of volumes and for
            intervals over subjects; None takes every image for itself.

    Raises:
        ValueError: if a ratio is outside (0, 1]; after the first epoch, if the key metric is no column of the table.
    """

    def __init__(
        self,
        collector: TableCollector[Any],
        ratios: Sequence[float],
        output_dir: str | Path | None = None,
        volume_key: str | None = None,
    ) -> None:
        self.ratios = check_ratio(ratios, "ratios")
        self.output_dir = Path(output_dir) if output_dir is not None else None
        self.volume_key = volume_key
        self.collector: Any = collector  # whose own attributes the pictures read
        self.table: RatioTable[Any] | None = None
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
        self._add(engine.state.batch, output[CommonKeys.PRED], output[CommonKeys.LABEL])

    def trial(self, batch: Mapping[str, Any], prediction: Any, labels: Tensor) -> None:
        """Make the table of one batch and forget it: raises what an evaluation would raise.

        Args:
            batch: as the data loader gives it.
            prediction: what the evaluator makes of it.
            labels: the targets, repeated ratio by ratio.
        """
        self.collector.reset()
        self._add(batch, prediction, labels)
        if self.key_metric is not None:
            self._check_key(self.collector.table().records()[0])
        self.collector.reset()

    def _add(self, batch: Any, prediction: Any, labels: Tensor) -> None:
        ratio = self.ratios.repeat_interleave(labels.shape[0] // len(self.ratios))
        volume = None
        if self.volume_key is not None:
            if self.volume_key not in batch:
                raise ValueError(
                    f"volume_key {self.volume_key!r} is no key of the data, which have {sorted(map(str, batch))}. Give the one"
                    " that names a volume (of image_slices it is 'volume'), or None."
                )
            volume = _as_numbers(batch[self.volume_key]).repeat(len(self.ratios))
        self.collector.update(prediction, labels, ratio, volume)

    def finish(self, engine: Engine) -> None:
        """Publish the metrics and write the table."""
        self.table = self.collector.table()
        records = self.table.records()
        if self.key_metric is not None:
            self._check_key(records[0])
            engine.state.metrics[self.key_metric] = math.nan  # where no ratio has a value
        for name in records[0]:
            if name in _LABELS:
                continue
            missing = sum(math.isnan(r[name]) for r in records)
            if missing == len(records) and name not in self.table.told:
                continue  # not measured
            if missing:
                logging.getLogger(__name__).warning("%s has no value at %d ratios", name, missing)
            engine.state.metrics |= {f"{name}_at_{r['ratio']:.4f}": r[name] for r in records}
            engine.state.metrics[name] = sum(r[name] for r in records) / len(records)
        if self.key_metric is not None and math.isnan(engine.state.metrics[self.key_metric]):
            engine.state.metrics[self.key_metric] = self._worst(engine)
        for name, said in self.table.told.items():
            logging.getLogger(__name__).warning("%s: %s", name, said)
        if self.output_dir is not None and idist.get_rank() == 0:
            self.table.write(self.output_dir, self.collector.file_name)
            logging.getLogger(__name__).info("\n%s", self.table)

    def _worst(self, engine: Engine) -> float:
        """What every number is better than; nothing is better than NaN, so that no later model would be the best one."""
        larger = getattr(engine, "metric_cmp_fn", operator.gt)(1.0, 0.0)
        return -math.inf if larger else math.inf

    def _check_key(self, columns: Mapping[str, Any]) -> None:
        names = [name for name in columns if name not in _LABELS]
        if self.key_metric not in names:
            raise ValueError(f"key metric must be one of {', '.join(names)}, got {self.key_metric!r}.")


Output = TypeVar("Output")


@dataclass(frozen=True)
class SweptImage(Generic[Output]):  # Python 3.10 has no generic NamedTuple
    """What was noted of an image at a ratio.

    Attributes:
        number: of the image in the data set, from 1.
        ratio: asked for.
        note: what was noted.
    """

    number: int
    ratio: float
    note: Output


class SweptImages(ABC, Generic[Output]):
    """Handler that notes something of every image and ratio of an epoch, and concludes from what all ranks have noted.

    Ranks take images in turn, as a ``DistributedSampler`` deals them out. Those that it repeats so that every rank has as many
    are left out.

    Args:
        ratios: the ratios of :class:`~infomri_monai.engines.PrepareRatioSweep`, in its order.

    Raises:
        ValueError: if a ratio is outside (0, 1].
    """

    def __init__(self, ratios: Sequence[float]) -> None:
        self.ratios = check_ratio(ratios, "ratios").tolist()
        self._own: list[tuple[int, int, Output]] = []  # place among all ranks' images, place of the ratio, note
        self._seen = 0

    @abstractmethod
    def notes(self, engine: Engine) -> Sequence[Output]:
        """What there is to say of the batch just processed: picklable, one for every image, ratio by ratio."""

    @abstractmethod
    def conclude(self, images: list[SweptImage[Output]]) -> None:
        """Use the notes of all ranks; every rank has them."""

    def attach(self, engine: Engine) -> None:
        """Register: forget at an epoch's start, note after every batch, conclude at the epoch's end."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self.add(e, self.notes(e)))
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: self.conclude(self.gathered()))

    def _forget(self, engine: Engine) -> None:
        self._own, self._seen = [], 0

    def add(self, engine: Engine, notes: Sequence[Output]) -> None:
        """Keep the notes about the batch that the engine has just processed.

        Args:
            engine: the evaluator.
            notes: picklable, one for every image of the batch, ratio by ratio.
        """
        images = len(notes) // len(self.ratios)
        rank, ranks, length = idist.get_rank(), idist.get_world_size(), None
        sampler = getattr(engine.state.dataloader, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            rank, ranks, length = sampler.rank, sampler.num_replicas, len(sampler.dataset)  # type: ignore[arg-type]
        for i, note in enumerate(notes):
            sweep, image = divmod(i, images)
            place = rank + ranks * (self._seen + image)
            if length is None or place < length:
                self._own.append((place, sweep, note))
        self._seen += images

    def gathered(self) -> list[SweptImage[Output]]:
        """All ranks' notes, image by image and for each in the order of the ratios; every rank must call this.

        Images are numbered without a gap.
        """
        parts: list[list[tuple[int, int, Output]]] = idist.all_gather(self._own)  # type: ignore[assignment]
        notes: dict[tuple[int, int], Output] = {}  # of an image that several ranks have seen, the first one's
        for place, sweep, note in (own for part in parts for own in part):
            notes.setdefault((place, sweep), note)
        numbers = {place: i for i, place in enumerate(sorted({place for place, _ in notes}), 1)}
        return [SweptImage(numbers[key[0]], self.ratios[key[1]], notes[key]) for key in sorted(notes)]


class SweepPictures(ABC):
    """Handler that draws an evaluation that sweeps ratios, with the first batch of every epoch, on the first rank only.

    Args:
        quality: the evaluator's handler of the table, attached before this one.
        output_dir: folder of the pictures.
        seed: seed of what is drawn anew.

    Attributes:
        prediction: the first batch's prediction on the CPU, a NamedTuple of tensors; None before it and on other ranks.
        image: the images that it was made from, as the batch preparation repeated them.
        label: their targets.
    """

    prediction: Any = None
    image: Tensor
    label: Tensor

    def __init__(self, quality: RatioSweepHandler, output_dir: str | Path, seed: int = 0) -> None:
        self.quality, self.output_dir, self.seed = quality, Path(output_dir), seed

    def attach(self, engine: Engine) -> None:
        """Register: forget at an epoch's start, keep its first batch, draw at its end."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._conclude)

    def gather(self) -> Any:
        """What the pictures need of all ranks; called on each of them, with a table at hand."""
        return None

    @abstractmethod
    def draw(self, table: Any, gathered: Any) -> None:
        """Draw the pictures, on the first rank.

        Args:
            table: the evaluation's.
            gathered: what :meth:`gather` returned.
        """

    def save(self, figure: Figure, name: str) -> None:
        """Write ``<name>.png``."""
        save_figure(figure, self.output_dir / f"{name}.png")

    def descending(self) -> Tensor:
        """The ratios, from the lowest acceleration to the highest."""
        return self.quality.ratios.sort(descending=True).values

    def by_ratio(self, ratio: Tensor) -> list[tuple[str, Tensor]]:
        """The accelerations that some images have, the lowest first, and which images these are."""
        close = [(s, torch.isclose(ratio, ratio.new_tensor(s), atol=1e-6)) for s in self.descending().tolist()]
        return [(acceleration_text(s), at) for s, at in close if bool(at.any())]

    def draw_masks(
        self, policy: SamplingPolicy, ratios: Tensor, entropy: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Draw the policy's masks and probabilities.

        Args:
            policy: any policy.
            ratios: sampling ratios.
            entropy: Ĥ(Y|m) in nats of masks on the policy's device, shown below each; None leaves it out.
        """
        generator = torch.Generator(device_of(policy)).manual_seed(self.seed)
        self.save(mask_figure(policy, ratios.tolist(), self.image.shape[-2:], generator, entropy=entropy), "masks")

    def _forget(self, engine: Engine) -> None:
        self.prediction = None

    def _keep(self, engine: Engine) -> None:
        if self.prediction is None and idist.get_rank() == 0:
            output: Any = engine.state.output
            prediction = output[CommonKeys.PRED]
            self.prediction = type(prediction)(*(field.cpu() for field in prediction))
            self.image, self.label = output[CommonKeys.IMAGE].cpu(), output[CommonKeys.LABEL].cpu()

    def _conclude(self, engine: Engine) -> None:
        if self.quality.table is None:
            return
        gathered = self.gather()  # talks to the other ranks
        if idist.get_rank() == 0 and self.prediction is not None:
            self.draw(self.quality.table, gathered)


#: where it is kept in the engine's output, which is new in every iteration
_KEY = "sample_agreement"


def batch_agreement(engine: Engine) -> Tensor:
    """Agreement of the samples of every image that an evaluator has just segmented.

    It is kept in the engine's output, so that handlers may ask in any order.

    Args:
        engine: an evaluator after an iteration; its prediction is a :class:`~infomri_monai.systems.SegmentationPosterior`.

    Returns:
        :func:`~infomri_monai.triage.sample_agreement` in [0, 1] on the CPU, (images,); NaN of a single sample.
    """
    output: Any = engine.state.output
    if _KEY not in output:
        samples: Tensor = output[CommonKeys.PRED].samples
        several = samples.shape[1] > 1
        output[_KEY] = sample_agreement(samples).cpu() if several else torch.full((len(samples),), math.nan)
    agreement: Tensor = output[_KEY]
    return agreement
