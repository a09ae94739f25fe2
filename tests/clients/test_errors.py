"""Every gRPC code becomes one exception of the tree, with sync and asyncio channels alike."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

import clip_labeler
from clip_labeler import errors

EXPECTED = {
    "CANCELLED": errors.UnavailableError,
    "UNKNOWN": errors.ServerFaultError,
    "INVALID_ARGUMENT": errors.InvalidRequestError,
    "DEADLINE_EXCEEDED": errors.DeadlineError,
    "NOT_FOUND": errors.UnknownVocabularyError,
    "ALREADY_EXISTS": errors.InvalidRequestError,
    "PERMISSION_DENIED": errors.AccessDeniedError,
    "RESOURCE_EXHAUSTED": errors.OverloadedError,
    "FAILED_PRECONDITION": errors.InvalidRequestError,
    "ABORTED": errors.ServerFaultError,
    "OUT_OF_RANGE": errors.InvalidRequestError,
    "UNIMPLEMENTED": errors.ProtocolError,
    "INTERNAL": errors.ServerFaultError,
    "UNAVAILABLE": errors.UnavailableError,
    "DATA_LOSS": errors.ServerFaultError,
    "UNAUTHENTICATED": errors.AccessDeniedError,
}
RETRYABLE = {"CANCELLED", "DEADLINE_EXCEEDED", "NOT_FOUND", "UNAVAILABLE"}


def abort(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Fails with the code that the request names; "+N" adds a RetryInfo of N seconds."""
    name, _, seconds = request.decode().partition("+")
    if seconds:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=int(seconds))))
        status = status_pb2.Status(code=grpc.StatusCode[name].value[0], details=[detail])
        context.set_trailing_metadata([(errors.STATUS_DETAILS_KEY, status.SerializeToString())])
    context.abort(grpc.StatusCode[name], "as asked")


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {"Fail": grpc.unary_unary_rpc_method_handler(abort)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Aborter", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def mapped(target: str, request: str) -> errors.LabelerError:
    with (
        grpc.insecure_channel(target) as channel,
        pytest.raises(errors.LabelerError) as info,
        errors.rpc_errors_mapped(target),
    ):
        channel.unary_unary("/test.Aborter/Fail")(request.encode(), timeout=10)
    assert isinstance(info.value.__cause__, grpc.RpcError)
    return info.value


def mapped_in_asyncio(target: str, request: str) -> errors.LabelerError:
    async def fail() -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            with errors.rpc_errors_mapped(target):
                await channel.unary_unary("/test.Aborter/Fail")(request.encode(), timeout=10)

    with pytest.raises(errors.LabelerError) as info:
        asyncio.run(fail())
    return info.value


def test_the_table_has_every_code() -> None:
    """A code that is new in gRPC would end in a KeyError instead of an exception of the tree."""
    assert set(EXPECTED) == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("call", [mapped, mapped_in_asyncio])
def test_codes_map_to_exceptions(target: str, name: str, call: type) -> None:
    """Callers would have to catch gRPC's errors, or a run would wait half an hour for an error that never passes."""
    error = call(target, name)
    assert type(error) is EXPECTED[name]
    assert error.retryable == (name in RETRYABLE)
    assert str(error) == f"labeler at {target}: as asked ({name})"


@pytest.mark.parametrize("call", [mapped, mapped_in_asyncio])
def test_an_overloaded_labeler_says_when_to_come_back(target: str, call: type) -> None:
    """RESOURCE_EXHAUSTED also means "too large", which must not be sent again: RetryInfo alone tells them apart."""
    error = call(target, "RESOURCE_EXHAUSTED+7")
    assert error.retryable
    assert error.retry_after == 7.0
    assert not call(target, "RESOURCE_EXHAUSTED").retryable


def test_a_status_that_grpc_lost_is_asked_for_again() -> None:
    """A cut connection would end an asyncio stream for good, as grpc.aio at times hides why the stream ended."""
    empty = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, empty, empty, details=errors.LOST_STATUS)
    assert errors.from_rpc_error(error, "host:1").retryable


def test_all_exceptions_have_one_root() -> None:
    """`except LabelerError` would miss one."""
    exported = [getattr(clip_labeler, name) for name in clip_labeler.__all__]
    exceptions = [value for value in exported if isinstance(value, type) and issubclass(value, Exception)]
    assert len(exceptions) == 10
    assert all(issubclass(exception, errors.LabelerError) for exception in exceptions)
