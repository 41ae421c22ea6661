"""Handler that shows how far a run is: a bar on a terminal, lines of the log everywhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ignite import distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import Trainer
from monai.utils import CommonKeys
from tqdm.contrib.logging import logging_redirect_tqdm

__all__ = ["Progress"]

_LOGGER = logging.getLogger(__name__)
_SILENCE = 60.0  # seconds after which a long epoch says that it is alive
_BAR = "{desc}[{n_fmt}/{total_fmt}] {percentage:3.0f}%|{bar}|{postfix}"


class Progress:
    """Show epoch, loss, learning rate and the time left of a trainer; batches and the time left of an evaluator.

    Ignite's ``ProgressBar`` is drawn where standard error is a terminal, and log lines go above it. The log has one line an epoch
    in any case; where there is no bar, it also has one at the start, one after the first iteration and one a minute while an
    epoch lasts. Several processes: the first one speaks.

    The time left is that of the iterations to come, as long each as the last epoch's were, and of the validations to come, each as
    long as the last one (before there was one: as so many iterations). A resumed training counts what is left of it.

    Args:
        name: what is running; None for "training" or "evaluation".
        validator: of a trainer: its validations are counted, and have a bar of their own.
        val_interval: epochs between validations. Attach the handler after the ``ValidationHandler``.
        unit: what an iteration is, in the plural.
        clock: seconds from any start; for tests.

    Raises:
        ValueError: if ``val_interval`` < 1.

    Example:
        >>> engine = Engine(lambda engine, batch: None)
        >>> Progress("counting").attach(engine)
        >>> state = engine.run([1, 2, 3])
    """

    def __init__(
        self,
        name: str | None = None,
        validator: Engine | None = None,
        val_interval: int = 1,
        unit: str = "iterations",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if val_interval < 1:
            raise ValueError(f"val_interval must be >= 1, got {val_interval}.")
        self.name, self.validator, self.interval = name, validator, val_interval
        self.unit, self.clock = unit, clock
        self._laps: deque[float] = deque()
        self._losses: list[float] = []
        self._mark = self._epoch_start = self._spoken = self._validation_start = 0.0
        self._validating = 0.0  # seconds since the last mark that a validation took
        self._validation: float | None = None  # seconds of the last one
        self._bar = self._epoch_over = False  # an epoch is over with its validation
        self._redirected = ExitStack()

    def attach(self, engine: Engine) -> None:
        """Register on the trainer (and its validator) or on the evaluator."""
        self.name = self.name or ("training" if isinstance(engine, Trainer) else "evaluation")
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)
        engine.add_event_handler(Events.COMPLETED, lambda _: self._redirected.close())
        if self.validator is not None:
            self.validator.add_event_handler(Events.STARTED, self._start_validation)
            self.validator.add_event_handler(Events.COMPLETED, self._finish_validation)
        self._bar = sys.stderr.isatty() and idist.get_rank() == 0
        if self._bar:
            _bar(self.name).attach(engine, output_transform=lambda _: self._postfix(engine))
            if self.validator is not None:
                _bar("validation").attach(self.validator)

    def seconds_left(self, engine: Engine) -> float:
        """Estimate of the time until the last epoch and its validation are over."""
        length, within = _place(engine)
        state = engine.state
        iterations = ((state.max_epochs or 1) - state.epoch) * length + length - within
        done = state.epoch if self._epoch_over else state.epoch - 1
        lap = sum(self._laps) / len(self._laps) if self._laps else 0.0
        if self.validator is None:
            return iterations * lap
        validations = (state.max_epochs or 1) // self.interval - done // self.interval
        each = self._validation
        if each is None:
            each = lap * (self.validator.state.epoch_length or 0)
        return iterations * lap + validations * each

    def _start(self, engine: Engine) -> None:
        self._laps.clear()
        self._redirected.close()
        self._mark = self._spoken = self.clock()
        if self._bar:
            self._redirected.enter_context(logging_redirect_tqdm(_console_loggers()))

    def _start_epoch(self, engine: Engine) -> None:
        self._losses, self._epoch_start, self._epoch_over = [], self.clock(), False
        if self._laps:
            return
        self._mark, self._validating = self._epoch_start, 0.0  # a checkpoint has been loaded by now
        if not self._bar:
            length, epochs = _place(engine)[0], _epochs(engine)
            self._say(
                f"starts at epoch {engine.state.epoch} of {epochs}, " if epochs > 1 else "", _counted(length, self.unit)
            )

    def _advance(self, engine: Engine) -> None:
        now = self.clock()
        length, within = _place(engine)
        first = not self._laps
        if len(self._laps) == 1 or len(self._laps) >= length:  # the first iteration of all warms up
            self._laps.popleft()
        self._laps.append(now - self._mark - self._validating)
        self._mark, self._validating = now, 0.0
        if (loss := _loss(engine)) is not None:
            self._losses.append(loss)
        if self._bar or within == length:
            return
        if first:
            self._say(f"first of {_counted(length, self.unit)} done after {_words(self._laps[0])}")
        elif now - self._spoken >= _SILENCE:
            self._say(
                f"{within} of {length} {self.unit}{_of_epoch(engine)}",
                f", about {_words(self.seconds_left(engine))} left",
            )

    def _finish_epoch(self, engine: Engine) -> None:
        self._epoch_over = True
        epochs, facts = _epochs(engine), []
        if self._losses:
            facts.append(f"loss {sum(self._losses) / len(self._losses):.4g}")
        if (rate := _learning_rate(engine)) is not None:
            facts.append(f"learning rate {rate:.3g}")
        facts.append(_words(self.clock() - self._epoch_start))
        if engine.state.epoch < epochs:
            facts.append(f"about {_words(self.seconds_left(engine))} left")
        what = (
            f"epoch {engine.state.epoch} of {epochs}: " if epochs > 1 else f"{_counted(_place(engine)[0], self.unit)}, "
        )
        self._say(what, ", ".join(facts))

    def _start_validation(self, engine: Engine) -> None:
        self._validation_start = self.clock()

    def _finish_validation(self, engine: Engine) -> None:
        self._validation = self.clock() - self._validation_start
        self._validating += self._validation

    def _postfix(self, engine: Engine) -> dict[str, Any]:
        """What the bar says behind itself."""
        loss, rate = _loss(engine), _learning_rate(engine)
        shown = {} if loss is None else {"loss": f"{loss:.4g}"}
        shown |= {} if rate is None else {"lr": f"{rate:.3g}"}
        return shown | {"left": _words(self.seconds_left(engine))}

    def _say(self, *words: str) -> None:
        self._spoken = self.clock()
        if idist.get_rank() == 0:
            _LOGGER.info("%s: %s", self.name, "".join(words))


def _bar(name: str) -> ProgressBar:
    sized = all(
        os.get_terminal_size(sys.stderr.fileno())
    )  # a container's terminal may say 0 x 0, and tqdm draws nothing there
    size: dict[str, Any] = {"dynamic_ncols": True} if sized else {"ncols": 80, "nrows": 24}
    return ProgressBar(persist=False, bar_format=_BAR, desc=name, **size)


def _place(engine: Engine) -> tuple[int, int]:
    """Iterations of an epoch, and how many of the current one are done."""
    length = engine.state.epoch_length or 1
    return length, (engine.state.iteration - 1) % length + 1 if engine.state.iteration else 0


def _epochs(engine: Engine) -> int:
    """Epochs of a trainer; MONAI counts an evaluator's by those of its trainer."""
    return (engine.state.max_epochs or 1) if isinstance(engine, Trainer) else 1


