"""PACS that misbehave, for the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Thread
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from infomri_monai.deploy.logs import quiet
from infomri_monai.deploy.pacs.dimse import FIND, GET, MOVE, DimsePacs
from infomri_monai.deploy.pacs.orthanc import free_port
from infomri_monai.deploy.pacs.presentation import DOCUMENTS, IMAGES, transfer_syntaxes

SERVICES = (FIND, GET, MOVE, Verification)


@contextmanager
def stub(
    handlers: dict[Any, Callable],
    timeout: float = 10.0,
    services: Sequence[str] = SERVICES,
    ssl_context: SSLContext | None = None,
    host: str = "127.0.0.1",
    **options: Any,
) -> Iterator[DimsePacs]:
    """A DICOM server whose answers the handlers give, by pynetdicom's events, and a client of it, which calls it ``host``."""
    from pydicom import uid

    port = free_port()
    with quiet():
        entity = AE("STUB")
        for model in services:
            entity.add_supported_context(model)
        for name in IMAGES + DOCUMENTS:
            entity.add_supported_context(getattr(uid, name), transfer_syntaxes(name), scu_role=True, scp_role=True)
        sockets: list[Any] = []
        opened = (evt.EVT_CONN_OPEN, lambda event: sockets.append(event.assoc.dul.socket.socket))
        entity.start_server(
            ("127.0.0.1", port), block=False, ssl_context=ssl_context, evt_handlers=[*handlers.items(), opened]
        )
        try:
            yield DimsePacs(host, port, "STUB", timeout=timeout, **options)
        finally:
            active = entity.active_associations
            entity.shutdown()
            for association in active:
                association.join(10)
            for socket in sockets:
                socket.close()


@contextmanager
def web_stub(answer: Callable[[str, str, bytes, Any], tuple[int, str, bytes]], excess: int = 0) -> Iterator[str]:
    """An HTTP server, and its URL.

    Args:
        answer: takes method, path, body and headers; gives status, content type and body.
        excess: by how many bytes the length in the header of WADO-RS's answers exceeds the truth.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, content = answer(self.command, self.path, body, self.headers)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content) + (excess if kind.startswith("multipart") else 0)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
