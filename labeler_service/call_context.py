"""Who calls, under which request id and until when: set for each RPC, read by the queue, the log and the metrics."""

import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc

from labeler_service.interceptors import AroundCall
from labeler_service.quota import UNLIMITED, Quota

ANONYMOUS = "anonymous"
REQUEST_ID_KEY = "x-request-id"
# A caller's own id is logged as it is, so it holds nothing that could forge a line of the log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True)
class CallContext:
    """`caller` is whom the fair share of the device is for, `quota` what it may send. `deadline`: seconds of
    time.monotonic(), None for never."""

    method: str = ""
    caller: str = ANONYMOUS
    quota: Quota = UNLIMITED
    request_id: str = ""
    deadline: float | None = None


_OWN_WORK = CallContext()  # what the server does for itself, such as its canary

current_call: ContextVar[CallContext] = ContextVar("current_call", default=_OWN_WORK)


class ContextInterceptor(AroundCall):
    """Sets `current_call` for everything that a call starts."""

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Any) -> AsyncIterator[None]:
        remaining = context.time_remaining()
        call = CallContext(
            method=details.method,
            request_id=_request_id(details.invocation_metadata),
            deadline=None if remaining is None else time.monotonic() + remaining,
        )
        # Never reset: each call has a task of its own, and what the outer layers log belongs to the call too.
        current_call.set(call)
        # In the trailer: a header would tell the caller's gRPC that a refused call was taken on, and end its retries.
        context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
        yield


def _request_id(metadata: Any) -> str:
    """The caller's, where it sent one that is fit for a log; otherwise a new one."""
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY and _REQUEST_ID.fullmatch(value):
            return str(value)
    return uuid.uuid4().hex
