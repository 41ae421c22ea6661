"""How long a network of an audit is trained, and how that went."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from infomri_monai.engines.prepare import seeded_generator

__all__ = ["Budget", "Course", "seeded"]


class Budget(NamedTuple):
    """How long and with what a network is trained; checked by :meth:`check`.

    Attributes:
        learning_rate: of Adam.
        batch_size: images per gradient step.
        max_epochs: passes over the data.
        max_steps: most gradient steps; None for no limit beside ``max_epochs``.
        validation_interval: most gradient steps between validations; None validates once per pass over the data.
        patience: validations in a row without improvement that end the training.
        seed: seed of batches, masks and noise.
        mixed_precision: bfloat16 autocast while training.
        num_workers: processes of the data loaders.
        device: where everything runs.
    """

    learning_rate: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 100
    max_steps: int | None = None
    validation_interval: int | None = None
    patience: int = 5
    seed: int = 0
    mixed_precision: bool = False
    num_workers: int = 0
    device: torch.device = torch.device("cpu")

    def check(self) -> Budget:
        """The budget itself.

        Raises:
            ValueError: if a number is out of its range.
        """
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a finite number > 0, got {self.learning_rate}.")
        for name in ("batch_size", "max_epochs", "max_steps", "validation_interval", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}.")
        if self.seed < 0 or self.num_workers < 0:
            raise ValueError(f"seed and num_workers must be >= 0, got {self.seed} and {self.num_workers}.")
        return self

    def decisive(self) -> dict[str, Any]:
        """What decides the result: all but where it is computed."""
        return {key: value for key, value in self._asdict().items() if key not in ("num_workers", "device")}

    def schedule(self, batches: int) -> tuple[int, int]:
        """Steps between validations and number of validations, for data of so many batches.

        All intervals are equal, at most ``validation_interval``, and together at most the budget: of it less than one step per
        validation is left over.

        Example:
            >>> Budget(max_epochs=10, max_steps=250, validation_interval=100).schedule(50)
            (83, 3)
        """
        total = self.max_epochs * batches
        total = total if self.max_steps is None else min(total, self.max_steps)
        validations = math.ceil(total / (self.validation_interval or batches))
        return total // validations, validations


class Course(NamedTuple):
    """How a training went.

    Attributes:
        steps: gradient steps taken.
        best_step: the step whose weights were kept; 0 is the untrained network.
        stopped_early: whether validation had stopped improving; False if the budget ended the training.
        history: ``step`` and every validation quantity, one value per validation.
    """

    steps: int
    best_step: int
    stopped_early: bool
    history: dict[str, list[float]]


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[None]:
    """Torch's own generators start from a seed inside the block and go on outside as if nothing had happened.

    Example:
        >>> import torch
        >>> def draw():
        ...     with seeded(torch.device("cpu"), 1, 2):
        ...         return torch.rand(3)
        >>> torch.equal(draw(), draw())
        True
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seeded_generator("cpu", *key).initial_seed())
        yield
