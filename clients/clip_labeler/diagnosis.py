"""Why a labeler that runs cannot be reached: gRPC says "Socket closed" to everything that is wrong with TLS."""

import socket
import ssl

from clip_labeler.credentials import Credentials
from clip_labeler.targets import Target

PROBE_SECONDS = 3.0
# What a client of HTTP/2 says first (RFC 9113, section 3.4): the preface and an empty SETTINGS frame.
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"


def tls_mismatch(target: Target, credentials: Credentials) -> str | None:
    """What keeps the two from an understanding on TLS, in words; None if something else is the matter."""
    for host, port in target.hosts:
        problem = _probe(host, port, target.hosts[0][0], credentials)
        if problem is not None:
            return f"{host}:{port} {problem}"
    return None


def _probe(host: str, port: int, server_name: str, credentials: Credentials) -> str | None:
    try:
        if credentials.uses_tls:
            answer = _handshake(host, port, server_name, credentials.ssl_context())
            return None if answer else "closed the connection after the TLS handshake: does it want a certificate?"
        _handshake(host, port, server_name, _trusting_context())
        return "speaks TLS, and this client plain text: give the authority that signed its certificate"
    except ssl.SSLCertVerificationError as error:
        return f"shows a certificate that is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        if not credentials.uses_tls:
            return None  # plain text, as it should be
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return "speaks plain text, and this client TLS: give it none of the TLS files"
        return f"does not agree to TLS with this client: {error.reason}"
    except OSError:
        return None  # not there at all


def _handshake(host: str, port: int, server_name: str, context: ssl.SSLContext) -> bytes:
    """The first byte that the server says after the handshake; none if it hangs up."""
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=PROBE_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=server_name) as secured,
    ):
        secured.sendall(HTTP2_PREFACE)
        return secured.recv(1)


def _trusting_context() -> ssl.SSLContext:
    """Takes any certificate: nothing but the preface is said over it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
