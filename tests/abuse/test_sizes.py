"""Messages and metadata over their limits: refused for good, so not to be taken for an overload, and cheaply."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

LIMIT = 2**20  # as in conftest.py
MIB = 2**20
SERVICE = "/clip_labeler.v1.LabelerService"


@pytest.fixture
def channel(target: Any) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", MIB)]
    with grpc.insecure_channel(target.address, options) as channel:
        yield channel


def failure(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def may_retry(error: Any) -> bool:
    """Whether the server says that the same call may succeed later: it does so in the trailers of an overload."""
    names = {key for key, _ in error.trailing_metadata()}
    return not names.isdisjoint({"grpc-status-details-bin", "grpc-retry-pushback-ms"})


@pytest.mark.parametrize("size", [LIMIT + 1, 8 * LIMIT])
@pytest.mark.parametrize("method", ["GetServerInfo", "ScoreImages"])
def test_too_large(channel: grpc.Channel, tells_nothing_internal: Any, method: str, size: int) -> None:
    """gRPC gives overload and size one code; a client that takes this for an overload sends it for ever."""
    error = failure(lambda: channel.unary_unary(f"{SERVICE}/{method}")(b"\xff" * size))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in error.details()
    assert not may_retry(error)
    tells_nothing_internal(error)


def test_too_large_in_a_stream(channel: grpc.Channel, tells_nothing_internal: Any) -> None:
    error = failure(lambda: next(channel.stream_stream(f"{SERVICE}/ScoreCrops")(iter([b"\xff" * (LIMIT + 1)]))))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not may_retry(error)
    tells_nothing_internal(error)


def test_the_largest_is_read(channel: grpc.Channel) -> None:
    """A limit that is off by one would refuse what GetServerInfo promises. These bytes are no message."""
    error = failure(lambda: channel.unary_unary(f"{SERVICE}/ScoreImages")(b"\xff" * LIMIT))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_compression_bomb(target: Any, channel: grpc.Channel, tells_nothing_internal: Any) -> None:
    """256 MiB of zeros in 256 KiB. The size that counts is the inflated one."""
    before = target.memory()
    bomb = bytes(256 * MIB)
    method = channel.unary_unary(f"{SERVICE}/ScoreImages")
    error = failure(lambda: method(bomb, compression=grpc.Compression.Gzip))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not may_retry(error)
    assert target.memory() - before < 10 * MIB
    assert target.is_serving()
    tells_nothing_internal(error)


def test_metadata(channel: grpc.Channel, tells_nothing_internal: Any) -> None:
    method = channel.unary_unary(f"{SERVICE}/GetServerInfo")
    error = failure(lambda: method(b"", metadata=(("x-large", "a" * 2**17),)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not may_retry(error)
    tells_nothing_internal(error)
