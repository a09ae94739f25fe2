"""HTTP/2 abuse: whatever hostile clients do on their connections, an innocent one sees no error."""

import resource
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hyperframe.frame import DataFrame, PingFrame

OK = grpc.StatusCode.OK
ENHANCE_YOUR_CALM = 11  # RFC 9113, section 7
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UNLIMITED = str(Path(__file__).with_name("unlimited_server.py"))


def quick_and_long(quick: Any, *long: Any) -> Any:
    return [quick, pytest.param(*long, marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def still_serving(target: Any) -> Iterator[None]:
    assert target.is_serving()
    yield
    assert target.is_serving()
    assert "Traceback" not in target.labeler.log.read_text()


def attack_with_rapid_resets(target: Any, connections: int, seconds: float) -> Counter[grpc.StatusCode]:
    """The innocent caller's answers meanwhile."""
    clients = [target.connect() for _ in range(connections)]
    sent: list[int] = []
    threads = [threading.Thread(target=lambda c=c: sent.append(c.reset_rapidly(seconds))) for c in clients]
    with target.innocent_caller() as answers:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for client in clients:
        client.close()
    assert sum(sent) >= 1000, "the attack did not happen"
    return answers


@pytest.mark.parametrize(("connections", "seconds"), quick_and_long((2, 2.0), 24, 10.0))
def test_rapid_reset(target: Any, connections: int, seconds: float) -> None:
    """A few such connections make most calls of others fail under gRPC's defaults, and 12 in spite of its limit of
    streams."""
    assert set(attack_with_rapid_resets(target, connections, seconds)) == {OK}


@pytest.mark.slow
def test_rapid_reset_harms_without_the_limits(start_target: Callable[..., Any]) -> None:
    """Were this to pass without harm, the test above would prove nothing."""
    unlimited = start_target(program=[UNLIMITED])
    assert set(attack_with_rapid_resets(unlimited, 24, 10.0)) != {OK}


def test_ping_flood(target: Any) -> None:
    """Each ping costs an answer."""
    client = target.connect()
    with target.innocent_caller() as answers:
        client.send(PingFrame(0, opaque_data=bytes(8)).serialize() * 100)
        client.wait_until_closed()
    assert client.goaway == ENHANCE_YOUR_CALM
    assert set(answers) == {OK}


@pytest.mark.parametrize("said", [b"", PREFACE[:10], b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "half", "HTTP/1.1"])
@pytest.mark.parametrize("connections", quick_and_long(100, 1000))
def test_connections_that_say_nothing(target: Any, connections: int, said: bytes) -> None:
    """They would use up the server's file descriptors; the handshake has five seconds."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host, port = target.address.split(":")
    with target.innocent_caller() as answers:
        sockets = [socket.create_connection((host, int(port)), timeout=20) for _ in range(connections)]
        for half_open in sockets:
            half_open.sendall(said)
        for half_open in sockets:
            assert hung_up(half_open)
    assert set(answers) == {OK}


def hung_up(connection: socket.socket) -> bool:
    """Waits for the end of what the server says."""
    with connection:
        try:
            while connection.recv(2**16):
                pass
        except ConnectionResetError:
            pass
        return True


@pytest.mark.parametrize(("connections", "seconds"), quick_and_long((5, 1.0), 20, 20.0))
def test_slow_bodies(target: Any, connections: int, seconds: float) -> None:
    """Calls whose bodies come a byte at a time."""
    clients = [target.connect() for _ in range(connections)]
    length = struct.pack(">BI", 0, 2**19)
    numbers = []
    for client in clients:
        for _ in range(20):
            number, opening = client.open_stream()
            client.send(opening + DataFrame(number, length).serialize())
            numbers.append((client, number))
    with target.innocent_caller() as answers:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for client, number in numbers:
                client.send(DataFrame(number, b"\0").serialize())
            time.sleep(0.1)
    for client in clients:
        client.close()
    assert set(answers) == {OK}
