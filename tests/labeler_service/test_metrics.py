"""Metrics of a real server, scraped over HTTP, after calls that end in each way that calls end."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from clip_labeler.v1 import labeler_pb2 as pb
from labeler_service.metrics import BoundedLabel, bucket_label

SERVICE = "clip_labeler.v1.LabelerService"
ImageBytes = Callable[..., bytes]
Counts = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def options(observed: Any, score_options: Callable[..., pb.ScoreOptions]) -> pb.ScoreOptions:
    return score_options(observed.stub)


def counted(observed: Any, before: Counts, *names: str) -> Counts:
    """What was added to these counters since, once no call is in flight."""
    deadline = time.monotonic() + 30
    while any(key[0] == "clip_labeler_in_flight_calls" for key in observed.metrics()):
        assert time.monotonic() < deadline, "a call is counted as in flight for good"
        time.sleep(0.05)
    added = {key: value - before.get(key, 0) for key, value in observed.metrics().items() if key[0] in names}
    return {key: value for key, value in added.items() if value}


def test_every_call_and_item_is_counted_once(observed: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
    """Errors that are not counted raise no alert; a gauge that misses one end is wrong for months."""
    before = observed.metrics()
    images = [pb.Image(id=str(seed), content=image_bytes(seed)) for seed in range(3)] + [pb.Image(content=b"no image")]
    answer = observed.stub.ScoreImages(pb.ScoreImagesRequest(options=options, images=images))
    info = error_details_pb2.ErrorInfo()
    answer.results[3].error.details[0].Unpack(info)
    requests = [
        pb.ScoreImageStreamRequest(options=options, images=images),
        pb.ScoreImageStreamRequest(images=images[:1]),
    ]
    list(observed.stub.ScoreImageStream(iter(requests)))
    box = pb.Box(x0=0, y0=0, x1=40, y1=40)
    crops = [pb.CropItem(boxed_image=pb.BoxedImage(content=image.content, boxes=[box, box])) for image in images]
    list(observed.stub.ScoreCrops(iter([pb.ScoreCropsRequest(options=options, items=crops)])))
    with pytest.raises(grpc.RpcError):
        observed.stub.ScoreImages(pb.ScoreImagesRequest(options=options, images=[pb.Image()] * 65))
    with pytest.raises(grpc.RpcError):
        observed.stub.ScoreImages(pb.ScoreImagesRequest())

    names = ("clip_labeler_calls_total", "clip_labeler_items_total", "clip_labeler_refused_calls_total")
    assert counted(observed, before, *names) == {
        ("clip_labeler_calls_total", "anonymous", "OK", f"{SERVICE}/ScoreImages"): 1,
        ("clip_labeler_calls_total", "anonymous", "OK", f"{SERVICE}/ScoreImageStream"): 1,
        ("clip_labeler_calls_total", "anonymous", "OK", f"{SERVICE}/ScoreCrops"): 1,
        ("clip_labeler_calls_total", "anonymous", "RESOURCE_EXHAUSTED", f"{SERVICE}/ScoreImages"): 1,
        ("clip_labeler_calls_total", "anonymous", "INVALID_ARGUMENT", f"{SERVICE}/ScoreImages"): 1,
        ("clip_labeler_items_total", "anonymous", "ok"): 3 + 4 + 3,
        ("clip_labeler_items_total", "anonymous", info.reason): 3,
        ("clip_labeler_refused_calls_total", "TOO_MANY_ITEMS"): 1,
    }
    num_views = 3 + 4 + 3 * 2
    queued = counted(observed, before, "clip_labeler_queue_seconds_count")
    assert queued == {("clip_labeler_queue_seconds_count", "anonymous"): num_views}
    assert sum(counted(observed, before, "clip_labeler_batch_views_sum").values()) == num_views


def test_calls_whose_callers_go_are_counted(observed: Any, options: pb.ScoreOptions, image_bytes: ImageBytes) -> None:
    """A stream that was cancelled while it waited for its caller would be in flight for good."""
    before = observed.metrics()
    image = pb.Image(content=image_bytes())

    def endless() -> Iterator[pb.ScoreImageStreamRequest]:
        yield pb.ScoreImageStreamRequest(options=options, images=[image])
        time.sleep(60)

    waiting = observed.stub.ScoreImageStream(endless())
    next(waiting)
    waiting.cancel()
    # Its answers are never read and are larger than the window of HTTP/2: the server waits to write.
    embedding = pb.Image(id="x" * 100_000, content=b"")
    slow = observed.stub.ScoreImageStream(
        iter([pb.ScoreImageStreamRequest(options=options), *[pb.ScoreImageStreamRequest(images=[embedding])] * 600])
    )
    next(slow)
    time.sleep(0.5)
    slow.cancel()
    late = observed.stub.ScoreImageStream(endless(), timeout=0.5)
    with pytest.raises(grpc.RpcError):
        list(late)

    added = counted(observed, before, "clip_labeler_calls_total")
    codes = Counter({code: number for (_, _, code, _), number in added.items()})
    # gRPC may show a caller that has gone as one that has no more to send, and one that is late cancels too: which of
    # the three the first and the last call end with is a matter of which the server hears of first.
    assert codes.total() == 3, codes
    assert codes.keys() <= {"CANCELLED", "DEADLINE_EXCEEDED", "OK"}
    assert codes["CANCELLED"] >= 1, "the one that waits to write"
    assert [line for line in observed.log_lines() if line["level"] == "ERROR"] == []


def test_process_and_model(observed: Any) -> None:
    info = observed.stub.GetServerInfo(pb.GetServerInfoRequest())
    values = observed.metrics()
    assert values["clip_labeler_serving",] == 1
    [model] = [key for key in values if key[0] == "clip_labeler_model_info"]
    assert {info.weights_sha256, info.model_name, info.dtype} <= set(model)
    assert values["process_resident_memory_bytes",] > 2**20
    assert values["process_open_fds",] > 0


def test_labels_are_bounded() -> None:
    """Each caller's name and each shape of a crop would cost memory for good."""
    label = BoundedLabel(2)
    assert [label(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]
    shapes = {bucket_label(640, side) for side in range(1, 641)} | {bucket_label(side, 640) for side in range(1, 641)}
    assert len(shapes) == 39
    assert bucket_label(640, 1) == "640x32"
    assert "640x640" in shapes
    assert len({bucket_label(side, 1) for side in range(1, 10_000)}) <= 65
