"""What became of every case: kept while the application runs, told at its end, and turned into its exit code."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from infomri_monai.deploy.bundle import Inference
from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_OK, DeployCase, DeployError, counted
from infomri_monai.deploy.derivation import ModelIdentity
from infomri_monai.files import atomic_path, system_words

__all__ = ["CaseFacts", "Delivery", "Journal", "safe_reason", "where"]

_LOGGER = logging.getLogger(__name__)


class CaseFacts(NamedTuple):
    """What summary.json says of a case that was loaded.

    Attributes:
        domain: "image" or "kspace"; None if it could not be loaded.
        slices: their number; None likewise.
        warnings: of loading.
        bundle_warnings: of the bundle, which are logged where they arise, with the case's number.
    """

    domain: str | None = None
    slices: int | None = None
    warnings: tuple[str, ...] = ()
    bundle_warnings: tuple[str, ...] = ()


@dataclass
class Delivery:
    """A case on its way through the operators.

    Attributes:
        number: of the case, from 1.
        case: what was loaded; None before, and of a case that failed.
        inference: what the bundle says of it; None before, and of a case that failed.
        failure: why the case failed; "" while it did not. A failed case passes the other operators untouched.
        seconds: "load", "acquire", "network", "write".
        objects: names of the files that were written, relative to the output folder.
        facts: of a case that failed, what was known of it.
    """

    number: int
    case: DeployCase | None = None
    inference: Inference | None = None
    failure: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    objects: list[str] = field(default_factory=list)
    facts: CaseFacts = field(default_factory=CaseFacts)

    def known(self) -> CaseFacts:
        """What is known of the case by now."""
        if self.case is None:
            return self.facts
        bundle = () if self.inference is None else self.inference.warnings
        return CaseFacts(self.case.domain, int(self.case.data.shape[-1]), self.case.warnings, bundle)

    def fail(self, reason: str, warnings: tuple[str, ...] = ()) -> None:
        """Note why the case failed and what is known of it, and let its data go.

        Args:
            reason: safe to log.
            warnings: what the bundle warned of before it failed.
        """
        known = self.known()
        self.failure, self.facts = reason, known._replace(bundle_warnings=(*known.bundle_warnings, *warnings))
        self.case = self.inference = None


def safe_reason(error: BaseException, doing: str) -> str:
    """Why a case failed, without anything that could identify a patient: other libraries' messages quote headers and paths.

    Args:
        error: the exception.
        doing: what was being done, for messages that cannot be passed on.

    Example:
        >>> safe_reason(ValueError("DOE^JANE is no date"), "loading")
        'loading failed (ValueError).'
        >>> safe_reason(DeployError("slices 3 and 4: one is missing."), "loading")
        'slices 3 and 4: one is missing.'
        >>> safe_reason(OSError(28, "/data/DOE_JANE"), "write")  # a full disk, a missing right
        'write failed (No space left on device).'
    """
    if isinstance(error, DeployError):
        return str(error)
    return f"{doing} failed ({system_words(error) if isinstance(error, OSError) else type(error).__name__})."


def where(error: BaseException) -> str:
    """The lines of code that an exception and those that led to it passed through, innermost first, without their messages."""
    parts, seen = [], set[int]()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        parts.append("".join(traceback.format_tb(cause.__traceback__)) + f"{type(cause).__name__}\n")
        cause = cause.__cause__ or cause.__context__  # also one that "from None" keeps from being printed
    return "which became\n".join(reversed(parts))


class Journal:
    """The outcomes of a run.

    Args:
        application: its name.
        model: what it ran.
        total: number of cases.
        beside: checksums of what belongs to the model, by name.
        settings: of the bundle, that the application set.

    Attributes:
        writing: held while the files of a case are written and noted.

    Example:
        >>> journal = Journal("segmentation", ModelIdentity("InfoMRI segmentation", "0.1.0", "ab"), total=1)
        >>> journal.add(Delivery(1, failure="slices 3 and 4: one is missing."))
        >>> journal.exit_code
        3
    """

    def __init__(
        self,
        application: str,
        model: ModelIdentity,
        total: int,
        beside: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.application, self.model, self.total = application, model, total
        self.beside, self.settings = dict(beside or {}), dict(settings or {})
        self.rows: dict[int, dict[str, Any]] = {}
        self.writing = threading.Lock()

    def add(self, delivery: Delivery) -> None:
        """Note what became of a case, and say it."""
        number = delivery.number
        self.rows[number] = _row(delivery, "failed" if delivery.failure else "written")
        for warning in delivery.known().warnings:
            _LOGGER.warning("case %d of %d: %s", number, self.total, warning)
        if delivery.failure:
            _LOGGER.error("case %d of %d failed: %s", number, self.total, delivery.failure)
        else:
            times = ", ".join(f"{name} {value:.2f} s" for name, value in delivery.seconds.items())
            written = counted(len(delivery.objects), "DICOM object")
            _LOGGER.info("case %d of %d written: %s (%s)", number, self.total, written, times)

    @property
    def exit_code(self) -> int:
        """``EXIT_OK`` if every case was written, else ``EXIT_CASE_FAILED``."""
        written = [row for row in self.rows.values() if row["status"] == "written"]
        return EXIT_OK if len(written) == self.total else EXIT_CASE_FAILED

    def save(self, path: Path, seconds: float) -> None:
        """Write the outcomes as JSON; cases are named by their number only. Those without outcome were interrupted.

        Args:
            path: the file.
            seconds: what the whole run took, from the first line of the program.

        Raises:
            DeployError: if it cannot be written.
        """
        numbers = range(1, self.total + 1)
        lacking = [Delivery(number, failure="the application was interrupted.") for number in numbers]
        rows = {delivery.number: _row(delivery, "interrupted") for delivery in lacking} | self.rows
        content = {
            "application": self.application,
            "model": self.model._asdict() | self.beside,
            "settings": self.settings,
            "cases": [rows[number] for number in numbers],
            "seconds": round(seconds, 3),
            "units": "seconds of every case: load (read and check), acquire (simulate or take k-space, zero-filled images, "
            "putting slices together), network, write (build, encode and save DICOM)",
        }
        try:
            with atomic_path(path) as part:
                # dates that YAML reads out of a setting are no JSON
                part.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
        except OSError as error:
            raise DeployError(f"output: {path.name} cannot be written ({system_words(error)}).") from None


def _row(delivery: Delivery, status: str) -> dict[str, Any]:
    """What summary.json says of a case."""
    known = delivery.known()
    return {
        "case": delivery.number,
        "status": status,
        "reason": delivery.failure,
        "domain": known.domain,
        "slices": known.slices,
        "warnings": [*known.warnings, *known.bundle_warnings],
        "seconds": {name: round(value, 4) for name, value in delivery.seconds.items()},
        "objects": delivery.objects,
    }
