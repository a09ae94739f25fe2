"""Labelers that misbehave: one whose replies a test can bend, and a network in front of one that fails."""

import hashlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clip_labeler import Vocabulary
from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1 import labeler_pb2_grpc as pb_grpc

WEIGHTS = "0" * 64
EMBEDDING_SIZE = 4
Bend = Callable[[Any, grpc.ServicerContext], Any]


def matrix(row: list[float]) -> pb.Matrix:
    return pb.Matrix(rows=1, columns=len(row), data=np.array(row, "<f4").tobytes())


class BentLabeler(pb_grpc.LabelerServiceServicer):
    """Answers by the contract, then hands each reply to `bend`, which may change it, count it or abort the call."""

    def __init__(self) -> None:
        self.bend: Bend = lambda reply, context: reply
        self.target = ""
        self.num_streams_ended = 0
        self.serving = True
        self.limits = pb.Limits(
            max_items_per_request=8,
            max_request_bytes=100_000,
            max_image_bytes=90_000,
            max_image_pixels=10**6,
            max_crops_per_item=8,
            max_requests_in_flight=8,
            max_items_in_flight_per_stream=16,
            max_classes=100,
            max_text_bytes=100,
            max_view_size=640,
            max_non_jpeg_pixels=4096 * 4096,
        )

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary("any", ("cat", "dog"), (), None, 1.0, WEIGHTS)

    def GetServerInfo(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        reply = pb.GetServerInfoResponse(
            weights_sha256=WEIGHTS, embedding_size=EMBEDDING_SIZE, limits=self.limits, temperature=1.0
        )
        return self.bend(reply, context)

    def CreateVocabulary(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        reply = pb.CreateVocabularyResponse(
            vocabulary_id="any", num_classes=len(request.class_names), temperature=1.0, weights_sha256=WEIGHTS
        )
        return self.bend(reply, context)

    def ScoreImages(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        results = [self._image_result(image, [0.25, 0.75]) for image in request.images]
        return self.bend(pb.ScoreImagesResponse(results=results, weights_sha256=WEIGHTS), context)

    def EmbedImages(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        results = [self._image_result(image, [0.5] * EMBEDDING_SIZE) for image in request.images]
        return self.bend(pb.EmbedImagesResponse(results=results, weights_sha256=WEIGHTS), context)

    def ScoreImageStream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        for request in requests:
            results = [self._image_result(image, [0.25, 0.75]) for image in request.images]
            yield self.bend(pb.ScoreImageStreamResponse(results=results, weights_sha256=WEIGHTS), context)
        self.num_streams_ended += 1  # by the caller; a cancelled one ends with an exception

    def ScoreCrops(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        for request in requests:
            results = [self._crop_result(item) for item in request.items]
            yield self.bend(pb.ScoreCropsResponse(results=results, weights_sha256=WEIGHTS), context)

    def _image_result(self, image: pb.Image, row: list[float]) -> pb.ImageResult:
        return pb.ImageResult(id=image.id, sha256=hashlib.sha256(image.content).digest(), scores=matrix(row))

    def _crop_result(self, item: pb.CropItem) -> pb.CropItemResult:
        crops = [pb.CropResult(scores=matrix([0.25, 0.75])) for _ in item.boxed_image.boxes]
        return pb.CropItemResult(id=item.id, sha256=hashlib.sha256(item.boxed_image.content).digest(), crops=crops)


class BentHealth(health_pb2_grpc.HealthServicer):
    """Tells whether `labeler.serving` is set. grpc_health's own servicer can lock up when a watcher leaves at once."""

    def __init__(self, labeler: BentLabeler) -> None:
        self._labeler = labeler

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        said = None
        while context.is_active():
            if self._labeler.serving != said:
                said = self._labeler.serving
                yield health_pb2.HealthCheckResponse(status=1 if said else 2)  # SERVING, NOT_SERVING
            time.sleep(0.02)


StartBentLabeler = Callable[..., BentLabeler]


@pytest.fixture
def start_bent_labeler() -> Iterator[StartBentLabeler]:
    """start_bent_labeler(credentials=None): one more of them, in plain text or with a server's TLS credentials."""
    servers: list[grpc.Server] = []

    def start(credentials: grpc.ServerCredentials | None = None) -> BentLabeler:
        servicer = BentLabeler()
        server = grpc.server(ThreadPoolExecutor(40), options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_LabelerServiceServicer_to_server(servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(BentHealth(servicer), server)
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        servicer.target = f"127.0.0.1:{port}"
        server.start()
        servers.append(server)
        return servicer

    yield start
    for server in servers:
        server.stop(0).wait()


@pytest.fixture
def bent_labeler(start_bent_labeler: StartBentLabeler) -> BentLabeler:
    return start_bent_labeler()


RETRANSMISSION_SECONDS = 0.2  # Linux's least (RFC 6298, section 2, has a second)


class Proxy:
    """Forwards TCP connections to `backend`: a network that fails as its attributes say, which may change any time.

    `latency` seconds, more or less by half of it, pass before a piece of up to 64 KiB goes on, which at `rate` bytes
    per second takes time as well. A share `loss` of the pieces is lost on the way and sent again by the kernel: to what
    runs over TCP, they are late by a retransmission. Nothing goes on while `blackhole` is set. A connection is reset
    after `cut_after` bytes. `damage` changes a piece on its way to the labeler.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.latency = 0.0
        self.loss = 0.0
        self.rate = float("inf")
        self.blackhole = False
        self.cut_after = float("inf")
        self.damage: Callable[[bytes], bytes] = lambda piece: piece
        self._random = random.Random(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._silenced: list[socket.socket] = []
        self._to_reset: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, reset: bool = False) -> None:
        """Ends all connections, in order or with a reset."""
        sockets, self._sockets = self._sockets, []
        for end in sockets:
            with suppress(OSError):  # the other side was faster
                if reset:  # sent when the socket is closed, by the thread that reads from it and is woken now
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._to_reset.add(end)
                end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)

    def silence(self) -> None:
        """The present connections stay open and say nothing ever more, as behind a router that lost its tables."""
        self._silenced, self._sockets = self._sockets, []

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._sockets += self._silenced
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        host, port = self.backend.split(":")
        try:
            server = socket.create_connection((host, int(port)))
        except OSError:
            client.close()
            return
        self._sockets += [client, server]
        for source, sink, to_labeler in ((client, server, True), (server, client, False)):
            threading.Thread(target=self._copy, args=(source, sink, to_labeler), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, to_labeler: bool) -> None:
        left = self.cut_after
        with suppress(OSError):  # cut
            while data := source.recv(2**16):
                time.sleep(self.latency * self._random.uniform(0.5, 1.5) + len(data) / self.rate)
                if self._random.random() < self.loss:
                    time.sleep(RETRANSMISSION_SECONDS)
                while self.blackhole:
                    time.sleep(0.01)
                if source in self._silenced:
                    return
                left -= len(data)
                if left < 0:
                    self.cut(reset=True)
                sink.sendall(self.damage(data) if to_labeler else data)
        if source in self._to_reset:
            source.close()
            return
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def start_proxy() -> Iterator[Callable[[str], Proxy]]:
    """start_proxy(address): a proxy in front of a labeler."""
    started: list[Proxy] = []

    def start(address: str) -> Proxy:
        started.append(Proxy(address))
        return started[-1]

    yield start
    for proxy in started:
        proxy.close()
