"""The outermost layer of every call: exceptions to status codes. The unexpected goes to the log, not to the caller."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from labeler_service.errors import LabelerError, RequestError, to_status

logger = logging.getLogger(__name__)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Maps LabelerError to its status and every other exception to INTERNAL."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:  # No such method: gRPC answers UNIMPLEMENTED.
            return None
        if handler.unary_unary:
            return handler._replace(unary_unary=_guard(handler.unary_unary))
        if handler.stream_unary:
            return handler._replace(stream_unary=_guard(handler.stream_unary))
        if handler.stream_stream:
            return handler._replace(stream_stream=_guard_stream(handler.stream_stream))
        return handler  # The one response stream without requests is Health.Watch.


def _guard(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await method(request, context)
        except Exception as error:
            return await _abort(error, context)

    return guarded


def _guard_stream(method: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    async def guarded(requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        try:
            async for response in method(requests, context):
                yield response
        except Exception as error:
            await _abort(error, context)

    return guarded


async def _abort(error: Exception, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, LabelerError):
        logger.error("unexpected error", exc_info=error)
        error = RequestError("INTERNAL", "internal error; the server's log has it", code=grpc.StatusCode.INTERNAL)
    metadata: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", to_status(error).SerializeToString())]
    if isinstance(error, RequestError) and error.retry_after_seconds is not None:
        # gRPC's own retries wait for this long: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
        metadata.append(("grpc-retry-pushback-ms", str(round(error.retry_after_seconds * 1000))))
    await context.abort(error.code, error.message, tuple(metadata))
