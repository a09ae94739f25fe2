"""Fixtures of the labeler's tests: a raw gRPC stub of the shared server, options that it accepts, and a server whose
metrics, log and traces can be read."""

import json
import queue
import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from prometheus_client.parser import text_string_to_metric_families

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub


@pytest.fixture(scope="session")
def channel(labeler: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(labeler.address) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> Any:
    return LabelerServiceStub(channel)


@pytest.fixture(scope="session")
def score_options() -> Callable[..., pb.ScoreOptions]:
    """score_options(stub, **changes): options for probabilities of cat, dog and tree, with some fields replaced."""

    def create(stub: Any, **changes: Any) -> pb.ScoreOptions:
        vocabulary = stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=["cat", "dog", "tree"]))
        fields = {
            "vocabulary_id": vocabulary.vocabulary_id,
            "preprocessing": pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER),
            "output": pb.ScoreOptions.OUTPUT_PROBABILITIES,
            **changes,
        }
        return pb.ScoreOptions(**fields)

    return create


@pytest.fixture(scope="session")
def options(stub: Any, score_options: Callable[..., pb.ScoreOptions]) -> pb.ScoreOptions:
    return score_options(stub)


class SpanReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps the spans, and what sent them, in a queue."""

    def __init__(self) -> None:
        self.spans: queue.Queue[tuple[str, trace_pb2.Span]] = queue.Queue()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        for group in request.resource_spans:
            resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.put((resource["service.name"], span))
        return trace_service_pb2.ExportTraceServiceResponse()


@dataclass(frozen=True)
class ObservedLabeler:
    """A running labeler with everything on that operators can read."""

    labeler: Any
    stub: Any
    receiver: SpanReceiver

    @property
    def url(self) -> str:
        match = re.search(r"metrics and probes at 127.0.0.1 port (\d+)", self.labeler.log.read_text())
        assert match is not None
        return f"http://127.0.0.1:{match[1]}"

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Values by name and label values, in the order of the labels' names; those of zero are left out."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        samples = [sample for family in families for sample in family.samples]
        return {(s.name, *(s.labels[label] for label in sorted(s.labels))): s.value for s in samples if s.value}

    def log_lines(self) -> list[dict[str, Any]]:
        lines = self.labeler.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]  # gRPC's C core writes its own kind


@pytest.fixture(scope="session")
def observed(start_labeler: Any, tiny_clip: Any) -> Iterator[ObservedLabeler]:
    receiver = SpanReceiver()
    collector = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, collector)
    endpoint = f"http://127.0.0.1:{collector.add_insecure_port('127.0.0.1:0')}"
    collector.start()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds between exports
        flags = ["--metrics-port", "0", "--log-format", "json", "--otlp-endpoint", endpoint]
        labeler = start_labeler(*tiny_clip.flags, *flags)
    with grpc.insecure_channel(labeler.address) as channel:
        yield ObservedLabeler(labeler, LabelerServiceStub(channel), receiver)
    labeler.stop()
    collector.stop(None)
