"""What is noted of every image of an evaluation that sweeps ratios, on whichever rank it was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ignite import distributed as idist
from ignite.engine import Engine, Events
from torch.utils.data.distributed import DistributedSampler

from infomri_monai.sampling.policy import check_ratio

__all__ = ["SweptImage", "SweptImages"]

T = TypeVar("T")


@dataclass(frozen=True)
class SweptImage(Generic[T]):  # Python 3.10 has no generic NamedTuple
    """What was noted of an image at a ratio.

    Attributes:
        number: of the image in the data set, from 1.
        ratio: asked for.
        note: what was noted.
    """

    number: int
    ratio: float
    note: T


class SweptImages(Generic[T]):
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
        self._own: list[tuple[int, int, T]] = []  # place among all ranks' images, place of the ratio, note
        self._seen = 0

    def attach(self, engine: Engine) -> None:
        """Register at an epoch's start."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._forget)

    def _forget(self, engine: Engine) -> None:
        self._own, self._seen = [], 0

    def add(self, engine: Engine, notes: Sequence[T]) -> None:
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

    def gathered(self) -> list[SweptImage[T]]:
        """All ranks' notes, image by image and for each in the order of the ratios; every rank must call this.

        Images are numbered without a gap.
        """
        parts: list[list[tuple[int, int, T]]] = idist.all_gather(self._own)  # type: ignore[assignment]
        notes: dict[tuple[int, int], T] = {}  # of an image that several ranks have seen, the first one's
        for place, sweep, note in (own for part in parts for own in part):
            notes.setdefault((place, sweep), note)
        numbers = {place: i for i, place in enumerate(sorted({place for place, _ in notes}), 1)}
        return [SweptImage(numbers[key[0]], self.ratios[key[1]], notes[key]) for key in sorted(notes)]
