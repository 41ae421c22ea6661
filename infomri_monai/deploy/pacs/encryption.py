"""DIMSE over TLS: who vouches for the PACS, and with which certificate we introduce ourselves."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infomri_monai.deploy.case import EXIT_USAGE, DeployError, system_words

__all__ = ["ClientContext", "Tls"]

#: not left to OpenSSL's configuration, which differs between machines
_OLDEST = ssl.TLSVersion.TLSv1_2
#: OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH, whose words name the host
_OF_ANOTHER_HOST = (62, 64)


@dataclass(frozen=True)
class Tls:
    """Encrypted associations by TLS 1.2 or later. The PACS's certificate must be for the host that is given, and be vouched for.

    Attributes:
        authority: PEM file of the certificates that vouch for the PACS; a self-signed certificate vouches for itself. None takes
            those that this machine trusts.
        certificate: PEM file of our certificate, with the chain above it; None where the PACS asks for none.
        key: PEM file of its private key; None where it is in the file of the certificate.
        password: of the key; "" where it is not encrypted.

    Example:
        >>> Tls().client().minimum_version.name
        'TLSv1_2'

    References:
        DICOM PS3.15 (2024), B.12: the BCP 195 TLS secure transport connection profiles; RFC 9325.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    password: str = field(default="", repr=False)

    def client(self) -> ClientContext:
        """For associations that we open.

        Raises:
            DeployError: if a file cannot be read, or key and certificate do not fit; exit code ``EXIT_USAGE``.
        """
        context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host
        context.minimum_version = _OLDEST
        self._trust(context)
        if self.certificate is not None:
            self._introduce(context)
        elif self.key is not None:
            raise DeployError("tls: a key needs its certificate.", EXIT_USAGE)
        return context

    def server(self) -> ssl.SSLContext:
        """For associations that the PACS opens, by C-MOVE; it must show a certificate that the same authority vouches for.

        Raises:
            DeployError: as :meth:`client`, and if there is no certificate, or no authority: anybody can have a certificate that one
                of those that this machine trusts vouches for, and the listener cannot tell by a name who calls.
        """
        if self.certificate is None:
            raise DeployError(
                "tls: retrieve='move' needs a certificate of ours, as the PACS connects to us.", EXIT_USAGE
            )
        if self.authority is None:
            raise DeployError(
                "tls: retrieve='move' needs the authority of the PACS's certificate (--tls-ca), as the PACS connects to us.",
                EXIT_USAGE,
            )
        context = _BoundedContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _OLDEST
        context.verify_mode = ssl.CERT_REQUIRED
        self._trust(context)
        self._introduce(context)
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        """Nobody but the authority vouches, where one is given."""
        if self.authority is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
            return
        try:
            context.load_verify_locations(self.authority)
        except OSError as error:  # an SSLError is one
            raise DeployError(f"tls: the authority's file cannot be used ({_words(error)}).", EXIT_USAGE) from None

    def _introduce(self, context: ssl.SSLContext) -> None:
        assert self.certificate is not None
        try:
            context.load_cert_chain(self.certificate, self.key, lambda: self.password)
        except (OSError, ValueError) as error:
            raise DeployError(
                f"tls: certificate and key cannot be used ({_words(error)}); the password, if the key has one, is that of "
                "INFOMRI_PACS_KEY_PASSWORD.",
                EXIT_USAGE,
            ) from None


class _NotingSocket(ssl.SSLSocket):
    """Notes why a handshake failed, and is closed then: pynetdicom tells the one to its log only, and forgets the other."""

    def do_handshake(self, block: bool = False) -> None:
        """As that of the base."""
        try:
            super().do_handshake(block)
        except OSError as error:
            if isinstance(self.context, ClientContext):
                self.context.failure = _words(error)
            self.close()
            raise


class ClientContext(ssl.SSLContext):
    """Of associations that we open.

    Attributes:
        failure: why the last handshake that failed did so, in words; "" if none has.
    """

    failure = ""
    sslsocket_class = _NotingSocket


class _BoundedContext(ssl.SSLContext):
    """A handshake that takes too long ends: pynetdicom would listen to nobody else, and never end, while a connection is mute."""

    seconds = 10.0

    def wrap_socket(self, sock: Any, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(self.seconds)
        wrapped = super().wrap_socket(sock, *arguments, **options)
        wrapped.settimeout(None)
        return wrapped


def _words(error: Exception) -> str:
    """What OpenSSL or the operating system says is wrong, without the host."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OF_ANOTHER_HOST:
            return "the certificate is not for the host that was given"
        return str(error.verify_message).rstrip(".")
    if isinstance(error, ssl.SSLError):
        return str(error.reason or type(error).__name__).lower().replace("_", " ")
    return system_words(error) if isinstance(error, OSError) else type(error).__name__