def _of_epoch(engine: Engine) -> str:
    return f" of epoch {engine.state.epoch}" if _epochs(engine) > 1 else ""


def _loss(engine: Engine) -> float | None:
    """The loss of the last iteration, where the engine has one."""
    output: Any = engine.state.output
    output = output[0] if isinstance(output, list) and output else output
    loss = output.get(CommonKeys.LOSS) if isinstance(output, dict) else None
    return None if loss is None else float(loss.item())


def _learning_rate(engine: Engine) -> float | None:
    """That of the first parameter group, the network's."""
    optimizer = getattr(engine, "optimizer", None)
    return None if optimizer is None else float(optimizer.param_groups[0]["lr"])


def _console_loggers() -> list[logging.Logger]:
    """Loggers that write to the terminal by handlers of their own."""
    streams = (sys.stdout, sys.stderr)
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    return [
        logger
        for logger in known
        if isinstance(logger, logging.Logger) and any(getattr(h, "stream", None) in streams for h in logger.handlers)
    ]


def _counted(number: int, unit: str) -> str:
    """A number of things, of which one is no plural.

    Example:
        >>> _counted(2, "cases"), _counted(1, "cases"), _counted(1, "batches")
        ('2 cases', '1 case', '1 batch')
    """
    singular = unit.removesuffix("es" if unit.endswith("ches") else "s")
    return f"{number} {singular if number == 1 else unit}"


def _words(seconds: float) -> str:
    """A duration as people say it.

    Example:
        >>> _words(3.21), _words(59.6), _words(125), _words(7300)
        ('3.2 s', '1 min 0 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
