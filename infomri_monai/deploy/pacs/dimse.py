"""A PACS by DIMSE, DICOM's own network protocol: C-ECHO, C-FIND, C-GET, C-MOVE and C-STORE.

``python -m infomri_monai.deploy.pacs {echo,find,pull,push}`` is a command for it and for DICOMweb. Connections are not encrypted
unless ``tls`` is given: keep them inside a network that is trusted, or use DICOMweb by https.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from monai.utils import optional_import

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.logs import quiet
from infomri_monai.deploy.pacs.answers import asked, checked, is_pending, offered, push_outcome, retrieved
from infomri_monai.deploy.pacs.association import Peer, associated, checked_port, checked_title, listening
from infomri_monai.deploy.pacs.encryption import Tls
from infomri_monai.deploy.pacs.inbox import Inbox
from infomri_monai.deploy.pacs.presentation import DOCUMENTS, IMAGES, VERIFICATION, send_contexts, storage_contexts
from infomri_monai.deploy.pacs.pushing import GONE, LOST, PushOutcome, PushReport, push_each, readable_instance
from infomri_monai.deploy.pacs.records import (
    SeriesRecord,
    StudyQuery,
    StudyRecord,
    series_record,
    series_request,
    study_record,
    study_request,
)
from infomri_monai.deploy.pacs.transfer import checked_timeout, checked_uid, chosen_series, new_folder

pynetdicom, _ = optional_import("pynetdicom")
uid, _ = optional_import("pydicom.uid")

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom import Association

__all__ = ["RETRIEVALS", "DimsePacs"]

#: C-GET brings a study over the connection that asks for it; C-MOVE makes the PACS connect to us
RETRIEVALS = ("get", "move")
#: SOP classes of the study root's queries and retrievals, PS3.4 C.6.2
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
CANCELLED = 0xFE00

Record = TypeVar("Record")


class DimsePacs:
    """A PACS by DIMSE; :class:`~infomri_monai.deploy.pacs.transfer.Pacs` says what its methods do.

    Args:
        host: of the PACS.
        port: of the PACS, often 104, 11112 or 4242.
        called_aet: AE title of the PACS, at most 16 characters.
        calling_aet: our AE title, which the PACS must know, at most 16 characters.
        retrieve: one of ``RETRIEVALS``.
        move_port: for C-MOVE: where the PACS finds ``calling_aet`` by its configuration.
        move_host: for C-MOVE: address to listen at; a PACS on another machine needs that of this machine, or "0.0.0.0".
        timeout: seconds without an answer after which the PACS counts as lost.
        tls: encrypts all associations, also those that the PACS opens for C-MOVE; None leaves them unencrypted.

    Raises:
        DeployError: if an argument is outside its range, or a file of ``tls`` cannot be used.

    Example:
        >>> DimsePacs("127.0.0.1", 4242, "ORTHANC").retrieve
        'get'
    """

    def __init__(
        self,
        host: str,
        port: int,
        called_aet: str,
        calling_aet: str = "INFOMRI",
        *,
        retrieve: str = "get",
        move_port: int | None = None,
        move_host: str = "127.0.0.1",
        timeout: float = 30.0,
        tls: Tls | None = None,
    ) -> None:
        if retrieve not in RETRIEVALS:
            raise DeployError(f"retrieve must be one of {RETRIEVALS}, got {retrieve!r}.", EXIT_USAGE)
        if retrieve == "move" and move_port is None:
            raise DeployError("retrieve='move' needs move_port, where the PACS sends to.", EXIT_USAGE)
        called, calling = checked_title(called_aet, "called_aet"), checked_title(calling_aet, "calling_aet")
        client_tls = tls.client() if tls else None
        server_tls = tls.server() if tls and retrieve == "move" else None
        port, timeout = checked_port(port, "port"), checked_timeout(timeout)
        self.peer = Peer(host, port, called, calling, timeout, client_tls, server_tls)
        self.retrieve, self.move_host = retrieve, move_host
        self.move_port = checked_port(move_port, "move_port") if move_port is not None else 0

    def echo(self) -> None:
        """C-ECHO."""
        with associated(self.peer, [pynetdicom.build_context(VERIFICATION)]) as association:
            checked(association.send_c_echo(), "C-ECHO")

    def find_studies(self, query: StudyQuery | None = None, limit: int = 100) -> tuple[StudyRecord, ...]:
        """C-FIND of studies."""
        return self._find(study_request(query or StudyQuery()), study_record, limit)

    def find_series(self, study_uid: str) -> tuple[SeriesRecord, ...]:
        """C-FIND of a study's series."""
        return self._find(series_request(checked_uid(study_uid, "study_uid")), series_record)

    def pull(self, study_uid: str, folder: str | Path, series_uids: Sequence[str] = ()) -> tuple[Path, ...]:
        """C-GET or C-MOVE, series by series."""
        series = chosen_series(self.find_series(study_uid), series_uids)
        with new_folder(folder) as part:
            inbox = Inbox(part, study_uid)
            with self._retrieving(inbox) as request:
                for one in series:
                    with inbox.receiving(one.instances):
                        request(series_request(study_uid, one.series_uid))
        return tuple(sorted(Path(folder).iterdir()))

    def push(self, instances: Sequence[str | Path | Dataset]) -> PushReport:
        """C-STORE; where the connection breaks off it is made again, once, for the next instance."""
        with quiet(), ExitStack() as stack:
            contexts = send_contexts(_kinds(instances))
            association: Association | None = stack.enter_context(associated(self.peer, contexts))

            def send(number: int, dataset: Dataset) -> PushOutcome:
                nonlocal association
                if association is None:
                    try:
                        association = stack.enter_context(associated(self.peer, contexts))
                    except DeployError:
                        return PushOutcome(number, False, GONE)
                outcome = _stored(association, number, dataset)
                if outcome.note == LOST:
                    association = None
                return outcome

            return push_each(instances, send)

    def _find(self, request: Dataset, record: Callable[[Dataset], Record], limit: int = 0) -> tuple[Record, ...]:
        """Answers to a query as records, at most ``limit`` unless that is 0."""
        found: list[Record] = []
        with associated(self.peer, [pynetdicom.build_context(FIND)]) as association:
            cancelled = False
            for status, identifier in asked(lambda: association.send_c_find(request, FIND)):
                if not is_pending(status):
                    if status.Status != CANCELLED:
                        checked(status, "C-FIND")
                elif identifier is None:
                    raise DeployError("an answer of the PACS to C-FIND cannot be decoded.")
                elif not limit or len(found) < limit:
                    found.append(record(identifier))
                elif not cancelled:
                    association.send_c_cancel(1, query_model=FIND)
                    cancelled = True
        return tuple(found)

    @contextmanager
    def _retrieving(self, inbox: Inbox) -> Iterator[Callable[[Dataset], None]]:
        """A function that asks for a series and returns when all of it is in the inbox."""
        handlers = [(pynetdicom.evt.EVT_C_STORE, inbox)]
        if self.retrieve == "get":
            roles = [pynetdicom.build_role(getattr(uid, name), scp_role=True) for name in IMAGES + DOCUMENTS]
            contexts = [pynetdicom.build_context(GET), *storage_contexts()]
            with associated(self.peer, contexts, handlers, ext_neg=roles) as association:
                offered(association, GET, "C-GET")
                yield lambda request: retrieved(lambda: association.send_c_get(request, GET), "C-GET")
        else:
            # verification, so that an association comes about with a PACS that does not offer C-MOVE
            move = [pynetdicom.build_context(MOVE), pynetdicom.build_context(VERIFICATION)]
            with (
                listening(self.peer, self.move_host, self.move_port, handlers),
                associated(self.peer, move) as association,
            ):
                offered(association, MOVE, "C-MOVE")
                us = self.peer.calling_aet
                yield lambda request: retrieved(lambda: association.send_c_move(request, us, MOVE), "C-MOVE")


def _kinds(instances: Sequence[str | Path | Dataset]) -> Iterator[tuple[str, str]]:
    """SOP class and transfer syntax of every instance that can be read."""
    for instance in instances:
        try:
            header = readable_instance(instance, header_only=True)
        except DeployError:
            continue  # reported when its turn comes
        yield header.SOPClassUID, header.file_meta.TransferSyntaxUID


def _stored(association: Association, number: int, dataset: Dataset) -> PushOutcome:
    """Send one."""
    try:
        return push_outcome(number, association.send_c_store(dataset))
    except RuntimeError:  # no association any more
        return PushOutcome(number, False, LOST)
    except ValueError:
        return PushOutcome(number, False, "the PACS takes no such SOP class in this encoding, or it cannot be encoded")
    except Exception as error:  # encoding of a data set; the message quotes its values
        return PushOutcome(number, False, f"it cannot be encoded ({type(error).__name__})")
