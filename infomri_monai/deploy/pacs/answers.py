"""What a PACS's answers by DIMSE mean, in words that hold no identifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from monai.utils import optional_import

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.files import counted
from infomri_monai.deploy.pacs.pushing import LOST, PushOutcome

status_tables, _ = optional_import("pynetdicom.status")

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom import Association

    from infomri_monai.deploy.pacs.encryption import ClientContext

    Ask = Callable[[], Iterable[tuple[Dataset, Dataset | None]]]

__all__ = ["asked", "checked", "is_pending", "offered", "push_outcome", "refusal", "retrieved"]

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


def offered(association: Association, service: str, request: str) -> None:
    """Check that the PACS accepted a service.

    Args:
        association: one that is established.
        service: UID of its SOP class.
        request: its name in the message, "C-GET" or "C-MOVE".

    Raises:
        DeployError: if it did not; exit code ``EXIT_USAGE``.
    """
    if all(context.abstract_syntax != service for context in association.accepted_contexts):
        other = "move" if request == "C-GET" else "get"
        raise DeployError(f"the PACS does not offer {request}; try the other way, retrieve {other}.", EXIT_USAGE)


def asked(ask: Ask) -> Iterator[tuple[Dataset, Dataset | None]]:
    """Ask for something; pynetdicom raises where the PACS is gone, when it is asked or when an answer is waited for.

    Args:
        ask: sends the request and returns the answers.

    Raises:
        DeployError: if the PACS is gone.
    """
    try:
        yield from ask()
    except RuntimeError:
        raise DeployError(f"{LOST}.") from None


def retrieved(ask: Ask, request: str) -> None:
    """Ask for something and wait for the last answer to C-GET or C-MOVE.

    Args:
        ask: sends the request and returns the answers, as pynetdicom does.
        request: its name in the message.

    Raises:
        DeployError: if an instance was not sent, or the connection breaks off.
    """
    for status, _ in asked(ask):
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


def refusal(association: Association, tls: ClientContext | None = None) -> str:
    """Why no association came about.

    Args:
        association: one that is not established.
        tls: by which it was tried; None for no encryption.
    """
    if association.is_rejected:
        reason = getattr(association.acceptor.primitive, "reason_str", "no reason given")
        return (
            f"the PACS rejected the association: {reason}. It must know our AE title and address, and we its AE title."
        )
    if association.acceptor.primitive is not None:
        return "the PACS takes none of what was proposed (SOP classes and transfer syntaxes)."
    if tls is not None:
        unknown = "nothing answers there, or not as a DICOM server, or it does not take our certificate"
        return (
            f"the PACS cannot be reached by TLS: {f'the handshake failed ({tls.failure})' if tls.failure else unknown}."
        )
    return "the PACS cannot be reached: nothing answers there, or not as a DICOM server without TLS."


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
