"""What handlers share that write the results of whole cases: naming, failures that stop nobody, and their report."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import CommonKeys, optional_import

from infomri_monai.engines.case import CaseFailure

_, _HAS_MATPLOTLIB = optional_import("matplotlib")

__all__ = ["WriteCases"]


class WriteCases(ABC):
    """Write the result of every case; subclasses say what the files are.

    A case that fails leaves no file and does not stop the others; at the end they are all reported, as an error. Logs name a
    case by its number only, since file names may be patients' names.

    Args:
        output_dir: folder of the files; made if absent.
        name_by: ``"stem"`` names the files as the source (with its subfolders), ``"index"`` as ``case_0001`` and so on, for
            sources whose names must not be copied.
        figure: also draw ``<case>.png``.

    Raises:
        ValueError: if ``name_by`` is unknown or ``figure`` is no boolean.
        ImportError: if ``figure`` is asked for and matplotlib (extra ``figures``) is not installed.
        RuntimeError: at the end of the run, if cases failed; it lists their numbers and reasons.
    """

    def __init__(self, output_dir: str | os.PathLike[str], name_by: str = "stem", figure: bool = False) -> None:
        if name_by not in ("stem", "index"):
            raise ValueError(f"name_by must be 'stem' or 'index', got {name_by!r}.")
        if not isinstance(figure, bool):
            raise ValueError(f"figure must be True or False (on a command line with a capital letter), got {figure!r}.")
        if figure and not _HAS_MATPLOTLIB:
            raise ImportError("figure=True needs matplotlib: install infomri-monai[figures], or set figure to false.")
        self.output_dir = Path(output_dir)
        self.figure = figure
        self.name_by = name_by
        self.written = 0
        self.names: dict[int, str] = {}
        self.failures: dict[int, str] = {}
        self.logger = logging.getLogger(type(self).__module__)

    @abstractmethod
    def begin(self, network: Any) -> None:
        """At the start of a run, before any case."""

    @abstractmethod
    def write(self, result: Any, batch: dict[str, Any], index: int, network: Any) -> None:
        """Write the files of one case, all of them or none, under :meth:`prefix`.

        Args:
            result: the inferer's result.
            batch: the case as the data loader gave it.
            index: its number.
            network: the evaluator's network.

        Raises:
            OSError: if a file cannot be written.
        """

    @abstractmethod
    def follow(self, index: int) -> None:
        """After every case, written or failed."""

    @abstractmethod
    def end(self) -> None:
        """At the end of a run, before it is reported."""

    def attach(self, engine: Engine) -> None:
        """Register at the start, after every case and at the end."""
        engine.add_event_handler(Events.STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def reset(self, engine: Engine) -> None:
        """Forget the cases of an earlier run."""
        self.written = 0
        self.names = {}
        self.failures = {}
        self.begin(engine.network)  # type: ignore[attr-defined]

    def prefix(self, index: int) -> Path:
        """Path of a case's files, without what follows the case's name."""
        return self.output_dir / self.names[index]

    def __call__(self, engine: Engine) -> None:
        """Write the case that the evaluator has just finished."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        result, index = output[CommonKeys.PRED], int(batch["index"][0])
        self.names[index] = batch["name"][0] if self.name_by == "stem" else f"case_{index:04d}"
        if not isinstance(result, CaseFailure):
            try:
                self.write(result, batch, index, engine.network)  # type: ignore[attr-defined]
            except OSError as error:  # its message holds the path
                why = os.strerror(error.errno or 0)
                result = CaseFailure(f"{type(error).__name__}: the files cannot be written ({why})")
        if isinstance(result, CaseFailure):
            self.failures[index] = result.reason
            self.logger.error("case %d failed: %s", index, result.reason)
        else:
            self.written += 1
            self.logger.info("case %d: ratio %.4f, %d slices", index, float(result.ratio.mean()), len(result.ratio))
        self.follow(index)

    def report(self, engine: Engine) -> None:
        """Say what was written; raise if a case failed."""
        self.end()
        self.logger.info("%d cases written to %s", self.written, self.output_dir)
        if self.failures:
            listed = "; ".join(f"case {index}: {reason}" for index, reason in sorted(self.failures.items()))
            total = self.written + len(self.failures)
            raise RuntimeError(f"{len(self.failures)} of {total} cases failed, the others are complete: {listed}")
