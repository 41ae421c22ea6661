"""Associations with a PACS: opened, closed whatever happens, and silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from monai.utils import optional_import

from infomri_monai.deploy.case import EXIT_USAGE, DeployError
from infomri_monai.deploy.logs import quiet
from infomri_monai.deploy.pacs.answers import refusal
from infomri_monai.deploy.pacs.presentation import DOCUMENTS, IMAGES, transfer_syntaxes

pynetdicom, _ = optional_import("pynetdicom")
uid, _ = optional_import("pydicom.uid")

if TYPE_CHECKING:
    from ssl import SSLContext

    from pynetdicom import Association

    from infomri_monai.deploy.pacs.encryption import ClientContext

__all__ = ["Peer", "associated", "checked_port", "checked_title", "listening"]

#: seconds for the end of an association that is broken off by Ctrl+C, where the PACS may still be sending
_PARTING = 2.0


class Peer(NamedTuple):
    """The two ends of an association.

    Attributes:
        host: of the PACS.
        port: of the PACS.
        called_aet: AE title of the PACS.
        calling_aet: our AE title.
        timeout: seconds without an answer after which the PACS counts as lost.
        client_tls: for associations that we open; None leaves them unencrypted.
        server_tls: for associations that the PACS opens; likewise.
    """

    host: str
    port: int
    called_aet: str
    calling_aet: str
    timeout: float
    client_tls: ClientContext | None = None
    server_tls: SSLContext | None = None

    def entity(self) -> Any:
        """Our application entity."""
        entity = pynetdicom.AE(self.calling_aet)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = self.timeout
        return entity


@contextmanager
def associated(
    peer: Peer, contexts: list[Any], handlers: list[Any] | None = None, **options: Any
) -> Iterator[Association]:
    """An association while the block runs, then released; nothing is logged.

    Args:
        peer: whom with.
        contexts: presentation contexts to propose.
        handlers: of pynetdicom's events.
        options: of pynetdicom's ``associate``.

    Raises:
        DeployError: if it does not come about.
    """
    with quiet(), _closing() as opened:
        entity = peer.entity()
        if peer.client_tls is not None:
            peer.client_tls.failure = ""
            options["tls_args"] = (peer.client_tls, peer.host)
        try:
            association = entity.associate(
                peer.host, peer.port, contexts, peer.called_aet, evt_handlers=[*(handlers or []), opened], **options
            )
        except OSError as error:  # a name that does not resolve
            raise DeployError(f"the PACS's host is not known ({type(error).__name__}).", EXIT_USAGE) from None
        if not association.is_established:
            raise DeployError(refusal(association, peer.client_tls))
        patience = peer.timeout
        try:
            yield association
        except KeyboardInterrupt:
            association.abort(block=False)  # not established any more
            patience = _PARTING
            raise
        finally:
            if association.is_established:
                association.release()
            association.join(patience)


@contextmanager
def listening(peer: Peer, host: str, port: int, handlers: list[Any]) -> Iterator[None]:
    """A storage server of our own while the block runs; it takes associations under our AE title only.

    Args:
        peer: gives our AE title.
        host: address to listen at.
        port: to listen at.
        handlers: of pynetdicom's events.

    Raises:
        DeployError: if the port is taken or the address is not this machine's.
    """
    with quiet(), _closing() as opened:
        entity = peer.entity()
        entity.require_called_aet = True
        for name in IMAGES + DOCUMENTS:
            entity.add_supported_context(getattr(uid, name), transfer_syntaxes(name))
        try:
            entity.start_server(
                (host, port), block=False, ssl_context=peer.server_tls, evt_handlers=[*handlers, opened]
            )
        except OSError as error:
            raise DeployError(f"cannot listen at port {port} for C-MOVE ({error.strerror}).", EXIT_USAGE) from None
        patience = peer.timeout
        try:
            yield
        except KeyboardInterrupt:
            for association in entity.active_associations:
                association.abort(block=False)
            patience = _PARTING
            raise
        finally:
            active = entity.active_associations
            entity.shutdown()
            for association in active:
                association.join(patience)


@contextmanager
def _closing() -> Iterator[Any]:
    """A handler that sees to it that all connections are closed at the end.

    pynetdicom 3.0 shuts a socket down before it closes it; where the other side was faster that fails, and it stays open.
    """
    sockets: list[Any] = []
    try:
        yield pynetdicom.evt.EVT_CONN_OPEN, lambda event: sockets.append(event.assoc.dul.socket.socket)
    finally:
        for socket in sockets:
            socket.close()


def checked_title(title: str, name: str) -> str:
    """An AE title without spaces around it.

    Raises:
        DeployError: if it is none.

    Example:
        >>> checked_title("ORTHANC ", "called_aet")
        'ORTHANC'
    """
    plain = title.strip()
    if not 1 <= len(plain) <= 16 or not plain.isascii() or not plain.isprintable() or "\\" in plain:
        raise DeployError(
            f"{name} must be an AE title: 1 to 16 ASCII characters, no backslash, got {title!r}.", EXIT_USAGE
        )
    return plain


def checked_port(port: int, name: str) -> int:
    """A TCP port.

    Raises:
        DeployError: if it is none.
    """
    if not 1 <= port <= 65535:
        raise DeployError(f"{name} must lie in [1, 65535], got {port}.", EXIT_USAGE)
    return port
