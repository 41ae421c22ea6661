"""MONAI's engines as the bundles assemble them, small; for the tests of handlers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn

from infomri_monai.handlers import OutputAsList
from infomri_monai.systems import parameter_groups


def evaluator_of(
    network: nn.Module,
    data: Sequence[Any],
    prepare: Any,
    handlers: Sequence[Any],
    loading: dict[str, Any] | None = None,
    **options: Any,
) -> SupervisedEvaluator:
    """Two images a batch; ``handlers`` come after the preparation of the batch."""
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(data), **{"batch_size": 2} | (loading or {})),
        network=network,
        prepare_batch=prepare,
        val_handlers=[prepare, *handlers],
        decollate=False,
        **options,
    )


def trainer_of(
    system: Any,
    data: Sequence[Any],
    prepare: Any,
    loss: Callable[..., Any],
    handlers: Sequence[Any],
    epochs: int,
    rate: float,
) -> SupervisedTrainer:
    """Two images an iteration, Adam."""
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(Dataset(data), batch_size=2),
        network=system,
        optimizer=torch.optim.Adam(parameter_groups(system, rate, rate)),
        loss_function=loss,
        prepare_batch=prepare,
        train_handlers=[OutputAsList(), prepare, *handlers],
        decollate=False,
    )


def on_two_ranks(script: str, *folders: Path) -> None:
    """A script of this folder under torchrun; it must end well."""
    here = Path(__file__).parent
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(here / script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(here.parent)}
    done = subprocess.run(
        [*launch, *map(str, folders)], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def replay(outputs: Sequence[Any], *handlers: Any, epochs: int = 1) -> None:
    """An engine whose outputs are given, with these handlers."""
    engine = Engine(lambda _, output: output)
    for handler in handlers:
        handler.attach(engine)
    for _ in range(epochs):
        engine.run(outputs)
