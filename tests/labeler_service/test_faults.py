"""The server when its device hangs, fails or is lost: a fake device, since real ones do not fail on demand."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from clip_labeler.v1 import labeler_pb2 as pb

ImageBytes = Callable[..., bytes]
Serve = Callable[..., int]


def test_serving_only_after_an_image_went_through(fake_device: Any, serve: Serve) -> None:
    """A server whose device hangs from the start would attract all traffic."""

    async def test(client: Any) -> None:
        await asyncio.sleep(0.5)
        assert not await client.is_serving()
        fake_device.free.set()
        await client.until_serving()
        assert fake_device.batches == 1

    assert serve(test) == 0


def test_serving_only_after_all_shapes_ran(fake_device: Any, serve: Serve) -> None:
    """The first callers would wait for kernels to be compiled, shape after shape."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        assert fake_device.shapes >= {(96, 32), (96, 64), (96, 96), (64, 96), (32, 96)}

    serve(test, warm_up_view_size=96, max_batch_size=2)


def test_work_past_its_deadline_is_dropped(fake_device: Any, serve: Serve, image_bytes: ImageBytes) -> None:
    """Work for callers that are gone would make an overload permanent."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        running = await client.hold_device(fake_device, image_bytes(0))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.embed(image_bytes(1), timeout=0.5)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.sleep(0.2)
        fake_device.free.set()
        assert (await running).HasField("scores")
        await asyncio.sleep(0.2)
        assert len(fake_device.seen) == 2, "the canary and the first image"

    serve(test)


def test_lost_device_ends_the_process(fake_device: Any, serve: Serve, image_bytes: ImageBytes) -> None:
    """A CUDA error is for good: a server that goes on would fail every call and still be called healthy."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        fake_device.lost = True
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.embed(image_bytes(0))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await client.serving == 1

    assert serve(test) == 1


def test_hung_device_is_unready_and_recovers(fake_device: Any, serve: Serve, image_bytes: ImageBytes) -> None:
    """A server with a hung device that says SERVING attracts the traffic of all healthy ones."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        await client.embed(image_bytes(0))
        fake_device.free.clear()
        hanging = asyncio.create_task(client.embed(image_bytes(1)))
        await asyncio.wait_for(client.until_serving(False), 10)
        assert await client.is_serving("liveness"), "it may come back"
        fake_device.free.set()
        assert (await hanging).HasField("scores")
        await client.until_serving()

    assert serve(test) == 0


def test_device_that_dies_while_idle_is_noticed(fake_device: Any, serve: Serve) -> None:
    """Without a canary an idle server would be called healthy until the first caller pays for it."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        fake_device.free.clear()
        await asyncio.wait_for(client.until_serving(False), 10)
        fake_device.free.set()
        await client.until_serving()

    assert serve(test) == 0


def test_device_that_hangs_for_good_is_given_up(fake_device: Any, serve: Serve, image_bytes: ImageBytes) -> None:
    """Only a new process helps, and callers must not wait for it on the old one."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        liveness = asyncio.create_task(client.watch("liveness"))
        fake_device.free.clear()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.embed(image_bytes(0))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await client.serving == 1
        assert await liveness == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]

    assert serve(test, hang_seconds=0.5) == 1


@pytest.mark.parametrize("failure", [SystemExit, MemoryError])
def test_end_of_the_device_thread_is_the_end(
    failure: type[BaseException], fake_device: Any, serve: Serve, image_bytes: ImageBytes
) -> None:
    """What ends the thread must not leave a server whose calls wait for ever; what fails one batch must not end it."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        fake_device.failure = failure
        if failure is MemoryError:
            assert (await client.embed(image_bytes(0))).error.code == grpc.StatusCode.INTERNAL.value[0]
            fake_device.failure = None
            assert (await client.embed(image_bytes(0))).HasField("scores")
            return
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.embed(image_bytes(0))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await client.serving == 1

    assert serve(test) == (1 if failure is SystemExit else 0)


def test_unexpected_errors_tell_nothing_internal(fake_device: Any, serve: Serve) -> None:
    """gRPC sends the text of an exception to the caller: paths, addresses, secrets."""
    fake_device.free.set()

    async def test(client: Any) -> None:
        await client.until_serving()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=["cat"]))
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in caught.value.debug_error_string()
        assert "RuntimeError" not in caught.value.debug_error_string()

    serve(test)
