"""Run under torchrun from a bundle's root: train it and gather every rank's weights, ratios and masks into one file."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.bundle import ConfigWorkflow


def main(path: str, output_dir: str, values: str) -> None:
    """Train with ``values``, in JSON; rank 0 writes the report to ``path``."""
    workflow = ConfigWorkflow(
        config_file=["configs/train.json", "configs/multi_gpu_train.json"],
        workflow_type="train",
        logging_file=False,
        output_dir=output_dir,
        **json.loads(values),
    )
    workflow.initialize()
    trainer, system = workflow.parser.get_parsed_content("train#trainer"), workflow.parser.get_parsed_content("system")
    drawn: list[dict[str, Any]] = []

    def keep(engine: Any) -> None:
        result = engine.state.output[0]["pred"]
        batch = engine.state.batch
        places = list(zip(batch["subject"].tolist(), batch["slice"].tolist(), strict=True))
        drawn.append({"ratio": result.ratio.clone(), "mask": result.mask.detach().clone(), "places": places})

    trainer.add_event_handler(Events.ITERATION_COMPLETED, keep)
    workflow.run()
    weights = {name: value.detach().clone() for name, value in system.state_dict().items()}
    metrics = dict(workflow.parser.get_parsed_content("validate#evaluator").state.metrics)
    reports: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(reports, {"weights": weights, "drawn": drawn, "metrics": metrics})
    if dist.get_rank() == 0:
        torch.save(reports, path)
    workflow.finalize()


if __name__ == "__main__":
    main(*sys.argv[1:])
