"""Run under torchrun: evaluate known images between the ranks, dealt out in several ways, each into a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import known_cases
import known_classes
import torch.distributed as dist
from monai.data import DistributedSampler

from infomri_monai.handlers import CaseTable, EvaluationWorklist, PredictionTable, RatioSweepHandler
from infomri_monai.metrics import ClassificationQuality


def handlers_of(kind, folder, key=None):
    """What writes of segmentations, and of classifications whose subjects are known by a key."""
    if kind is known_cases:
        ratios = known_cases.RATIOS
        return [CaseTable(ratios, folder), EvaluationWorklist(ratios, folder, ["bar", "all"])]
    ratios, quality = known_classes.RATIOS, ClassificationQuality("known", 3, known_classes.NAMES)
    return [RatioSweepHandler(quality, ratios, folder, key), PredictionTable(ratios, folder, known_classes.NAMES)]


def main(folder: Path) -> None:
    """Rank 0 writes; two epochs, of which the second must not add to the first."""
    dist.init_process_group("gloo")
    for kind, data in ((known_cases, known_cases.CASES), (known_classes, known_classes.cases())):
        deals = {
            "uneven": {"sampler": DistributedSampler(data, even_divisible=False, shuffle=False)},
            "own_data": {"data": data[dist.get_rank() :: dist.get_world_size()]},
        }
        if kind is known_cases:
            deals["repeating"] = {"sampler": DistributedSampler(data, shuffle=False)}
            deals["everything"] = {"sampler": DistributedSampler(data, num_replicas=1, rank=0, shuffle=False)}
        for name, deal in deals.items():
            for key in ("subject", None):
                engine = kind.evaluator(handlers_of(kind, folder / f"{kind.__name__}_{name}_{key}", key), **deal)
                for _ in range(2):
                    engine.run()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
