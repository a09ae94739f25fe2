"""A server to attack, an innocent caller beside the attack, and a hostile client that speaks HTTP/2 by hand."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from hpack import Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import HeadersFrame, RstStreamFrame

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

WAIT_SECONDS = 20
MAX_REQUEST_BYTES = 2**20
METHOD = "/clip_labeler.v1.LabelerService/ScoreImages"


class HostileClient:
    """One HTTP/2 connection."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.send(self.h2.data_to_send())
        headers = {":method": "POST", ":scheme": "http", ":path": METHOD, ":authority": address, "te": "trailers"}
        headers["content-type"] = "application/grpc"
        # Never indexed, so that each call's headers are the same bytes.
        self._headers = Encoder().encode([NeverIndexedHeaderTuple(*header) for header in headers.items()])
        self._next_stream = 1

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def open_stream(self) -> tuple[int, bytes]:
        """The next stream's number, and the frame that opens it for a call of ScoreImages."""
        number, self._next_stream = self._next_stream, self._next_stream + 2
        return number, HeadersFrame(number, self._headers, flags=["END_HEADERS"]).serialize()

    def events_until_closed(self) -> Iterator[Event]:
        """What the server sends until it hangs up."""
        try:
            while content := self.socket.recv(2**16):
                yield from self.h2.receive_data(content)
                self.send(self.h2.data_to_send())
        except (ConnectionResetError, BrokenPipeError):
            return

    def discard_received(self) -> None:
        """Empties the socket, so that the server can go on writing."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(2**16):
                pass
        except BlockingIOError:
            pass
        self.socket.settimeout(WAIT_SECONDS)

    def reset_rapidly(self, seconds: float) -> int:
        """Opens calls and cancels them at once (CVE-2023-44487); their number."""
        calls, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            frames: list[bytes] = []
            for _ in range(100):
                number, opening = self.open_stream()
                frames += [opening, RstStreamFrame(number, error_code=8).serialize()]
            try:
                self.send(b"".join(frames))
                self.discard_received()
            except OSError:
                break  # The server has hung up.
            calls += 100
        return calls

    def close(self) -> None:
        self.socket.close()


class Target:
    """The server that is attacked."""

    def __init__(self, labeler: Any) -> None:
        self.labeler = labeler
        self.address = labeler.address

    def connect(self) -> HostileClient:
        return HostileClient(self.address)

    def is_serving(self) -> bool:
        with grpc.insecure_channel(self.address) as channel:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.labeler.process.pid).memory_info().rss)

    @contextmanager
    def innocent_caller(self) -> Iterator[Counter[grpc.StatusCode]]:
        """Calls one after the other meanwhile, on a connection of its own; counts the answers by their code."""
        answers: Counter[grpc.StatusCode] = Counter()
        over = threading.Event()

        def call() -> None:
            with grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                method = LabelerServiceStub(channel).GetServerInfo
                while not over.is_set() or not answers:
                    answers[method.future(pb.GetServerInfoRequest(), timeout=WAIT_SECONDS).code()] += 1

        thread = threading.Thread(target=call)
        thread.start()
        try:
            yield answers
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="session")
def start_target(start_labeler: Any, tiny_clip: Any) -> Callable[..., Target]:
    def start(**options: Any) -> Target:
        flags = ("--max-request-bytes", str(MAX_REQUEST_BYTES))
        return Target(start_labeler(*tiny_clip.flags, *flags, **options))

    return start


@pytest.fixture(scope="session")
def target(start_target: Callable[..., Target]) -> Target:
    return start_target()
