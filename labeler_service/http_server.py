"""Plain HTTP beside gRPC, for what speaks nothing else: /metrics for Prometheus, /livez and /readyz for probes."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, socket
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

# A scrape takes milliseconds; who says nothing for this long is cut off, TLS handshake included.
TIMEOUT_SECONDS = 5.0
# Prometheus and two probes need three; each has a thread.
MAX_CONNECTIONS = 16


@dataclass(frozen=True)
class Pages:
    """What is served. With `is_token`, /metrics needs "Authorization: Bearer TOKEN"; with `needs_certificate`, a
    certificate that the TLS context's authorities signed; probes never do.

    All are called on threads of the HTTP server.
    """

    registry: CollectorRegistry
    live: Callable[[], bool]
    ready: Callable[[], bool]
    is_token: Callable[[str], bool] | None = None
    needs_certificate: bool = False


@contextmanager
def http_server(pages: Pages, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None = None) -> Iterator[int]:
    """Serves the pages meanwhile; gives the port, which is a free one for port 0. Each connection asks for its TLS
    context, so that it may change.

    Raises ValueError when the address cannot be used.
    """
    try:
        server = _Server(pages, host, port, tls)
    except OSError:
        raise ValueError(f"--metrics-port: cannot listen on {host}:{port}: is the port in use?") from None
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, pages: Pages, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self.pages = pages
        self._tls = tls
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own asks the DNS for the host's name, which may take long.

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """On the connection's own thread: elsewhere a handshake would let one silent caller block all others."""
        assert isinstance(request, socket)
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(TIMEOUT_SECONDS)
        with self._tls().wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """A caller that hangs up or does not speak TLS is no event; the pages themselves raise nothing."""


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_SECONDS
    server: _Server
    server_version, sys_version = "clip-labeler", ""

    def do_GET(self) -> None:
        pages = self.server.pages
        match self.path.partition("?")[0]:
            case "/livez":
                self._send_probe(pages.live())
            case "/readyz":
                self._send_probe(pages.ready())
            case "/metrics" if self._may_read(pages):
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._send(HTTPStatus.OK, encode(pages.registry), content_type)
            case "/metrics":
                self._send(
                    HTTPStatus.UNAUTHORIZED, b"a bearer token or a certificate is needed\n", authenticate="Bearer"
                )
            case _:
                self._send(HTTPStatus.NOT_FOUND, b"there are /metrics, /livez and /readyz\n")

    def _may_read(self, pages: Pages) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if pages.is_token is not None and not (scheme.lower() == "bearer" and pages.is_token(token)):
            return False
        if not pages.needs_certificate:
            return True
        return isinstance(self.connection, ssl.SSLSocket) and bool(self.connection.getpeercert())

    def _send_probe(self, good: bool) -> None:
        self._send(HTTPStatus.OK, b"ok\n") if good else self._send(HTTPStatus.SERVICE_UNAVAILABLE, b"not now\n")

    def _send(
        self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8", authenticate: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if authenticate:
            self.send_header("WWW-Authenticate", authenticate)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes and scrapes come every few seconds for months."""
