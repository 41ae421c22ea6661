"""Cases whose segmentations, and so agreement and Dice, are known, in a real MONAI evaluator; for the tests of handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.engines import SupervisedEvaluator
from small_engines import evaluator_of
from torch import Tensor
from torch.utils.data import Sampler

from infomri_monai.engines import PrepareRaters, PrepareRatioSweep, SystemInferer
from infomri_monai.systems import SegmentationPosterior

GRID = (4, 10)
RATIOS = (0.125, 0.25)
STRUCTURES = 2


def bar(columns: int) -> Tensor:
    """The first columns of the grid."""
    return (torch.arange(GRID[1]) < columns).expand(GRID)


class KnownNetwork(torch.nn.Module):
    """Reads a case's lengths off the image's first row: those of its four samples; at the higher ratio, all are the first.

    Structure 1 is a bar of that many columns, structure 2 the whole grid in every sample. The majority is the longest half.
    """

    samples = 4

    def infer(
        self, image: Tensor, ratio: Tensor, samples: int, generator: torch.Generator | None = None
    ) -> SegmentationPosterior:
        """Draw the bars."""
        lengths = torch.where(ratio[:, None] > 0.2, image[:, 0, 0, :1], image[:, 0, 0, : self.samples])[:, :samples]
        masks = torch.stack([torch.stack([bar(int(c)) for c in case]) for case in lengths]).to(torch.uint8)
        masks = torch.stack([masks, torch.ones_like(masks)], 2)
        mean = masks.float().mean(1)
        nothing = torch.zeros_like(image)
        entropy = (torch.special.entr(mean) + torch.special.entr(1 - mean)).sum(1, keepdim=True)
        return SegmentationPosterior(
            masks, (mean > 0.5).to(torch.uint8), mean, entropy, nothing, image, nothing, image, nothing, ratio
        )


def item(lengths: Sequence[int], raters: Sequence[int | None]) -> dict[str, Tensor]:
    """A case: lengths of its samples, and of its raters' bars (None: missing)."""
    image = torch.zeros(1, *GRID)
    image[0, 0, : len(lengths)] = torch.tensor(lengths, dtype=torch.float32)
    drawn = [torch.stack([bar(r), torch.ones(GRID)]) if r is not None else torch.full((2, *GRID), -1.0) for r in raters]
    return {"image": image, "label": torch.stack(drawn).to(torch.int8)}


CASES = [
    item([10, 10, 10, 10], [10, 8]),
    item([4, 4, 2, 2], [4, 4]),
    item([6, 6, 6, 3], [None, 6]),
    item([1, 2, 9, 10], [10, None]),
    item([0, 0, 0, 5], [0, 0]),
]


def evaluator(
    handlers: Sequence[Any] = (),
    samples: int = 4,
    data: Sequence[dict[str, Tensor]] = CASES,
    sampler: Sampler[int] | None = None,
) -> SupervisedEvaluator:
    """Two cases a batch, every ratio; ``handlers`` come after the sweep."""
    prepare = PrepareRaters(PrepareRatioSweep(RATIOS), STRUCTURES, multi_label=True)
    inferer = SystemInferer(samples=samples)
    return evaluator_of(KnownNetwork(), data, prepare, handlers, {"sampler": sampler}, inferer=inferer)
