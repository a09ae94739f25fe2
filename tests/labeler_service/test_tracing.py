"""Traces of a real server, received over OTLP; and what happens when nobody receives them."""

import queue
import sys
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from labeler_service.tracing import call_traces


def span_of(observed: Any, request_id: str) -> tuple[str, Any, dict[str, Any]]:
    """Service, span and its attributes."""
    while True:
        try:
            service, span = observed.receiver.spans.get(timeout=30)
        except queue.Empty:
            raise AssertionError(f"no span of request {request_id}") from None
        attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
        if attributes["labeler.request_id"] == request_id:
            return service, span, attributes


def test_a_span_joins_the_trace_of_its_caller(
    observed: Any, score_options: Any, image_bytes: Callable[..., bytes]
) -> None:
    """In a trace of its own a slow call could not be told from a slow caller."""
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    request = pb.ScoreImagesRequest(options=score_options(observed.stub), images=[pb.Image(content=image_bytes())])
    observed.stub.ScoreImages(
        request, metadata=[("traceparent", f"00-{trace}-{parent}-01"), ("x-request-id", "traced")]
    )
    service, span, attributes = span_of(observed, "traced")
    assert service == "clip-labeler"
    assert span.name == "clip_labeler.v1.LabelerService/ScoreImages"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)
    assert attributes["rpc.response.status_code"] == "OK"
    assert attributes["labeler.items"] == 1
    seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    parts = [attributes[f"labeler.{part}_seconds"] for part in ("decode", "queue", "device")]
    assert all(part > 0 for part in parts)
    assert sum(parts) <= seconds


@pytest.mark.parametrize("traceparent", ["", "00-xyz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_no_valid_traceparent(observed: Any, traceparent: str) -> None:
    """A caller's bad header must not cost its call, nor the span."""
    request_id = f"untraced-{len(traceparent)}"
    with pytest.raises(grpc.RpcError):
        observed.stub.ScoreImages(
            pb.ScoreImagesRequest(), metadata=[("traceparent", traceparent), ("x-request-id", request_id)]
        )
    _, span, attributes = span_of(observed, request_id)
    assert span.parent_span_id == b""
    assert attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert span.status.code == span.status.STATUS_CODE_ERROR


@pytest.mark.slow
def test_unreachable_receiver(start_labeler: Any, tiny_clip: Any) -> None:
    """Tracing is for looking on: without a receiver calls are answered and the server stops as ever."""
    labeler = start_labeler(*tiny_clip.flags, "--otlp-endpoint", "http://127.0.0.1:1")
    with grpc.insecure_channel(labeler.address) as channel:
        LabelerServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest())
    assert labeler.stop() == 0


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"http://HOST:PORT"), call_traces("localhost:4317"):
        pass
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"labeler-tracing"), call_traces("http://localhost:4317"):
        pass
