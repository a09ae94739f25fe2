"""One record for each call: what came of it, read from what really leaves the server. The metrics, the log and the
traces are made of these records; this file knows none of them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from clip_labeler.v1 import labeler_pb2
from labeler_service.call_context import CallContext, current_call
from labeler_service.errors import LabelerError
from labeler_service.interceptors import AroundCall

_METHODS = {
    f"{service.full_name}/{method.name}"
    for file in (labeler_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass
class CallRecord:
    """`outcomes` counts items by "ok" or the reason of their error; an item with crops is ok if it has no error of
    its own. `reason` is the call's, if it failed as a whole. The seconds of work are sums over items."""

    traceparent: str  # https://www.w3.org/TR/trace-context/; "" for none
    started_at: float = field(default_factory=time.time)
    seconds: float = 0.0
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    decode_seconds: float = 0.0
    queue_seconds: float = 0.0
    device_seconds: float = 0.0

    @property
    def call(self) -> CallContext:
        """As it is known by now: the caller is only after its token was read."""
        return current_call.get()

    @property
    def method(self) -> str:
        """package.Service/Method; "unknown" for one that there is not, whose name is the caller's invention."""
        method = self.call.method.removeprefix("/")
        return method if method in _METHODS else "unknown"

    @property
    def num_items(self) -> int:
        return self.outcomes.total()

    @property
    def num_failed(self) -> int:
        return self.num_items - self.outcomes["ok"]


class CallObserver:
    """What follows calls; each method may do nothing."""

    def started(self, record: CallRecord) -> None:
        """Nothing but the call and its trace is known yet."""

    def answered(self, record: CallRecord, outcomes: Counter[str]) -> None:
        """A response leaves; these are the outcomes of its items alone."""

    def ended(self, record: CallRecord) -> None:
        """The record is complete."""


_current_record: ContextVar[CallRecord] = ContextVar("current_record")


class CallRecorder(AroundCall):
    """Keeps the record of each call and shows it to the observers."""

    def __init__(self, observers: Sequence[CallObserver]) -> None:
        self._observers = observers

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Any) -> AsyncIterator[None]:
        record = CallRecord(_traceparent(details.invocation_metadata))
        _current_record.set(record)
        start = time.perf_counter()
        for observer in self._observers:
            observer.started(record)
        try:
            yield
            # gRPC may show a caller that has gone as one that has no more to send: the method ends as if nothing were.
            if _is_late(record.call):
                record.code = grpc.StatusCode.DEADLINE_EXCEEDED
        except BaseException as error:
            record.code = _code(error, record.call, context)
            record.reason = error.reason if isinstance(error, LabelerError) else ""
            raise
        finally:
            record.seconds = time.perf_counter() - start
            for observer in self._observers:
                observer.ended(record)

    def responding(self, response: Any) -> None:
        if not hasattr(response, "results"):  # of a method that has no items
            return
        record = _current_record.get()
        outcomes = Counter(_reason(r.error) if r.HasField("error") else "ok" for r in response.results)
        record.outcomes += outcomes
        record.decode_seconds += response.timings.decode_seconds
        record.queue_seconds += response.timings.queue_seconds
        record.device_seconds += response.timings.device_seconds
        for observer in self._observers:
            observer.answered(record, outcomes)


def _traceparent(metadata: Any) -> str:
    return next((str(value) for key, value in metadata or () if key == "traceparent"), "")


def _reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return str(info.reason)


def _code(error: BaseException, call: CallContext, context: Any) -> grpc.StatusCode:
    """The status that the call ends with."""
    if isinstance(error, LabelerError):
        return error.code
    if isinstance(error, grpc.aio.AbortError):
        return _STATUS_CODES[context.code()]
    if isinstance(error, asyncio.CancelledError | GeneratorExit):  # The caller has gone.
        return grpc.StatusCode.DEADLINE_EXCEEDED if _is_late(call) else grpc.StatusCode.CANCELLED
    return grpc.StatusCode.INTERNAL


def _is_late(call: CallContext) -> bool:
    return call.deadline is not None and time.monotonic() >= call.deadline
