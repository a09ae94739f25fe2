"""Fixtures of the labeler's tests: a raw gRPC stub of the shared server, options that it accepts, a server whose
metrics, log and traces can be read, and one whose device fails on demand."""

import asyncio
import contextlib
import json
import os
import queue
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.free_encoder import FreeEncoder
from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from labeler_service import engine, server
from labeler_service.backends import Computed, Normalization
from labeler_service.config import ServerConfig
from labeler_service.errors import DeviceLostError


@pytest.fixture(scope="session")
def channel(labeler: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(labeler.address) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> Any:
    return LabelerServiceStub(channel)


@pytest.fixture(scope="session")
def score_options() -> Callable[..., pb.ScoreOptions]:
    """score_options(stub, **changes): options for probabilities of cat, dog and tree, with some fields replaced."""

    def create(stub: Any, **changes: Any) -> pb.ScoreOptions:
        vocabulary = stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=["cat", "dog", "tree"]))
        fields = {
            "vocabulary_id": vocabulary.vocabulary_id,
            "preprocessing": pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER),
            "output": pb.ScoreOptions.OUTPUT_PROBABILITIES,
            **changes,
        }
        return pb.ScoreOptions(**fields)

    return create


@pytest.fixture(scope="session")
def options(stub: Any, score_options: Callable[..., pb.ScoreOptions]) -> pb.ScoreOptions:
    return score_options(stub)


class SpanReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps the spans, and what sent them, in a queue."""

    def __init__(self) -> None:
        self.spans: queue.Queue[tuple[str, trace_pb2.Span]] = queue.Queue()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        for group in request.resource_spans:
            resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.put((resource["service.name"], span))
        return trace_service_pb2.ExportTraceServiceResponse()


@dataclass(frozen=True)
class ObservedLabeler:
    """A running labeler with everything on that operators can read."""

    labeler: Any
    stub: Any
    receiver: SpanReceiver

    @property
    def url(self) -> str:
        match = re.search(r"metrics and probes at 127.0.0.1 port (\d+)", self.labeler.log.read_text())
        assert match is not None
        return f"http://127.0.0.1:{match[1]}"

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Values by name and label values, in the order of the labels' names; those of zero are left out."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        samples = [sample for family in families for sample in family.samples]
        return {(s.name, *(s.labels[label] for label in sorted(s.labels))): s.value for s in samples if s.value}

    def log_lines(self) -> list[dict[str, Any]]:
        lines = self.labeler.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]  # gRPC's C core writes its own kind


@pytest.fixture(scope="session")
def observed(start_labeler: Any, tiny_clip: Any) -> Iterator[ObservedLabeler]:
    receiver = SpanReceiver()
    collector = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, collector)
    endpoint = f"http://127.0.0.1:{collector.add_insecure_port('127.0.0.1:0')}"
    collector.start()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds between exports
        flags = ["--cache-bytes", "0", "--metrics-port", "0", "--log-format", "json", "--otlp-endpoint", endpoint]
        labeler = start_labeler(*tiny_clip.flags, *flags)
    with grpc.insecure_channel(labeler.address) as channel:
        yield ObservedLabeler(labeler, LabelerServiceStub(channel), receiver)
    labeler.stop()
    collector.stop(None)


class FakeDevice:
    """Gives constant embeddings while `free` is set; `failure` and `lost` make it fail."""

    info = replace(FreeEncoder().info, embedding_size=4)

    def __init__(self) -> None:
        self.free = threading.Event()
        self.lost = False
        self.failure: type[BaseException] | None = None
        self.batches = 0
        self.seconds = 0.0  # a batch
        self.shapes: set[tuple[int, int]] = set()
        self.seen: set[bytes] = set()  # distinct views, the canary's among them

    def submit(self, pixels_BHW3: np.ndarray, normalization: Normalization) -> Computed:
        return Computed(self.encode_images(pixels_BHW3, normalization))

    def encode_images(self, pixels_BHW3: np.ndarray, normalization: Normalization) -> np.ndarray:
        self.batches += 1
        self.shapes.add((pixels_BHW3.shape[1], pixels_BHW3.shape[2]))
        self.seen.update(view_HW3.tobytes() for view_HW3 in pixels_BHW3)
        assert self.free.wait(50)
        time.sleep(self.seconds)
        if self.lost:
            raise DeviceLostError
        if self.failure:
            raise self.failure
        return np.full((len(pixels_BHW3), 4), 0.5, np.float32)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        raise RuntimeError("cannot read /etc/secret")


class FakeDeviceClient:
    """What the tests call, and the server's task."""

    def __init__(self, channel: grpc.aio.Channel, serving: asyncio.Task[int]) -> None:
        self.stub = LabelerServiceStub(channel)
        self.serving = serving
        self._health = health_pb2_grpc.HealthStub(channel)

    async def is_serving(self, service: str = "") -> bool:
        reply = await self._health.Check(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True)
        return reply.status == health_pb2.HealthCheckResponse.SERVING

    async def until_serving(self, serving: bool = True) -> None:
        while await self.is_serving() is not serving:
            await asyncio.sleep(0.02)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.02)

    async def hold_device(self, device: FakeDevice, content: bytes) -> asyncio.Task[pb.ImageResult]:
        """The device works on this image, or on a canary that came before it, until it is set free."""
        device.free.clear()
        batches = device.batches
        running = asyncio.create_task(self.embed(content))
        await self.until(lambda: device.batches > batches)
        return running

    async def watch(self, service: str) -> list[int]:
        """All that is said of a service until the server ends."""
        said = []
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for reply in self._health.Watch(health_pb2.HealthCheckRequest(service=service)):
                said.append(reply.status)
        return said

    async def embed(self, content: bytes, **options: Any) -> pb.ImageResult:
        preprocessing = pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER)
        request = pb.EmbedImagesRequest(preprocessing=preprocessing, images=[pb.Image(content=content)])
        return (await self.stub.EmbedImages(request, **options)).results[0]


@pytest.fixture
def fake_device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def serve(fake_device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """serve(test, **settings): runs the coroutine test(client) against a server of the fake device, in this process.

    Returns the server's exit status, after a SIGTERM if it did not end by itself.
    """
    monkeypatch.setattr(engine, "load_backend", lambda config: fake_device)

    def run(test: Callable[[FakeDeviceClient], Awaitable[None]], *, seconds: float = 60, **settings: Any) -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        async def main() -> int:
            serving = asyncio.create_task(server._serve(ServerConfig(port=port, **settings)))
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                try:
                    await asyncio.wait_for(test(FakeDeviceClient(channel, serving)), seconds)
                finally:
                    fake_device.free.set()
            if not serving.done():
                os.kill(os.getpid(), signal.SIGTERM)
            return await asyncio.wait_for(serving, 30)

        return asyncio.run(main())

    return run
