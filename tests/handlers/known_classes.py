"""Cases whose class probabilities are known, in a real MONAI evaluator; for the tests of handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from classified import labels_of, posterior_of
from monai.engines import SupervisedEvaluator
from small_engines import evaluator_of
from torch import Tensor
from torch.utils.data import Sampler

from infomri_monai.engines import PrepareLabels, PrepareRatioSweep, SystemInferer
from infomri_monai.systems import ClassificationPosterior

RATIOS = (0.25, 0.0625)  # not ascending
CLASSES, IMAGES = 3, 11
NAMES = ("left", "right", "White Matter")


def cases(multi_label: bool = False) -> list[dict[str, Any]]:
    """Images that hold their own number; three of a subject."""
    labels = labels_of(IMAGES, CLASSES, multi_label, 1)
    return [
        {"image": torch.full((1, 6, 7), float(i)), "label": labels[i].numpy(), "subject": 100 + i // 3, "slice": i % 3}
        for i in range(IMAGES)
    ]


def answers(multi_label: bool = False) -> dict[float, ClassificationPosterior]:
    """What the network says of all images, by ratio."""
    labels = labels_of(IMAGES, CLASSES, multi_label, 1)
    return {ratio: posterior_of(labels, CLASSES, seed) for seed, ratio in enumerate(RATIOS)}


class KnownClassifier(torch.nn.Module):
    """Looks an image's number up."""

    def __init__(self, multi_label: bool = False) -> None:
        super().__init__()
        self.answers = answers(multi_label)

    def infer(self, image: Tensor, ratio: Tensor, generator: torch.Generator | None = None) -> ClassificationPosterior:
        """Row by row."""
        each = zip(image[:, 0, 0, 0].long().tolist(), ratio.tolist(), strict=True)
        rows = [[field[number] for field in self.answers[s]] for number, s in each]
        return ClassificationPosterior(*(torch.stack(fields) for fields in zip(*rows, strict=True)))


def evaluator(
    handlers: Sequence[Any] = (),
    multi_label: bool = False,
    data: Sequence[dict[str, Any]] | None = None,
    sampler: Sampler[int] | None = None,
) -> SupervisedEvaluator:
    """Every ratio; ``handlers`` come after the sweep."""
    data, network = cases(multi_label) if data is None else data, KnownClassifier(multi_label)
    prepare, loading = PrepareLabels(PrepareRatioSweep(RATIOS), CLASSES, multi_label), {"batch_size": 4}
    return evaluator_of(network, data, prepare, handlers, loading | {"sampler": sampler}, inferer=SystemInferer())
