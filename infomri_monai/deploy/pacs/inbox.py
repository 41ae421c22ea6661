"""Where instances arrive that a PACS sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.files import counted

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom.events import Event

__all__ = ["Inbox"]

SUCCESS, OUT_OF_RESOURCES, OTHER_STUDY, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000


class Inbox:
    """Writes instances as they come, encoded as they were sent; as a handler of pynetdicom's C-STORE events or by ``add``.

    Args:
        folder: where to; files are called 00001.dcm and so on, in the order of arrival.
        study_uid: instances of another study are refused.

    Attributes:
        count: instances written.
        problem: why one was refused that belongs here; empty if none was.
    """

    def __init__(self, folder: Path, study_uid: str) -> None:
        self.folder, self.study_uid = folder, study_uid
        self.count = 0
        self.problem = ""

    def __call__(self, event: Event) -> int:
        """The status for the PACS; never raises."""
        try:
            dataset, content = event.dataset, event.encoded_dataset()
        except Exception as error:  # pydicom's decoders differ in what they raise
            self.problem = f"an instance cannot be decoded ({type(error).__name__})"
            return NOT_UNDERSTOOD
        return self.add(dataset, content)

    def add(self, dataset: Dataset, content: bytes) -> int:
        """Take an instance.

        Args:
            dataset: says which study it is of.
            content: of the file.

        Returns:
            The status of C-STORE's answer.
        """
        if dataset.get("StudyInstanceUID") != self.study_uid:
            return OTHER_STUDY
        try:
            (self.folder / f"{self.count + 1:05d}.dcm").write_bytes(content)
        except OSError as error:
            self.problem = f"an instance cannot be written ({error.strerror})"
            return OUT_OF_RESOURCES
        self.count += 1
        return SUCCESS

    @contextmanager
    def receiving(self, expected: int | None) -> Iterator[None]:
        """Check that all of a series comes while the block runs.

        Args:
            expected: its number of instances, None where the PACS does not say.

        Raises:
            DeployError: if instances are missing, or there are too many, or one could not be taken.
        """
        before = self.count
        try:
            yield
        except DeployError:
            if not self.problem:
                raise
        if self.problem:
            raise DeployError(f"{self.problem}; nothing is kept.")
        came = self.count - before
        if came == 0 or (expected is not None and came != expected):
            of = "the instances" if expected is None else counted(expected, "instance")
            raise DeployError(f"the PACS sent {came} of {of} of a series; nothing is kept.")
