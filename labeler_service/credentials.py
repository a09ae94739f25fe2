"""TLS of the server: certificate files, which may be replaced while it serves. Knows nothing of calls.

gRPC itself takes TLS 1.2 and later only.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from labeler_service.reloading import Reloading


@dataclass(frozen=True)
class TlsFiles:
    """PEM files. With `client_ca`, callers need a certificate that one of its authorities signed (mutual TLS)."""

    cert: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True)
class _Pem:
    cert: bytes
    key: bytes
    client_ca: bytes | None

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """A new one for each use: gRPC takes it over."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.cert)], self.client_ca)


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that look at the files before each handshake. Raises ValueError when they are unusable now; later,
    unusable files are logged and the ones before them stay in use."""
    pem = Reloading(list(filter(None, (files.cert, files.key, files.client_ca))), lambda: _load(files))
    in_use = pem.value()

    def changed() -> Any:  # None means no change, which the stubs do not know.
        nonlocal in_use
        latest = pem.value()
        if latest is in_use:
            return None
        in_use = latest
        return latest.configuration()

    return grpc.dynamic_ssl_server_credentials(
        in_use.configuration(), changed, require_client_authentication=files.client_ca is not None
    )


def _load(files: TlsFiles) -> _Pem:
    """Raises ValueError."""
    client_ca = None if files.client_ca is None else _read("--tls-client-ca", files.client_ca)
    pem = _Pem(_read("--tls-cert", files.cert), _read("--tls-key", files.key), client_ca)
    # gRPC would say nothing and refuse every handshake, so OpenSSL looks first.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The password is for encrypted keys, for which OpenSSL would ask on the terminal.
        context.load_cert_chain(files.cert, files.key, password="")
    except (ssl.SSLError, ValueError):
        raise ValueError(
            f"--tls-cert {files.cert} and --tls-key {files.key} must be a certificate and its unencrypted key, in PEM"
        ) from None
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError:
            raise ValueError(f"--tls-client-ca {files.client_ca} must hold certificates in PEM") from None
    return pem


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{flag} {path}: {error.strerror}") from None
