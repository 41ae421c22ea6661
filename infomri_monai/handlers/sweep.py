"""What the handlers share that make a table of an evaluation sweeping ratios.

Also here: What is noted of every image of an evaluation that sweeps ratios, on whichever rank it was seen. What
handlers share that draw an evaluation: its first batch, the ratios' places in it, and the policy's masks. The
agreement of a batch's samples, which several handlers of an evaluation need and only the first of them computes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from zlib import crc32

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

from infomri_monai.figures import mask_figure, save_figure
from infomri_monai.files import atomic_path
from infomri_monai.metrics.tables import RatioTable
from infomri_monai.sampling import SamplingPolicy
from infomri_monai.sampling.policy import check_ratio
from infomri_monai.triage import sample_agreement

__all__ = ["FirstBatch", "RatioSweepHandler", "SweptImage", "SweptImages", "batch_agreement", "draw_masks"]

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


class SweptImages(Generic[Output]):
    """Gathers notes about every image and ratio; attached to an evaluator it forgets them at an epoch's start.

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

    def attach(self, engine: Engine) -> None:
        """Register at an epoch's start."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)

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


class FirstBatch:
    """Keeps the first batch of every epoch on the CPU, on the first rank only.

    Attributes:
        prediction: the evaluator's prediction, a NamedTuple of tensors; None before the first batch and on other ranks.
        image: the images that it was made from, as the batch preparation repeated them; with a prediction only.
        label: the targets; with a prediction only.
    """

    prediction: Any = None
    image: Tensor
    label: Tensor

    def attach(self, engine: Engine) -> None:
        """Register: forget at an epoch's start, keep its first batch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)

    def _forget(self, engine: Engine) -> None:
        self.prediction = None

    def _keep(self, engine: Engine) -> None:
        if self.prediction is None and idist.get_rank() == 0:
            output: Any = engine.state.output
            prediction = output[CommonKeys.PRED]
            self.prediction = type(prediction)(*(field.cpu() for field in prediction))
            self.image, self.label = output[CommonKeys.IMAGE].cpu(), output[CommonKeys.LABEL].cpu()


def draw_masks(
    policy: SamplingPolicy,
    ratios: Tensor,
    image: Tensor,
    seed: int,
    path: Path,
    entropy: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Draw the policy's masks and probabilities.

    Args:
        policy: any policy.
        ratios: sampling ratios.
        image: one of the grid to be sampled, (..., H, W).
        seed: seed of the masks.
        path: file of the picture.
        entropy: Ĥ(Y|m) in nats of masks on the policy's device, shown below each; None leaves it out.
    """
    parameters = list(policy.parameters())
    generator = torch.Generator(parameters[0].device if parameters else "cpu").manual_seed(seed)
    save_figure(mask_figure(policy, ratios.tolist(), image.shape[-2:], generator, entropy=entropy), path)


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
