"""DIMSE over TLS: against pynetdicom's server and Orthanc; who is not vouched for is not talked to."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")
from certificates import PASSWORD, Certificates, make_certificates
from pacs_helper import assert_same, new_study, require, study_of
from pydicom import Dataset
from pynetdicom import build_context, evt
from stub_pacs import stub

from infomri_monai.deploy.case import EXIT_CASE_FAILED, EXIT_OK, EXIT_USAGE, DeployError
from infomri_monai.deploy.pacs.association import Peer, associated, listening
from infomri_monai.deploy.pacs.command import main
from infomri_monai.deploy.pacs.dimse import DimsePacs
from infomri_monai.deploy.pacs.encryption import ClientContext, Tls, _BoundedContext
from infomri_monai.deploy.pacs.inbox import SUCCESS
from infomri_monai.deploy.pacs.orthanc import LocalPacs, free_port, local_orthanc, orthanc_missing


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def server(files: Certificates, mutual: bool = True) -> ssl.SSLContext:
    """Of a PACS that asks for certificates if ``mutual``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.authority)
    context.load_cert_chain(files.server, files.server_key)
    context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
    return context


def ours(files: Certificates) -> Tls:
    return Tls(files.authority, files.client, files.client_key)


def test_instances_go_encrypted(files: Certificates) -> None:
    datasets = new_study(2)
    got: list[Dataset] = []
    versions = set()

    def store(event: evt.Event) -> int:
        got.append(event.dataset)
        versions.add(event.assoc.dul.socket.socket.version())
        return SUCCESS

    with stub({evt.EVT_C_STORE: store}, ssl_context=server(files), tls=ours(files)) as archive:
        archive.echo()
        archive.push(datasets).check()
    assert [dataset.PixelData for dataset in got] == [dataset.PixelData for dataset in datasets]
    assert versions
    assert versions <= {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize(("side", "kind"), [("client", ClientContext), ("server", _BoundedContext)])
def test_nothing_older_than_tls_1_2(
    files: Certificates, side: str, kind: type[ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Python leaves that to an OpenSSL that would take more."""

    def lax(cls: type[ssl.SSLContext], protocol: int) -> ssl.SSLContext:
        context: ssl.SSLContext = ssl.SSLContext.__new__(cls, protocol)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        return context

    monkeypatch.setattr(kind, "__new__", lax)
    assert getattr(ours(files), side)().minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_pacs_that_asks_for_no_certificate(files: Certificates) -> None:
    with stub({}, ssl_context=server(files, mutual=False), tls=Tls(files.authority)) as archive:
        archive.echo()


NOT_FOR_IT = "the certificate is not for the host that was given"
WRONG = {
    "authority": (lambda f: {"tls": Tls(f.stranger, f.client, f.client_key)}, "self-signed certificate"),
    "host": (lambda f: {"tls": ours(f), "host": "localhost"}, NOT_FOR_IT),
    "this machine's authorities": (lambda f: {"tls": Tls(None, f.client, f.client_key)}, "self-signed certificate"),
    "no certificate of ours": (lambda f: {"tls": Tls(f.authority)}, "or it does not take our certificate"),
    "a server without TLS": (lambda f: {"tls": ours(f), "ssl_context": None}, "the handshake failed ("),
}


@pytest.mark.parametrize("kind", WRONG)
def test_who_is_not_vouched_for_is_not_talked_to(files: Certificates, kind: str) -> None:
    change, reason = WRONG[kind]
    options: dict[str, Any] = {"ssl_context": server(files), **change(files)}
    with stub({}, timeout=3, **options) as archive, pytest.raises(DeployError) as raised:
        archive.echo()
    assert str(raised.value).startswith("the PACS cannot be reached by TLS: ")
    assert reason in str(raised.value)
    assert archive.peer.host not in str(raised.value)
    assert raised.value.code == EXIT_CASE_FAILED


@pytest.mark.parametrize("name", ["pacs.example.org", "192.0.2.1"])
def test_a_certificate_for_another_host_names_none(files: Certificates, name: str) -> None:
    with stub({}, ssl_context=server(files), tls=ours(files)) as archive:
        context = archive.peer.client_tls
        assert context is not None
        with (
            socket.create_connection(("127.0.0.1", archive.peer.port)) as plain,
            pytest.raises(ssl.SSLCertVerificationError, match=name),
        ):
            context.wrap_socket(plain, server_hostname=name)
    assert context.failure == NOT_FOR_IT


def test_without_tls_nothing_is_sent_to_a_pacs_that_wants_it(files: Certificates) -> None:
    with (
        stub({}, timeout=3, ssl_context=server(files)) as archive,
        pytest.raises(DeployError, match="or not as a DICOM server without TLS"),
    ):
        archive.echo()


BAD = {
    "no such authority": (lambda f: Tls(f.authority.with_name("none.pem")), "authority's file.*No such file"),
    "an authority that is none": (lambda f: Tls(f.server_key), "authority's file cannot be used"),
    "a key without certificate": (lambda f: Tls(f.authority, None, f.client_key), "a key needs its certificate"),
    "the key of another": (lambda f: Tls(f.authority, f.client, f.server_key), "key values mismatch"),
    "no key": (lambda f: Tls(f.authority, f.client), "certificate and key cannot be used"),
    "no such key": (lambda f: Tls(f.authority, f.client, f.authority.with_name("none.pem")), "No such file"),
    "no password": (lambda f: Tls(f.authority, f.client, f.locked_key), "certificate and key cannot be used"),
    "a wrong password": (lambda f: Tls(f.authority, f.client, f.locked_key, "sesame"), "cannot be used"),
}


@pytest.mark.parametrize("kind", BAD)
def test_files_that_cannot_be_used(files: Certificates, kind: str) -> None:
    tls, message = BAD[kind]
    with pytest.raises(DeployError, match=message) as raised:
        DimsePacs("127.0.0.1", 104, "PACS", tls=tls(files))
    assert raised.value.code == EXIT_USAGE
    assert str(files.authority.parent) not in str(raised.value)


def test_c_move_needs_a_certificate_of_ours(files: Certificates) -> None:
    with pytest.raises(DeployError, match="retrieve='move' needs a certificate of ours"):
        DimsePacs("127.0.0.1", 104, "PACS", retrieve="move", move_port=11112, tls=Tls(files.authority))


def test_c_move_needs_the_authority_of_the_pacs(files: Certificates) -> None:
    """Those that this machine trusts vouch for anybody who calls; for C-GET they do, as the host is checked."""
    tls = Tls(None, files.client, files.client_key)
    with pytest.raises(DeployError, match=r"retrieve='move' needs the authority of .* \(--tls-ca\)") as raised:
        DimsePacs("127.0.0.1", 104, "PACS", retrieve="move", move_port=11112, tls=tls)
    assert raised.value.code == EXIT_USAGE
    assert DimsePacs("127.0.0.1", 104, "PACS", tls=tls).peer.server_tls is None


def test_the_messages_are_in_the_table(files: Certificates) -> None:
    table = (Path(__file__).parents[2] / "docs/deploy_errors.md").read_text()
    cases = [
        Tls(files.authority.with_name("none.pem")),
        Tls(files.authority, files.client, files.server_key),
        Tls(files.authority, None, files.client_key),
        Tls(files.authority),
        Tls(None, files.client, files.client_key),
    ]
    for tls in cases:
        with pytest.raises(DeployError) as raised:
            DimsePacs("127.0.0.1", 104, "PACS", retrieve="move", move_port=11112, tls=tls)
        assert f"`{raised.value}`" in table
    assert f"({NOT_FOR_IT})" in table


def test_a_password_opens_the_key_and_is_not_shown(files: Certificates) -> None:
    tls = Tls(files.authority, files.client, files.locked_key, PASSWORD)
    with stub({}, ssl_context=server(files), tls=tls) as archive:
        archive.echo()
    assert PASSWORD not in repr(tls)


def test_a_mute_connection_does_not_stop_the_listener(files: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never begins a handshake: a real PACS comes after it, and the end comes, too."""
    monkeypatch.setattr(_BoundedContext, "seconds", 0.5)
    port = free_port()
    archive = DimsePacs("127.0.0.1", 104, "PACS", retrieve="move", move_port=port, timeout=5, tls=ours(files))
    caller = ours(files).client()
    start = time.monotonic()
    with (
        listening(archive.peer, "127.0.0.1", port, []),
        socket.create_connection(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as plain,
        caller.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        assert encrypted.version() in ("TLSv1.2", "TLSv1.3")
    assert time.monotonic() - start < 20


def test_the_listener_takes_only_who_is_vouched_for(files: Certificates) -> None:
    """A connection without a certificate is closed before a byte of DICOM is read."""
    port = free_port()
    archive = DimsePacs("127.0.0.1", 104, "PACS", retrieve="move", move_port=port, timeout=5, tls=ours(files))
    image = [build_context("1.2.840.10008.5.1.4.1.1.4")]
    stranger, known = (
        Peer("127.0.0.1", port, "INFOMRI", "PACS", 5, tls.client()) for tls in (Tls(files.authority), ours(files))
    )
    with listening(archive.peer, "127.0.0.1", port, []):
        with pytest.raises(DeployError, match="cannot be reached by TLS"), associated(stranger, image):
            pass
        with associated(known, image) as association:
            assert association.is_established


@pytest.fixture(scope="module")
def encrypted_orthanc(files: Certificates) -> Iterator[tuple[LocalPacs, int]]:
    """Orthanc that talks DIMSE by TLS alone, and the port that it moves to."""
    require(orthanc_missing())
    move_port = free_port()
    client = {"AET": "INFOMRI", "Host": "127.0.0.1", "Port": move_port, "UseDicomTls": True}
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(files.server),
        "DicomTlsPrivateKey": str(files.server_key),
        "DicomTlsTrustedCertificates": str(files.authority),
        "DicomModalities": {"client": client},
    }
    with local_orthanc(options=options) as pacs:
        yield pacs, move_port


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_orthanc_there_and_back(
    files: Certificates, encrypted_orthanc: tuple[LocalPacs, int], retrieve: str, tmp_path: Path
) -> None:
    pacs, move_port = encrypted_orthanc
    where = ("127.0.0.1", pacs.dicom_port, pacs.ae_title, pacs.client_aet)
    archive = DimsePacs(*where, retrieve=retrieve, move_port=move_port, timeout=20, tls=ours(files))
    datasets = new_study(3)
    archive.echo()
    archive.push(datasets).check()
    assert_same(archive.pull(study_of(datasets), tmp_path / "study"), datasets)
    with pytest.raises(DeployError, match="cannot be reached"):
        DimsePacs(*where, timeout=3).echo()


def test_the_command(
    files: Certificates,
    encrypted_orthanc: tuple[LocalPacs, int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pacs, _ = encrypted_orthanc
    where = ["--dicom", f"127.0.0.1:{pacs.dicom_port}", "--aet", pacs.ae_title, "--timeout", "5"]
    certificate = ["--tls-cert", str(files.client), "--tls-key", str(files.locked_key)]
    monkeypatch.setenv("INFOMRI_PACS_KEY_PASSWORD", PASSWORD)
    assert main(["echo", *where, "--tls-ca", str(files.authority), *certificate]) == EXIT_OK
    assert main(["echo", *where, "--tls", *certificate]) == EXIT_CASE_FAILED
    monkeypatch.delenv("INFOMRI_PACS_KEY_PASSWORD")
    assert main(["echo", *where, "--tls-ca", str(files.authority), *certificate]) == EXIT_USAGE
    assert main(["echo", "--dicomweb", pacs.dicomweb_url, "--tls"]) == EXIT_USAGE
    out, err = capsys.readouterr()
    assert out == "the PACS answers\n"
    assert [line.split(":")[1].strip() for line in err.splitlines()] == [
        "the PACS cannot be reached by TLS",
        "tls",
        "--tls is for --dicom; by DICOMweb, give a URL of https.",
    ]
