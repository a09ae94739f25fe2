"""A labeler that fails, or breaks the contract: what is retried, what is refused."""

import itertools
import re
import time
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from clip_labeler import (
    BoxedImage,
    DeadlineError,
    Image,
    LabelerClient,
    OverloadedError,
    Preprocessing,
    ProtocolError,
    UnavailableError,
)
from clip_labeler.errors import STATUS_DETAILS_KEY
from clip_labeler.v1 import labeler_pb2 as pb

PREPROCESSING = Preprocessing("model")
IMAGES = [Image(f"{index}.jpg", b"%d" % index) for index in range(40)]
BOXED = [BoxedImage("a.jpg", b"a", np.array([[0, 0, 1, 1], [0, 0, 2, 2]]))]


def is_scores(reply: Any) -> bool:
    return hasattr(reply, "results")


def with_row(values: list[float]) -> Any:
    return pb.Matrix(rows=1, columns=len(values), data=np.array(values, "<f4").tobytes())


def replace_row(values: list[float]) -> Any:
    return lambda reply: reply.results[0].scores.CopyFrom(with_row(values))


BREACHES = {
    "another image": lambda reply: setattr(reply.results[0], "sha256", b"\0" * 32),
    "no digest": lambda reply: reply.results[0].ClearField("sha256"),
    "a column too many": replace_row([0.25, 0.25, 0.5]),
    "not finite": replace_row([0.5, float("nan")]),
    "negative": replace_row([-0.5, 1.5]),
    "no distribution": replace_row([0.5, 0.6]),
    "no outcome": lambda reply: reply.results[0].ClearField("scores"),
    "an answer too many": lambda reply: reply.results.append(reply.results[0]),
    "an id of its own": lambda reply: setattr(reply.results[0], "id", "other"),
    "another model": lambda reply: setattr(reply, "weights_sha256", "1" * 64),
}


@pytest.mark.parametrize("breach", BREACHES)
@pytest.mark.parametrize("method", ["score_images", "score_image_batch"])
def test_a_reply_that_breaks_the_contract_is_refused(bent_labeler: Any, method: str, breach: str) -> None:
    """A wrong label would be stored, and nobody would ever see it."""

    def bend(reply: Any, context: Any) -> Any:
        if is_scores(reply):
            BREACHES[breach](reply)
        return reply

    bent_labeler.bend = bend
    with LabelerClient(bent_labeler.target) as client, pytest.raises(ProtocolError):
        list(getattr(client, method)(bent_labeler.vocabulary, IMAGES[:4], preprocessing=PREPROCESSING))


def test_crops_that_do_not_match_the_boxes_are_refused(bent_labeler: Any) -> None:
    """The scores of one box would be taken for another's."""

    def bend(reply: Any, context: Any) -> Any:
        if is_scores(reply):
            del reply.results[0].crops[0]
        return reply

    bent_labeler.bend = bend
    with LabelerClient(bent_labeler.target) as client, pytest.raises(ProtocolError, match="2 crops"):
        list(client.score_crops(bent_labeler.vocabulary, BOXED, preprocessing=PREPROCESSING))


def test_embeddings_must_have_unit_length(bent_labeler: Any) -> None:
    """Scores of a stored embedding would be no cosines."""

    def bend(reply: Any, context: Any) -> Any:
        if is_scores(reply):
            reply.results[0].scores.CopyFrom(with_row([1.0, 1.0, 1.0, 1.0]))
        return reply

    bent_labeler.bend = bend
    with LabelerClient(bent_labeler.target) as client, pytest.raises(ProtocolError, match="unit length"):
        list(client.embed_images(IMAGES[:2], preprocessing=PREPROCESSING))


def test_a_labeler_that_came_back_with_another_model_is_refused(bent_labeler: Any) -> None:
    """Labels of two models would mix in one data set."""

    def bend(reply: Any, context: Any) -> Any:
        if isinstance(reply, pb.GetServerInfoResponse):
            reply.weights_sha256 = "1" * 64
        return reply

    bent_labeler.bend = bend
    with LabelerClient(bent_labeler.target) as client, pytest.raises(ProtocolError, match="weights changed"):
        list(client.score_images(bent_labeler.vocabulary, IMAGES, preprocessing=PREPROCESSING))


