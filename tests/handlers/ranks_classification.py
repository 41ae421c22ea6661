"""Run under torchrun: evaluate known cases between the ranks, dealt out in several ways, each into a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist
from known_classes import NAMES, RATIOS, cases, evaluator
from monai.data import DistributedSampler

from infomri_monai.handlers import PredictionTable, RatioSweepHandler
from infomri_monai.metrics import ClassificationQuality


def main(folder: Path) -> None:
    """Rank 0 writes; two epochs, of which the second must not add to the first."""
    dist.init_process_group("gloo")
    data = cases()
    deals = {
        "uneven": {"sampler": DistributedSampler(data, even_divisible=False, shuffle=False)},
        "own_data": {"data": data[dist.get_rank() :: dist.get_world_size()]},
    }
    for name, deal in deals.items():
        for key in ("subject", None):
            to = folder / f"{name}_{key}"
            table = RatioSweepHandler(ClassificationQuality("known", 3, NAMES), RATIOS, to, key)
            engine = evaluator([table, PredictionTable(RATIOS, to, NAMES)], **deal)
            for _ in range(2):
                engine.run()
    dist.destroy_process_group()


if __name__ == "__main__":
    # torchrun puts this folder on the path, pytest the one above
    main(Path(sys.argv[1]))
