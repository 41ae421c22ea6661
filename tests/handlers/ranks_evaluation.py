"""Run under torchrun: evaluate five known cases between the ranks, dealt out in several ways, each into a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist
from known_cases import CASES, RATIOS, evaluator
from monai.data import DistributedSampler

from infomri_monai.handlers import CaseTable, EvaluationWorklist


def main(folder: Path) -> None:
    """Rank 0 writes; two epochs, of which the second must not add to the first."""
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    deals = {
        "repeating": {"sampler": DistributedSampler(CASES, shuffle=False)},
        "uneven": {"sampler": DistributedSampler(CASES, even_divisible=False, shuffle=False)},
        "own_data": {"cases": CASES[rank::ranks]},
        "everything": {"sampler": DistributedSampler(CASES, num_replicas=1, rank=0, shuffle=False)},
    }
    for name, deal in deals.items():
        handlers = [CaseTable(RATIOS, folder / name), EvaluationWorklist(RATIOS, folder / name, ["bar", "all"])]
        engine = evaluator(handlers, **deal)
        for _ in range(2):
            engine.run()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
