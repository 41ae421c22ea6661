"""Storing instances in a PACS one by one, whichever way: what became of each, and when to give up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from monai.utils import optional_import

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.files import counted

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["GONE", "LOST", "PushOutcome", "PushReport", "push_each", "readable_instance"]

#: reasons that a message quotes before it says how many there are more
QUOTED = 5
#: connections in a row that break off before the PACS counts as gone
MOST_BREAKS = 2
#: notes on instances
LOST = "the connection to the PACS broke off or it did not answer in time"
GONE = "not sent, as the PACS is gone"


class PushOutcome(NamedTuple):
    """What became of an instance.

    Attributes:
        number: from 1, in the order given.
        stored: whether the PACS has it.
        note: why not, or what the PACS warned of; safe to log.
    """

    number: int
    stored: bool
    note: str = ""


class PushReport(NamedTuple):
    """What became of all instances, in the order given.

    Example:
        >>> report = PushReport((PushOutcome(1, True), PushOutcome(2, False, "refused with status 0xA700")))
        >>> len(report.failures)
        1
    """

    outcomes: tuple[PushOutcome, ...]

    @property
    def failures(self) -> tuple[PushOutcome, ...]:
        """Those that are not in the PACS."""
        return tuple(outcome for outcome in self.outcomes if not outcome.stored)

    def check(self) -> None:
        """Raise if an instance was not stored.

        Raises:
            DeployError: with numbers and reasons.
        """
        failures = self.failures
        if failures:
            reasons = "; ".join(f"instance {outcome.number}: {outcome.note}" for outcome in failures[:QUOTED])
            more = f"; and {len(failures) - QUOTED} more" if len(failures) > QUOTED else ""
            raise DeployError(
                f"the PACS did not store {len(failures)} of {counted(len(self.outcomes), 'instance')} ({reasons}{more})."
            )


def push_each(instances: Sequence[str | Path | Dataset], send: Callable[[int, Dataset], PushOutcome]) -> PushReport:
    """Send instances one by one; one that fails does not stop the rest, unless connections break off again and again.

    Args:
        instances: DICOM files and data sets.
        send: sends one, given its number and the data set; says ``LOST`` or ``GONE`` where the connection broke off.

    Returns:
        What became of all, in the order given.

    Example:
        >>> push_each(["nowhere.dcm"], lambda number, dataset: PushOutcome(number, True)).outcomes[0].note
        'not a readable DICOM file (FileNotFoundError)'
    """
    outcomes: list[PushOutcome] = []
    breaks = 0
    for number, instance in enumerate(instances, 1):
        if breaks >= MOST_BREAKS:
            outcomes.append(PushOutcome(number, False, GONE))
            continue
        try:
            outcomes.append(send(number, readable_instance(instance)))
        except DeployError as error:
            outcomes.append(PushOutcome(number, False, str(error)))
        breaks = breaks + 1 if outcomes[-1].note in (LOST, GONE) else 0
    return PushReport(tuple(outcomes))


def readable_instance(instance: str | Path | Dataset, header_only: bool = False) -> Dataset:
    """A data set that can be sent.

    Args:
        instance: a DICOM file, or a data set with file meta information.
        header_only: read only what says how it is encoded.

    Raises:
        DeployError: if it is not DICOM, or lacks what every instance has; the message quotes nothing of it.
    """
    if isinstance(instance, (str, Path)):
        try:
            tags = ["SOPClassUID", "SOPInstanceUID"] if header_only else None
            dataset = pydicom.dcmread(instance, stop_before_pixels=header_only, specific_tags=tags)
        except Exception as error:
            # pydicom's readers differ in what they raise; their messages quote the path and values
            raise DeployError(f"not a readable DICOM file ({type(error).__name__})") from None
    else:
        dataset = instance
    if not getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None):
        raise DeployError("its file meta information names no transfer syntax")
    if not dataset.get("SOPClassUID") or not dataset.get("SOPInstanceUID"):
        raise DeployError("it has no SOP class or SOP instance UID")
    return dataset