def abort_sometimes(code: grpc.StatusCode, *, retry_seconds: float | None = None) -> Any:
    """Every second reply with scores becomes an error."""
    number = itertools.count()

    def bend(reply: Any, context: Any) -> Any:
        if is_scores(reply) and next(number) % 2 == 0:
            if retry_seconds is not None:
                detail = any_pb2.Any()
                delay = duration_pb2.Duration(nanos=int(retry_seconds * 1e9))
                detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
                status = status_pb2.Status(code=code.value[0], details=[detail])
                context.set_trailing_metadata([(STATUS_DETAILS_KEY, status.SerializeToString())])
            context.abort(code, "as the test wants")
        return reply

    return bend


@pytest.mark.parametrize(
    ("code", "retry_seconds"),
    [("UNAVAILABLE", None), ("CANCELLED", None), ("DEADLINE_EXCEEDED", None), ("RESOURCE_EXHAUSTED", 0.05)],
)
def test_faults_that_pass_cost_no_result_and_repeat_none(
    bent_labeler: Any, code: str, retry_seconds: float | None
) -> None:
    """A run of hours would end at the first hiccup, or store labels twice."""
    bent_labeler.bend = abort_sometimes(grpc.StatusCode[code], retry_seconds=retry_seconds)
    with LabelerClient(bent_labeler.target) as client:
        results = list(client.score_images(bent_labeler.vocabulary, IMAGES, preprocessing=PREPROCESSING))
        assert sorted(result.id for result in results) == sorted(image.id for image in IMAGES)
        batch = client.score_image_batch(bent_labeler.vocabulary, IMAGES[:8], preprocessing=PREPROCESSING)
        assert [result.id for result in batch] == [image.id for image in IMAGES[:8]]


def test_requests_of_any_size_are_repeated(bent_labeler: Any) -> None:
    """gRPC's own retry silently does nothing above 256 KiB."""
    bent_labeler.bend = abort_sometimes(grpc.StatusCode.UNAVAILABLE)
    large = [Image("large.jpg", b"x" * 300_000)]
    with LabelerClient(bent_labeler.target) as client:
        (result,) = client.score_image_batch(bent_labeler.vocabulary, large, preprocessing=PREPROCESSING)
    assert result.error is None


def test_a_refusal_that_does_not_pass_is_raised_at_once(bent_labeler: Any) -> None:
    """RESOURCE_EXHAUSTED without RetryInfo says "too large": sending it again for half an hour cannot help."""
    bent_labeler.bend = abort_sometimes(grpc.StatusCode.RESOURCE_EXHAUSTED)
    with LabelerClient(bent_labeler.target) as client, pytest.raises(OverloadedError, match="as the test wants"):
        list(client.score_images(bent_labeler.vocabulary, IMAGES, preprocessing=PREPROCESSING))


def test_an_item_that_was_unlucky_is_sent_again(bent_labeler: Any) -> None:
    """A shutdown in the middle of a batch would mark good images as failed for ever."""
    refused: set[str] = set()

    def bend(reply: Any, context: Any) -> Any:
        if is_scores(reply) and reply.results[0].id not in refused:
            refused.add(reply.results[0].id)
            reply.results[0].error.CopyFrom(status_pb2.Status(code=code_pb2.UNAVAILABLE, message="shutting down"))
        return reply

    bent_labeler.bend = bend
    with LabelerClient(bent_labeler.target) as client:
        results = list(client.score_images(bent_labeler.vocabulary, IMAGES[:8], preprocessing=PREPROCESSING))
    assert refused
    assert sorted(result.id for result in results) == sorted(image.id for image in IMAGES[:8])
    assert all(result.error is None for result in results)


def test_a_stream_that_stalls_is_opened_again(bent_labeler: Any) -> None:
    """A labeler that hangs would hang the trainer with it."""
    stalled = []

    def bend(reply: Any, context: Any) -> Any:
        if is_scores(reply) and not stalled:
            stalled.append(True)
            while context.is_active():
                time.sleep(0.01)
        return reply

    bent_labeler.bend = bend
    with LabelerClient(bent_labeler.target, timeout=0.5) as client:
        results = list(client.score_images(bent_labeler.vocabulary, IMAGES, preprocessing=PREPROCESSING))
    assert stalled
    assert len(results) == len(IMAGES)


def test_giving_up_says_where_and_why(bent_labeler: Any) -> None:
    """A run would wait for ever, or end without naming the labeler."""
    bent_labeler.bend = lambda reply, context: context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too slow")
    with LabelerClient(bent_labeler.target, max_wait=0.3) as client, pytest.raises(UnavailableError) as info:
        client.server_info()
    assert re.search(f"{bent_labeler.target} .*too slow", str(info.value))
    assert isinstance(info.value.__cause__, DeadlineError)
