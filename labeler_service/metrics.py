"""What Prometheus reads: every collector of the labeler, in a registry of its own. Knows nothing of HTTP.

A new collector goes on the dashboard (deploy/grafana) too. Times are in seconds, as Prometheus wants them.
"""

import math
import threading
from collections import Counter

import grpc
from prometheus_client import CollectorRegistry, Gauge, Histogram, Info, ProcessCollector
from prometheus_client import Counter as Count

from labeler_service.backends import ModelInfo
from labeler_service.call_record import CallObserver, CallRecord

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # memory, CPU seconds and open files of this process

# From a cache hit to a batch of large views on a CPU.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)

CALLS = Count(
    "clip_labeler_calls", "Finished calls, by their gRPC status.", ["method", "code", "caller"], registry=REGISTRY
)
CALL_SECONDS = Histogram(
    "clip_labeler_call_seconds",
    "From a call's arrival to its end; streams last as long as their callers want.",
    ["method"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("clip_labeler_in_flight_calls", "Calls that have not ended.", ["method"], registry=REGISTRY)
REFUSED = Count("clip_labeler_refused_calls", "Calls that were not taken on.", ["reason"], registry=REGISTRY)
ITEMS = Count(
    "clip_labeler_items",
    'Images answered; the outcome is "ok" or the reason of the error.',
    ["caller", "outcome"],
    registry=REGISTRY,
)
DECODE_SECONDS = Histogram(
    "clip_labeler_decode_seconds", "Decoding and resizing one image.", buckets=_SECONDS, registry=REGISTRY
)
DECODER_RESTARTS = Count(
    "clip_labeler_decoder_restarts", "Decode workers that died or hung and were replaced.", registry=REGISTRY
)
QUEUE_SECONDS = Histogram(
    "clip_labeler_queue_seconds",
    "A view's wait for the device.",
    ["caller"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
QUEUED_VIEWS = Gauge("clip_labeler_queued_views", "Views that wait for the device.", registry=REGISTRY)
QUEUED_PIXELS = Gauge("clip_labeler_queued_pixels", "Decoded pixels that wait for the device.", registry=REGISTRY)
DROPPED = Count(
    "clip_labeler_dropped_views",
    'Views dropped before the device saw them, because their caller "cancelled" or their "deadline" passed.',
    ["reason"],
    registry=REGISTRY,
)
BATCH_SIZE = Histogram(
    "clip_labeler_batch_views", "Views in a batch.", ["bucket"], buckets=_BATCH_SIZES, registry=REGISTRY
)
DEVICE_SECONDS = Histogram(
    "clip_labeler_device_seconds", "One batch on the device.", ["bucket"], buckets=_SECONDS, registry=REGISTRY
)
CACHE_HITS = Count("clip_labeler_cache_hits", "Views answered from the result cache.", registry=REGISTRY)
CACHE_MISSES = Count("clip_labeler_cache_misses", "Views that the result cache did not have.", registry=REGISTRY)
SERVING = Gauge("clip_labeler_serving", "1 while the health check says SERVING.", registry=REGISTRY)
MODEL_INFO = Info("clip_labeler_model", "The model that is served.", registry=REGISTRY)

# A call that ends so was turned away; other failures are mistakes in it, or ours.
_REFUSALS = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class BoundedLabel:
    """Keeps the first `limit` values of a label apart and folds all others into one: each value costs memory, here and
    in Prometheus, for good."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, value: str) -> str:
        with self._lock:
            if value not in self._known and len(self._known) >= self._limit:
                return "other"
            self._known.add(value)
            return value


caller_label = BoundedLabel(100)
_bucket = BoundedLabel(64)  # the bucketed profile has 39 shapes at 640 pixels (20 + 20 with one side of 640, less one)
_BUCKET_STEP = 32  # pixels: the stride of CLIP's ResNets and the coarsest patch of its ViTs


def bucket_label(height: int, width: int) -> str:
    """The label of a view's shape, in pixels: sides rounded up, so that exact shapes share a label with their like."""
    sides = (math.ceil(side / _BUCKET_STEP) * _BUCKET_STEP for side in (height, width))
    return _bucket("x".join(map(str, sides)))


def set_model(name: str, model: ModelInfo) -> None:
    """Says what is served."""
    MODEL_INFO.info(
        {
            "name": name,
            "weights_sha256": model.weights_sha256,
            "backend": model.backend,
            "device": model.device,
            "dtype": model.dtype,
        }
    )


class CallMetrics(CallObserver):
    """Counts calls and their items."""

    def started(self, record: CallRecord) -> None:
        IN_FLIGHT.labels(record.method).inc()

    def answered(self, record: CallRecord, outcomes: Counter[str]) -> None:
        for outcome, number in outcomes.items():
            ITEMS.labels(caller_label(record.call.caller), outcome).inc(number)

    def ended(self, record: CallRecord) -> None:
        IN_FLIGHT.labels(record.method).dec()
        CALLS.labels(record.method, record.code.name, caller_label(record.call.caller)).inc()
        CALL_SECONDS.labels(record.method).observe(record.seconds)
        if record.code in _REFUSALS:
            REFUSED.labels(record.reason or record.code.name).inc()
