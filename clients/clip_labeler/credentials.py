"""Whom a client trusts and how it proves who it is: TLS files and a bearer token. Knows nothing of calls."""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

AUTHORIZATION_KEY = "authorization"
# What an HTTP header may hold of RFC 6750's tokens; gRPC's own error would print the token.
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Credentials:
    """PEM files for TLS, and a bearer token. Without any of them the connection is plain text.

    `ca` holds the authorities that the labeler's certificate may come from; `certificate` and `key` are the client's
    own, for mutual TLS. `tls` alone trusts the public authorities that grpcio brings. The token is given, or read
    from `token_file` again for each call, so that it may be replaced at any time; so may the others, which are read
    when a connection opens. Raises ValueError when files are missing or do not go together.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    tls: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate and its private key go together: give both or none")
        if self.token is not None and self.token_file is not None:
            raise ValueError("give a token or a file that holds it, not both")
        for path in (self.ca, self.certificate, self.key):
            _read(path)
        if self.uses_tls:
            self.ssl_context()
        self.bearer()

    @property
    def uses_tls(self) -> bool:
        return self.tls or self.ca is not None or self.certificate is not None

    def bearer(self) -> str | None:
        """The value of the authorization header; raises ValueError when the token cannot be read or sent."""
        content = _read(self.token_file)
        token = self.token if content is None else content.decode("utf-8", "replace").strip()
        if token is None:
            return None
        if not _TOKEN.fullmatch(token):
            where = "the token" if content is None else f"{self.token_file}"
            raise ValueError(f"{where} must hold one bearer token of visible ASCII characters, without blanks")
        return f"Bearer {token}"

    def metadata(self) -> list[tuple[str, str]]:
        """What each call carries on a connection that is not TLS."""
        bearer = self.bearer()
        return [] if bearer is None else [(AUTHORIZATION_KEY, bearer)]

    def ssl_context(self) -> ssl.SSLContext:
        """The same for Python's own TLS, which unlike gRPC says what is wrong; raises ValueError for unfit files."""
        context = ssl.create_default_context()
        try:
            if self.ca is not None:
                context = ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError:
            raise ValueError(f"{self.ca} must hold the certificates of authorities, in PEM") from None
        try:
            if self.certificate is not None:
                # The password is for encrypted keys, for which OpenSSL would ask on the terminal.
                context.load_cert_chain(self.certificate, self.key, password="")
        except (ssl.SSLError, ValueError):
            raise ValueError(
                f"{self.certificate} and {self.key} must be a certificate and its unencrypted private key, in PEM"
            ) from None
        return context

    def for_channel(self) -> grpc.ChannelCredentials:
        """TLS, and the token with each call, gRPC's own health checks among them."""
        tls = grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))
        if self.bearer() is None:
            return tls
        return grpc.composite_channel_credentials(tls, grpc.metadata_call_credentials(_BearerToken(self)))


class _BearerToken(grpc.AuthMetadataPlugin):
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, context: Any, callback: Any) -> None:
        try:
            callback(tuple(self._credentials.metadata()), None)
        except ValueError as error:  # the call fails with it as UNAVAILABLE, and is tried again
            callback((), error)


def _read(path: Path | None) -> bytes | None:
    """The file's bytes; raises ValueError that names it."""
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
