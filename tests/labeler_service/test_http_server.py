"""The pages beside gRPC: probes, tokens, TLS, and callers that say nothing."""

import http.client
import socket
import ssl
from typing import Any

import pytest
import trustme
from prometheus_client import CollectorRegistry, Counter

from labeler_service.http_server import MAX_CONNECTIONS, Pages, http_server


def pages(**changes: Any) -> Pages:
    registry = CollectorRegistry()
    Counter("cats", "Cats.", registry=registry).inc(3)
    values: dict[str, Any] = {"registry": registry, "live": lambda: True, "ready": lambda: True, **changes}
    return Pages(**values)


def get(port: int, path: str, headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None) -> Any:
    """Status and body."""
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    else:
        connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=tls)
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def test_pages() -> None:
    ready = [False]
    with http_server(pages(ready=lambda: ready[0]), "127.0.0.1", 0) as port:
        assert get(port, "/livez")[0] == 200
        assert get(port, "/readyz")[0] == 503
        ready[0] = True
        assert get(port, "/readyz?verbose")[0] == 200
        assert b"cats_total 3.0" in get(port, "/metrics")[1]
        assert get(port, "/")[0] == 404


def test_metrics_need_the_token_and_probes_do_not() -> None:
    """Callers' names and rates are not for everybody; kubelet has no token."""
    with http_server(pages(is_token=lambda token: token == "right"), "127.0.0.1", 0) as port:
        assert get(port, "/livez")[0] == get(port, "/readyz")[0] == 200
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "right"}):
            status, body = get(port, "/metrics", wrong)
            assert (status, b"cats" in body) == (401, False)
        assert b"cats_total 3.0" in get(port, "/metrics", {"Authorization": "Bearer right"})[1]


@pytest.fixture
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def test_tls(certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = certificates
    with http_server(pages(), "127.0.0.1", 0, lambda: server) as port:
        assert get(port, "/livez", tls=client)[0] == 200
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            get(port, "/livez")
        assert get(port, "/livez", tls=client)[0] == 200


@pytest.mark.parametrize("encrypted", [False, True])
def test_silent_callers(
    encrypted: bool, certificates: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few connections that say nothing would keep probes out, and a healthy server would be killed for it."""
    monkeypatch.setattr("labeler_service.http_server._Handler.timeout", 0.5)
    monkeypatch.setattr("labeler_service.http_server.TIMEOUT_SECONDS", 0.5)
    server, client = certificates
    client_tls = client if encrypted else None
    with http_server(pages(), "127.0.0.1", 0, (lambda: server) if encrypted else None) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MAX_CONNECTIONS - 1)]
        assert get(port, "/livez", tls=client_tls)[0] == 200
        for connection in silent:
            connection.settimeout(30)
            assert connection.recv(1) == b"", "cut off after the timeout"
            connection.close()


def test_port_in_use() -> None:
    with (
        http_server(pages(), "127.0.0.1", 0) as port,
        pytest.raises(ValueError, match=rf"--metrics-port: cannot listen on 127.0.0.1:{port}"),
        http_server(pages(), "127.0.0.1", port),
    ):
        pass
