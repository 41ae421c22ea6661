"""What the steps of the demonstration did, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

__all__ = ["Step", "Timeline"]


class Step(NamedTuple):
    """A step that is done.

    Attributes:
        name: of the step.
        seconds: that it took.
        notes: what it did, without identifiers.
    """

    name: str
    seconds: float
    notes: tuple[str, ...]


class Timeline:
    """Times steps and prints each as it is done.

    Example:
        >>> timeline = Timeline()
        >>> with timeline.step("send") as notes:
        ...     notes.append("8 instances by C-STORE")
        send            0.0 s  8 instances by C-STORE
        >>> timeline.steps[0].name
        'send'
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a block; it fills in the notes."""
        notes: list[str] = []
        start = time.perf_counter()
        yield notes
        done = Step(name, time.perf_counter() - start, tuple(notes))
        self.steps.append(done)
        print(f"{name:<14}{done.seconds:>5.1f} s", "\n                       ".join(notes), sep="  ", flush=True)

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(step.seconds for step in self.steps)
