"""What the two ways of talking to a PACS, DIMSE and DICOMweb, have in common."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from infomri_monai.deploy.case import EXIT_NOTHING_TO_DO, EXIT_USAGE, DeployError, system_words
from infomri_monai.deploy.pacs.pushing import PushReport
from infomri_monai.deploy.pacs.records import SeriesRecord, StudyQuery, StudyRecord

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Pacs", "checked_timeout", "checked_uid", "chosen_series", "new_folder"]


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


def checked_timeout(timeout: float) -> float:
    """Seconds to wait.

    Raises:
        DeployError: if they are not positive.
    """
    if not timeout > 0:
        raise DeployError(f"timeout must be positive, got {timeout}.", EXIT_USAGE)
    return timeout


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
    """A temporary folder that takes the place of ``folder`` when the block ends well and vanishes when it does not.

    A new folder gets its name at once. Into an empty one, which may be a mounted volume, a link or the working directory, the
    files are moved at the end, from a hidden folder within.

    Only its owner can read it: it holds patients' data.

    Args:
        folder: new or empty; folders above it are made.

    Yields:
        Where to write.

    Raises:
        DeployError: if ``folder`` is a file or holds something, before anything is written, or if it cannot be made or looked into.

    Example:
        >>> with tempfile.TemporaryDirectory() as above:
        ...     with new_folder(Path(above) / "study") as part:
        ...         _ = (part / "00001.dcm").write_bytes(b"")
        ...     [path.name for path in Path(above).glob("*/*")]
        ['00001.dcm']
    """
    target = Path(folder)
    try:
        exists = target.exists()
        if exists and (not target.is_dir() or any(target.iterdir())):
            raise DeployError("folder must be new or empty, got a file or a folder with files in it.", EXIT_USAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".pull-", dir=target if exists else target.parent))
    except OSError as error:
        raise DeployError(f"folder cannot be made or looked into ({system_words(error)}).", EXIT_USAGE) from None
    try:
        yield part
        try:
            _move_into(part, target) if exists else os.replace(part, target)
        except OSError as error:
            raise DeployError(f"what was fetched cannot be moved to folder ({system_words(error)}).") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move_into(part: Path, target: Path) -> None:
    """Move all files of a folder into another, or none."""
    moved: list[Path] = []
    try:
        for path in sorted(part.iterdir()):
            os.replace(path, target / path.name)
            moved.append(target / path.name)
    except OSError:
        for path in moved:
            path.unlink(missing_ok=True)
        raise
