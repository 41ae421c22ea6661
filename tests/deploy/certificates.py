"""Certificates for tests of TLS: an authority, and a PACS and a client that it vouches for."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "open sesame"


class Certificates(NamedTuple):
    """PEM files.

    Attributes:
        authority: vouches for the others.
        server: certificate for 127.0.0.1.
        server_key: its key.
        client: certificate.
        client_key: its key.
        locked_key: the same, encrypted by ``PASSWORD``.
        stranger: another authority.
    """

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    locked_key: Path
    stranger: Path


def make_certificates(folder: Path) -> Certificates:
    """Write all files into a folder."""
    paths = Certificates(*(folder / f"{name}.pem" for name in Certificates._fields))
    root, root_key = _certificate("authority")
    server, server_key = _certificate("pacs", root, root_key)
    client, client_key = _certificate("client", root, root_key)
    stranger, _ = _certificate("stranger")
    for path, certificate in zip(
        (paths.authority, paths.server, paths.client, paths.stranger), (root, server, client, stranger), strict=True
    ):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    locked = serialization.BestAvailableEncryption(PASSWORD.encode())
    for path, key, encryption in (
        (paths.server_key, server_key, serialization.NoEncryption()),
        (paths.client_key, client_key, serialization.NoEncryption()),
        (paths.locked_key, client_key, locked),
    ):
        kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        path.write_bytes(key.private_bytes(*kind, encryption))
    return paths


def _certificate(
    name: str, issuer: x509.Certificate | None = None, issuer_key: ec.EllipticCurvePrivateKey | None = None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate, of an authority where there is no issuer, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    signer = issuer_key or key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    return builder.sign(signer, hashes.SHA256()), key
