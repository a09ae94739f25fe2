"""The server when its device hangs, fails or is lost: a fake device, since real ones do not fail on demand."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from labeler_service import server
from labeler_service.backends import IMAGENET_NORMALIZATION, ModelInfo, Normalization
from labeler_service.config import ServerConfig
from labeler_service.errors import DeviceLostError
from labeler_service.images import ModelPreprocessing


class Device:
    """Gives constant embeddings while `free` is set; `broken` and `lost` make it fail."""

    info = ModelInfo(
        weights_sha256="0" * 64,
        backend="fake",
        dtype="float32",
        device="cpu",
        embedding_size=4,
        native_resolution=32,
        temperature=0.01,
        stride=32,
        multiple=1,
        variable_size=True,
        normalization=IMAGENET_NORMALIZATION,
        preprocessing=ModelPreprocessing(32),
    )

    def __init__(self) -> None:
        self.free = threading.Event()
        self.lost = False
        self.failure: type[BaseException] | None = None
        self.batches = 0

    def encode_images(self, pixels_BHW3: np.ndarray, normalization: Normalization) -> np.ndarray:
        self.batches += 1
        assert self.free.wait(20)
        if self.lost:
            raise DeviceLostError
        if self.failure:
            raise self.failure
        return np.full((len(pixels_BHW3), 4), 0.5, np.float32)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        raise RuntimeError("cannot read /etc/secret")


class Client:
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

    async def embed(self, content: bytes, **options: Any) -> pb.ImageResult:
        preprocessing = pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER)
        request = pb.EmbedImagesRequest(preprocessing=preprocessing, images=[pb.Image(content=content)])
        return (await self.stub.EmbedImages(request, **options)).results[0]


def run(
    device: Device, test: Callable[[Client], Awaitable[None]], monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> int:
    """Runs the test against a server of that device and returns the server's exit status after a SIGTERM."""
    monkeypatch.setattr(server, "_load_backend", lambda config: device)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def main() -> int:
        serving = asyncio.create_task(server._serve(ServerConfig(port=port, **settings)))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                await asyncio.wait_for(test(Client(channel, serving)), 30)
            finally:
                device.free.set()
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)
        return await asyncio.wait_for(serving, 30)

    return asyncio.run(main())


def test_serving_only_after_an_image_went_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose device hangs from the start would attract all traffic."""
    device = Device()

    async def test(client: Client) -> None:
        await asyncio.sleep(0.5)
        assert not await client.is_serving()
        device.free.set()
        await client.until_serving()
        assert device.batches == 1

    assert run(device, test, monkeypatch) == 0


def test_work_past_its_deadline_is_dropped(monkeypatch: pytest.MonkeyPatch, image_bytes: Callable[..., bytes]) -> None:
    """Work for callers that are gone would make an overload permanent."""
    device = Device()
    device.free.set()

    async def test(client: Client) -> None:
        await client.until_serving()
        device.free.clear()
        running = asyncio.create_task(client.embed(image_bytes(0)))
        while device.batches < 2:
            await asyncio.sleep(0.02)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.embed(image_bytes(1), timeout=0.5)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.sleep(0.2)
        device.free.set()
        assert (await running).HasField("scores")
        await asyncio.sleep(0.2)
        assert device.batches == 2

    run(device, test, monkeypatch)


def test_lost_device_ends_the_process(monkeypatch: pytest.MonkeyPatch, image_bytes: Callable[..., bytes]) -> None:
    """A CUDA error is for good: a server that goes on would fail every call and still be called healthy."""
    device = Device()
    device.free.set()

    async def test(client: Client) -> None:
        await client.until_serving()
        device.lost = True
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.embed(image_bytes(0))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await client.serving == 1

    assert run(device, test, monkeypatch) == 1


def test_hung_device_is_unready_and_recovers(
    monkeypatch: pytest.MonkeyPatch, image_bytes: Callable[..., bytes]
) -> None:
    """A server with a hung device that says SERVING attracts the traffic of all healthy ones."""
    device = Device()
    device.free.set()

    async def test(client: Client) -> None:
        await client.until_serving()
        await client.embed(image_bytes(0))
        device.free.clear()
        hanging = asyncio.create_task(client.embed(image_bytes(1)))
        await asyncio.wait_for(client.until_serving(False), 10)
        assert await client.is_serving("liveness"), "it may come back"
        device.free.set()
        assert (await hanging).HasField("scores")
        await client.until_serving()

    assert run(device, test, monkeypatch) == 0


def test_device_that_dies_while_idle_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a canary an idle server would be called healthy until the first caller pays for it."""
    device = Device()
    device.free.set()

    async def test(client: Client) -> None:
        await client.until_serving()
        device.free.clear()
        await asyncio.wait_for(client.until_serving(False), 10)
        device.free.set()
        await client.until_serving()

    assert run(device, test, monkeypatch) == 0


def test_device_that_hangs_for_good_is_given_up(
    monkeypatch: pytest.MonkeyPatch, image_bytes: Callable[..., bytes]
) -> None:
    """Only a new process helps, and callers must not wait for it on the old one."""
    device = Device()
    device.free.set()

    async def test(client: Client) -> None:
        await client.until_serving()
        device.free.clear()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.embed(image_bytes(0))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await client.serving == 1

    assert run(device, test, monkeypatch, hang_seconds=0.5) == 1


@pytest.mark.parametrize("failure", [SystemExit, MemoryError])
def test_end_of_the_device_thread_is_the_end(
    failure: type[BaseException], monkeypatch: pytest.MonkeyPatch, image_bytes: Callable[..., bytes]
) -> None:
    """What ends the thread must not leave a server whose calls wait for ever; what fails one batch must not end it."""
    device = Device()
    device.free.set()

    async def test(client: Client) -> None:
        await client.until_serving()
        device.failure = failure
        if failure is MemoryError:
            assert (await client.embed(image_bytes(0))).error.code == grpc.StatusCode.INTERNAL.value[0]
            device.failure = None
            assert (await client.embed(image_bytes(0))).HasField("scores")
            return
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.embed(image_bytes(0))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await client.serving == 1

    assert run(device, test, monkeypatch) == (1 if failure is SystemExit else 0)


def test_unexpected_errors_tell_nothing_internal(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC sends the text of an exception to the caller: paths, addresses, secrets."""
    device = Device()
    device.free.set()

    async def test(client: Client) -> None:
        await client.until_serving()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=["cat"]))
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in caught.value.debug_error_string()
        assert "RuntimeError" not in caught.value.debug_error_string()

    run(device, test, monkeypatch)
