"""The log of a real server as JSON, and its readable form."""

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

ImageBytes = Callable[..., bytes]
SCORE = "clip_labeler.v1.LabelerService/ScoreImages"


def line_of(observed: Any, request_id: str) -> dict[str, Any]:
    """The line of that request, which is written just after the caller has its answer."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := [line for line in observed.log_lines() if line.get("request_id") == request_id]:
            assert len(found) == 1
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"no line of request {request_id}")


def request_id_of(call: Any) -> str:
    return dict(call.trailing_metadata())["x-request-id"]


def test_one_line_a_call(observed: Any, score_options: Any, image_bytes: ImageBytes) -> None:
    """Without the caller's own id in the server's log nobody finds the line of a call that went wrong."""
    options = score_options(observed.stub)
    images = [pb.Image(content=image_bytes()), pb.Image(content=b"no image")]
    request = pb.ScoreImagesRequest(options=options, images=images)
    _, call = observed.stub.ScoreImages.with_call(request, metadata=[("x-request-id", "night-run:7")])
    assert request_id_of(call) == "night-run:7"
    line = line_of(observed, "night-run:7")
    expected = {"level": "INFO", "method": SCORE, "code": "OK", "caller": "anonymous", "items": 2, "failed_items": 1}
    assert expected.items() <= line.items()
    assert line["seconds"] > 0
    assert line["time"].endswith("+00:00")


def test_failed_calls_have_their_id_too(observed: Any) -> None:
    """The trailers of a failed call also carry its status: one must not overwrite the other."""
    with pytest.raises(grpc.RpcError) as caught:
        observed.stub.ScoreImages(pb.ScoreImagesRequest(), metadata=[("x-request-id", "bad-1")])
    assert request_id_of(caught.value) == "bad-1"
    assert "grpc-status-details-bin" in dict(caught.value.trailing_metadata())
    assert line_of(observed, "bad-1")["code"] == "INVALID_ARGUMENT"


def test_ids_cannot_forge_lines(observed: Any) -> None:
    _, call = observed.stub.GetServerInfo.with_call(
        pb.GetServerInfoRequest(), metadata=[("x-request-id", '1"} ERROR forged')]
    )
    assert len(request_id_of(call)) == 32
    assert "forged" not in observed.labeler.log.read_text()
    assert line_of(observed, request_id_of(call))["method"].endswith("/GetServerInfo")


def test_no_secrets(observed: Any, score_options: Any, image_bytes: ImageBytes) -> None:
    """A log is read by more people than may know tokens, pictures and class names."""
    vocabulary = observed.stub.CreateVocabulary(
        pb.CreateVocabularyRequest(class_names=["classname-zebra"]),
        metadata=[("authorization", "Bearer token-zebra"), ("x-api-key", "key-zebra"), ("x-request-id", "quiet")],
    )
    options = score_options(observed.stub, vocabulary_id=vocabulary.vocabulary_id)
    content = image_bytes() + b"content-zebra"
    observed.stub.ScoreImages(pb.ScoreImagesRequest(options=options, images=[pb.Image(id="id-zebra", content=content)]))
    line_of(observed, "quiet")
    assert "zebra" not in observed.labeler.log.read_text()


def test_text(labeler: Any, stub: Any) -> None:
    with grpc.insecure_channel(labeler.address) as channel:
        LabelerServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest(), metadata=[("x-request-id", "plain")])
    deadline = time.monotonic() + 30
    while "request plain" not in labeler.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    [line] = [line for line in labeler.log.read_text().splitlines() if "request plain" in line]
    assert "INFO labeler_service.calls: clip_labeler.v1.LabelerService/GetServerInfo OK anonymous: 0.0" in line
