"""Run under torchrun: five cases, one of them broken, diagnosed between the ranks; the distributed sampler repeats one."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist
from case_runs import engine_of
from monai.data import DistributedSampler

from infomri_monai.data import inference_cases


def main(source: Path, output: Path) -> None:
    """Rank 0 holds the broken case and fails as a single process would; the others end well."""
    dist.init_process_group("gloo")
    cases = inference_cases(source)
    engine = engine_of("classification", cases, output, sampler=DistributedSampler(cases, shuffle=False))
    try:
        engine.run()
    except RuntimeError as error:
        if dist.get_rank() != 0 or "1 of 3 cases failed" not in str(error):
            raise
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
