"""OpenTelemetry traces: one span for each call, under the caller's own trace where it sends a traceparent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from labeler_service.call_record import CallObserver, CallRecord

if TYPE_CHECKING:  # The packages are an extra of their own.
    from opentelemetry.trace import TracerProvider

# An unreachable collector holds up neither calls (a thread sends the spans, and drops them when 2048 wait) nor a stop.
EXPORT_TIMEOUT_SECONDS = 5


@contextmanager
def call_traces(endpoint: str) -> Iterator[CallObserver]:
    """Sends spans to an OTLP receiver (gRPC) at "http://HOST:PORT" or, over TLS, "https://HOST:PORT".

    The SDK's OTEL_* variables hold, such as OTEL_TRACES_SAMPLER. Raises ValueError for another kind of endpoint, or
    when OpenTelemetry is not installed.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"--otlp-endpoint must be http://HOST:PORT or https://HOST:PORT, got {endpoint}")
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ValueError(f"--otlp-endpoint needs {error.name}: pip install 'ccd[labeler-tracing]'") from None

    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "clip-labeler")})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=EXPORT_TIMEOUT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield CallTraces(provider)
    finally:
        provider.shutdown()


class CallTraces(CallObserver):
    """Makes the span of a call when it has ended, with its times and what came of it as attributes.

    Names: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/, and "labeler." for our own.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("clip_labeler")
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, record: CallRecord) -> None:
        from opentelemetry.trace import SpanKind, StatusCode

        span = self._tracer.start_span(
            record.method,
            # Without a valid traceparent: a trace of its own.
            context=self._propagator.extract({"traceparent": record.traceparent}),
            kind=SpanKind.SERVER,
            start_time=round(record.started_at * 1e9),
            attributes={
                "rpc.system.name": "grpc",
                "rpc.method": record.method,
                "rpc.response.status_code": record.code.name,
                "labeler.caller": record.call.caller,
                "labeler.request_id": record.call.request_id,
                "labeler.reason": record.reason,
                "labeler.items": record.num_items,
                "labeler.failed_items": record.num_failed,
                "labeler.decode_seconds": record.decode_seconds,
                "labeler.queue_seconds": record.queue_seconds,
                "labeler.device_seconds": record.device_seconds,
            },
        )
        if record.code is not grpc.StatusCode.OK:
            span.set_status(StatusCode.ERROR)
        span.end(round((record.started_at + record.seconds) * 1e9))
