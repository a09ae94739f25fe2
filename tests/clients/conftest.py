"""Labelers that misbehave: one whose replies a test can bend, and a network in front of one that fails."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest

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
        )

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary("any", ("cat", "dog"), (), None, 1.0, WEIGHTS)

    def GetServerInfo(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        reply = pb.GetServerInfoResponse(
            weights_sha256=WEIGHTS, embedding_size=EMBEDDING_SIZE, limits=self.limits, temperature=1.0
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

    def ScoreCrops(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        for request in requests:
            results = [self._crop_result(item) for item in request.items]
            yield self.bend(pb.ScoreCropsResponse(results=results, weights_sha256=WEIGHTS), context)

    def _image_result(self, image: pb.Image, row: list[float]) -> pb.ImageResult:
        return pb.ImageResult(id=image.id, sha256=hashlib.sha256(image.content).digest(), scores=matrix(row))

    def _crop_result(self, item: pb.CropItem) -> pb.CropItemResult:
        crops = [pb.CropResult(scores=matrix([0.25, 0.75])) for _ in item.boxed_image.boxes]
        return pb.CropItemResult(id=item.id, sha256=hashlib.sha256(item.boxed_image.content).digest(), crops=crops)


@pytest.fixture
def bent_labeler() -> Iterator[BentLabeler]:
    servicer = BentLabeler()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    pb_grpc.add_LabelerServiceServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(0).wait()


class Proxy:
    """Forwards TCP connections to `backend`, which may change, and can cut them all: a network that fails."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections."""
        sockets, self._sockets = self._sockets, []
        for end in sockets:
            with suppress(OSError):  # the other side was faster
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
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
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # cut
            while data := source.recv(2**16):
                sink.sendall(data)
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
