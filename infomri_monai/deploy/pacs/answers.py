"""What a PACS's answers by DIMSE mean, in words that hold no identifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from monai.utils import optional_import

from infomri_monai.deploy.case import DeployError
from infomri_monai.deploy.counted import counted
from infomri_monai.deploy.pacs.transfer import LOST, PushOutcome

status_tables, _ = optional_import("pynetdicom.status")

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom import Association

__all__ = ["checked", "is_pending", "push_outcome", "refusal", "retrieved"]

MOVE_DESTINATION_UNKNOWN = 0xA801


def is_pending(status: Dataset) -> bool:
    """Whether more answers follow.

    Raises:
        DeployError: if there is no answer at all.
    """
    if "Status" not in status:
        raise DeployError(f"{LOST}.")
    return int(status.Status) in (0xFF00, 0xFF01)


def checked(status: Dataset, request: str) -> None:
    """Check the last answer to a request.

    Args:
        status: the answer.
        request: its name in the message, e.g. "C-FIND".

    Raises:
        DeployError: if it is not success.
    """
    if "Status" not in status:
        raise DeployError(f"{LOST}.")
    if status.Status == MOVE_DESTINATION_UNKNOWN:
        raise DeployError("the PACS does not know where to move to: it must be told our AE title, address and port.")
    if status.Status != 0x0000:
        raise DeployError(f"the PACS refused {request} with status 0x{status.Status:04X}.")


def _asked(answers: Iterable[tuple[Dataset, Dataset | None]], request: str) -> Iterator[tuple[Dataset, Dataset | None]]:
    """The answers; pynetdicom raises where the PACS did not accept the service, or is gone, when the first one is asked for."""
    try:
        yield from answers
    except ValueError:
        raise DeployError(f"the PACS does not offer {request}; try the other of C-GET and C-MOVE (retrieve).") from None
    except RuntimeError:
        raise DeployError(f"{LOST}.") from None


def retrieved(answers: Iterable[tuple[Dataset, Dataset | None]], request: str) -> None:
    """Wait for the last answer to C-GET or C-MOVE.

    Args:
        answers: as pynetdicom gives them.
        request: its name in the message.

    Raises:
        DeployError: if an instance was not sent, or the connection breaks off.
    """
    for status, _ in _asked(answers, request):
        if is_pending(status):
            continue
        failed = int(status.get("NumberOfFailedSuboperations") or 0)
        if failed:
            raise DeployError(
                f"{request} brought not all: {counted(failed, 'instance')} of a series could not be sent; "
                "they may be of a kind or encoding that is not taken, then fetch the other series by their UIDs."
            )
        checked(status, request)
        return
    raise DeployError(f"{LOST}.")


def refusal(association: Association) -> str:
    """Why no association came about.

    Args:
        association: one that is not established.
    """
    if association.is_rejected:
        reason = getattr(association.acceptor.primitive, "reason_str", "no reason given")
        return (
            f"the PACS rejected the association: {reason}. It must know our AE title and address, and we its AE title."
        )
    if association.acceptor.primitive is not None:
        return "the PACS takes none of what was proposed (SOP classes and transfer syntaxes)."
    return "the PACS cannot be reached: nothing answers there, or not as a DICOM server."


def push_outcome(number: int, status: Dataset) -> PushOutcome:
    """What C-STORE's answer says.

    Args:
        number: of the instance.
        status: the answer.

    References:
        DICOM PS3.4 (2024), Table B.2-1: status values of the storage service.
    """
    if "Status" not in status:
        return PushOutcome(number, False, LOST)
    code = int(status.Status)
    if code == 0x0000:
        return PushOutcome(number, True)
    category, words = status_tables.STORAGE_SERVICE_CLASS_STATUS.get(code, (status_tables.code_to_category(code), ""))
    meaning = f"0x{code:04X} ({words or category})"
    if category == status_tables.STATUS_WARNING:
        return PushOutcome(number, True, f"stored with a warning, status {meaning}")
    return PushOutcome(number, False, f"refused with status {meaning}")
