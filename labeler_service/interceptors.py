"""What stands around every call. The outermost layer maps exceptions to status codes: the unexpected goes to the log,
not to the caller."""

import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from labeler_service.errors import LabelerError, RequestError, to_status

logger = logging.getLogger(__name__)


class AroundCall(grpc.aio.ServerInterceptor):
    """An interceptor that is a context manager around each call, of whatever kind the call is."""

    @abstractmethod
    def around(self, details: grpc.HandlerCallDetails, context: Any) -> AbstractAsyncContextManager[None]:
        """Entered before the method runs, with its grpc.aio.ServicerContext; left when it has ended."""

    def responding(self, response: Any) -> None:
        """Sees each response on its way out, in the task of the call."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:  # No such method: gRPC answers UNIMPLEMENTED.
            return None

        def once(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def wrapped(request: Any, context: Any) -> Any:
                async with self.around(handler_call_details, context):
                    response = await method(request, context)
                    self.responding(response)
                    return response

            return wrapped

        def many(method: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., AsyncGenerator[Any, None]]:
            async def wrapped(request: Any, context: Any) -> AsyncGenerator[Any, None]:
                # Closed here, and not whenever its turn comes: its end is part of the call.
                async with self.around(handler_call_details, context), aclosing(method(request, context)) as responses:
                    async for response in responses:
                        self.responding(response)
                        yield response

            return wrapped

        if handler.unary_unary:
            return handler._replace(unary_unary=once(handler.unary_unary))
        if handler.stream_unary:
            return handler._replace(stream_unary=once(handler.stream_unary))
        if handler.stream_stream:
            return handler._replace(stream_stream=many(handler.stream_stream))
        # Health.Watch, the one response stream without requests, writes by itself.
        return handler._replace(unary_stream=once(handler.unary_stream))


class ErrorInterceptor(AroundCall):
    """Maps LabelerError to its status and every other exception to INTERNAL."""

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Any) -> AsyncIterator[None]:
        try:
            yield
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(error, context)


class ParseInterceptor(grpc.aio.ServerInterceptor):
    """Parses requests, so that bytes that are no message are the caller's mistake. gRPC would call them UNKNOWN, log a
    traceback and name our classes. Innermost: the other layers must see the error."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        parse = handler.request_deserializer

        def one(method: Callable[..., Any]) -> Callable[..., Any]:
            return lambda request, context: method(_parse(request, parse), context)

        def many(method: Callable[..., Any]) -> Callable[..., Any]:
            return lambda requests, context: method((_parse(request, parse) async for request in requests), context)

        return handler._replace(
            request_deserializer=None,
            unary_unary=handler.unary_unary and one(handler.unary_unary),
            unary_stream=handler.unary_stream and one(handler.unary_stream),
            stream_unary=handler.stream_unary and many(handler.stream_unary),
            stream_stream=handler.stream_stream and many(handler.stream_stream),
        )


def _parse(request: bytes, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(request)
    except DecodeError:
        raise RequestError("MALFORMED_MESSAGE", "the bytes are no message of the type that the method takes") from None


async def _abort(error: Exception, context: Any) -> None:
    if not isinstance(error, LabelerError):
        logger.error("unexpected error", exc_info=error)
        error = RequestError("INTERNAL", "internal error; the server's log has it", code=grpc.StatusCode.INTERNAL)
    metadata: list[tuple[str, str | bytes]] = [*context.trailing_metadata()]
    metadata.append(("grpc-status-details-bin", to_status(error).SerializeToString()))
    if isinstance(error, RequestError) and error.retry_after_seconds is not None:
        # gRPC's own retries wait for this long: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
        metadata.append(("grpc-retry-pushback-ms", str(round(error.retry_after_seconds * 1000))))
    await context.abort(error.code, error.message, tuple(metadata))
