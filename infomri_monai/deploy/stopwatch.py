"""How long the network itself works, so that everything else can be told from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["TimedNetwork"]


class TimedNetwork:
    """A network that adds up the seconds spent in it.

    It has the network's attributes; the calls of itself, ``posterior``, ``logits`` and ``reconstruct`` are timed.

    Args:
        network: the network.
        clock: what tells the time, in seconds.

    Example:
        >>> import torch
        >>> timed = TimedNetwork(torch.nn.Linear(2, 3))
        >>> timed(torch.ones(1, 2)).shape, timed.seconds > 0, timed.out_features
        (torch.Size([1, 3]), True, 3)
    """

    def __init__(self, network: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self.network, self.clock = network, clock
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network."""
        return self._timed(self.network)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.__dict__["network"], name)
        return self._timed(attribute) if name in ("posterior", "logits", "reconstruct") else attribute

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = self.clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += self.clock() - start

        return call
