"""What the two ways of talking to a PACS, DIMSE and DICOMweb, have in common."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from monai.utils import optional_import

from infomri_monai.deploy.case import EXIT_NOTHING_TO_DO, EXIT_USAGE, DeployError
from infomri_monai.deploy.counted import counted
from infomri_monai.deploy.pacs.records import SeriesRecord, StudyQuery, StudyRecord

pydicom, _ = optional_import("pydicom")

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "GONE",
    "LOST",
    "MOST_BREAKS",
    "Pacs",
    "PushOutcome",
    "PushReport",
    "checked_uid",
    "chosen_series",
    "new_folder",
    "readable_instance",
]

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


class Pacs(Protocol):
    """A PACS, by DIMSE (:class:`~infomri_monai.deploy.pacs.dimse.DimsePacs`) or DICOMweb
    (:class:`~infomri_monai.deploy.pacs.dicomweb.WebPacs`).

    Every method raises :class:`~infomri_monai.deploy.case.DeployError` where the PACS is down, refuses or breaks off.
    """

    def echo(self) -> None:
        """Check that the PACS answers."""

    def find_studies(self, query: StudyQuery | None = None, limit: int = 100) -> tuple[StudyRecord, ...]:
        """Studies that match, at most ``limit``."""

    def find_series(self, study_uid: str) -> tuple[SeriesRecord, ...]:
        """Series of a study."""

    def pull(self, study_uid: str, folder: str | Path, series_uids: Sequence[str] = ()) -> tuple[Path, ...]:
        """Fetch a study, or some of its series, into a folder, which is new or empty: all of it or nothing.

        The instances stay encoded as the PACS has them; files are called 00001.dcm and so on.
        """

    def push(self, instances: Sequence[str | Path | Dataset]) -> PushReport:
        """Store files and data sets; one that fails does not stop the rest."""


def checked_uid(uid: str, name: str) -> str:
    """A UID without wildcards, so that a query by it cannot match more.

    Args:
        uid: to check.
        name: what it is called in the message, which does not quote it.

    Raises:
        DeployError: if it is not a DICOM UID.

    Example:
        >>> checked_uid("1.2.840", "study_uid")
        '1.2.840'
    """
    if not isinstance(uid, str) or len(uid) > 64 or not re.fullmatch(r"[0-9]+(\.[0-9]+)+", uid):
        raise DeployError(f"{name} must be a DICOM UID: numbers joined by dots, at most 64 characters.", EXIT_USAGE)
    return uid


def chosen_series(found: Sequence[SeriesRecord], series_uids: Sequence[str]) -> tuple[SeriesRecord, ...]:
    """The series to fetch.

    Args:
        found: all of the study.
        series_uids: those wanted; empty for all.

    Raises:
        DeployError: if there is none, or one that is wanted is not among them.
    """
    wanted = {checked_uid(uid, "series_uids") for uid in series_uids}
    if not found:
        raise DeployError("the PACS holds no study of this UID, or does not show it to this AE.", EXIT_NOTHING_TO_DO)
    chosen = tuple(series for series in found if not wanted or series.series_uid in wanted)
    if wanted and len(chosen) < len(wanted):
        raise DeployError(
            f"the study holds {len(chosen)} of the {len(wanted)} series wanted; it has {len(found)}.",
            EXIT_NOTHING_TO_DO,
        )
    return chosen


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its name when the block ends well and vanishes when it does not.

    Only its owner can read it: it holds patients' data.

    Args:
        folder: new or empty; folders above it are made.

    Yields:
        Where to write.

    Raises:
        DeployError: if ``folder`` is a file or holds something, before anything is written, or if it cannot be made.

    Example:
        >>> with tempfile.TemporaryDirectory() as above:
        ...     with new_folder(Path(above) / "study") as part:
        ...         _ = (part / "00001.dcm").write_bytes(b"")
        ...     [path.name for path in Path(above).glob("*/*")]
        ['00001.dcm']
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DeployError("folder must be new or empty, got a file or a folder with files in it.", EXIT_USAGE)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".pull-", dir=target.parent))
    except OSError as error:
        raise DeployError(f"folder cannot be made ({error.strerror}).", EXIT_USAGE) from None
    try:
        yield part
        try:
            os.replace(part, target)
        except OSError as error:
            raise DeployError(f"folder cannot be given its name ({error.strerror}).") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


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
        except (
            Exception
        ) as error:  # pydicom's readers differ in what they raise; their messages quote the path and values
            raise DeployError(f"not a readable DICOM file ({type(error).__name__})") from None
    else:
        dataset = instance
    if not getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None):
        raise DeployError("its file meta information names no transfer syntax")
    if not dataset.get("SOPClassUID") or not dataset.get("SOPInstanceUID"):
        raise DeployError("it has no SOP class or SOP instance UID")
    return dataset
