"""The window of a score stream: bounded, complete and without repetition whatever breaks."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_labeler import Image, Limits, Preprocessing, ProtocolError, ServerInfo, Vocabulary
from clip_labeler.scoring import ImageScoring
from clip_labeler.session import MAX_BYTES_IN_FLIGHT, MAX_MESSAGE_BYTES, StreamSession
from clip_labeler.v1 import labeler_pb2 as pb

WEIGHTS = "f" * 64
VOCABULARY = Vocabulary("id", ("cat", "dog"), (), None, 1.0, WEIGHTS)


def server_info(*, window: int = 32, items: int = 64, request_bytes: int = 8 * 2**20) -> ServerInfo:
    limits = Limits(items, request_bytes, 2**23, 2**24, 64, 8, window, 1000, 256, 1024, 2**24)
    return ServerInfo("1", "demo", WEIGHTS, "float32", "cpu", "torch", 8, 96, 1.0, True, limits)


def new_session(info: ServerInfo) -> StreamSession[Any, Any]:
    return StreamSession(ImageScoring(VOCABULARY, Preprocessing("model"), "probabilities", None), info)


def fill(session: StreamSession[Any, Any], source: Any) -> list[pb.ScoreImageStreamRequest]:
    """One turn of the loop that the clients have."""
    while session.wants_item:
        try:
            session.add(next(source))
        except StopIteration:
            session.end_input()
    return list(session.requests())


def reply(session: StreamSession[Any, Any], images: list[pb.Image]) -> pb.ScoreImageStreamResponse:
    row = pb.Matrix(rows=1, columns=2, data=b"\0\0\0\x3f" * 2)  # 0.5, 0.5
    sha256 = {sent.message.id: sent.sha256 for sent in session._unanswered.values()}
    results = [pb.ImageResult(id=image.id, sha256=sha256[image.id], scores=row) for image in images]
    return pb.ScoreImageStreamResponse(results=results, weights_sha256=WEIGHTS)


@settings(deadline=None, max_examples=60)
@given(
    num_images=st.integers(0, 120),
    window=st.integers(1, 40),
    items=st.integers(1, 20),
    break_after=st.sets(st.integers(0, 60), max_size=6),
    data=st.data(),
)
def test_each_item_is_answered_once_within_the_window(
    num_images: int, window: int, items: int, break_after: set[int], data: st.DataObject
) -> None:
    """A broken stream would lose images, repeat some, or the input would pile up in memory."""
    info = server_info(window=window, items=items)
    session, pulled, answered = new_session(info), 0, []

    def images() -> Any:
        nonlocal pulled
        for index in range(num_images):
            pulled += 1
            yield Image(f"image {index}", b"x" * index)

    source, on_stream, turn, stream_is_new = images(), [], 0, True
    while not session.finished:
        requests = fill(session, source)
        if stream_is_new and turn > 0:
            assert len(requests) <= 1  # all at once would be lost again where each stream breaks after some bytes
        for request in requests:
            assert request.HasField("options") == stream_is_new
            stream_is_new = False
            assert 1 <= len(request.images) <= items
            on_stream += request.images
        assert pulled - len(answered) <= window
        if turn in break_after:
            session.restart(info)
            on_stream, stream_is_new = [], True
        elif on_stream:
            done = data.draw(st.lists(st.sampled_from(range(len(on_stream))), min_size=1, unique=True))
            session.receive(reply(session, [on_stream[index] for index in done]))
            on_stream = [image for index, image in enumerate(on_stream) if index not in done]
        answered += [result.id for result in session.take_results()]
        turn += 1
    assert sorted(answered) == sorted(f"image {index}" for index in range(num_images))


def test_messages_stay_small_and_memory_bounded() -> None:
    """Large photographs would make messages over the labeler's limit, or fill the memory."""
    session, requests = new_session(server_info(window=1000)), []
    source = (Image(str(index), b"x" * 900_000) for index in range(1000))
    while session.wants_item:
        requests += fill(session, source)
    assert all(request.ByteSize() <= MAX_MESSAGE_BYTES + 1000 for request in requests)
    assert sum(request.ByteSize() for request in requests) < MAX_BYTES_IN_FLIGHT + 20 * 900_000


def test_an_item_that_fits_in_no_request_fails_alone() -> None:
    """One huge file would end the stream with RESOURCE_EXHAUSTED, again and again."""
    session = new_session(server_info(request_bytes=10_000))
    requests = fill(session, iter([Image("huge", b"x" * 10_000), Image("fine", b"x" * 9_000)]))
    assert [len(request.images) for request in requests] == [1]
    assert requests[0].ByteSize() <= 10_000
    (failed,) = session.take_results()
    assert (failed.id, failed.error.reason) == ("huge", "ITEM_TOO_LARGE")


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    """An item that was answered twice would be yielded twice."""
    session = new_session(server_info())
    (request,) = fill(session, iter([Image("a", b"a"), Image("b", b"b")]))
    response = reply(session, [request.images[0]])
    session.receive(response)
    with pytest.raises(ProtocolError, match="was answered"):
        session.receive(response)
