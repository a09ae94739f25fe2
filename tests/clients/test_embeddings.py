"""Embeddings are asked for ahead: in order, a few requests at a time, as safe against faults as a stream is."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_labeler import AsyncLabelerClient, Image, LabelerClient, Limits, Preprocessing, ProtocolError, calls
from clip_labeler.base import MAX_EMBED_REQUESTS, MAX_REQUESTS_IN_FLIGHT
from clip_labeler.session import MAX_ITEMS_PER_MESSAGE, MAX_MESSAGE_BYTES

PREPROCESSING = Preprocessing("model")
ITEMS_PER_REQUEST = 8  # of the bent labeler
IMAGES = [Image(str(index), b"%d" % index) for index in range(100)]


class Crowd:
    """Bends a labeler so that requests take a moment, and counts how many are there at once."""

    def __init__(self, labeler: Any) -> None:
        self.largest = 0
        self._now = 0
        self._lock = threading.Lock()
        labeler.bend = self._bend

    def _bend(self, reply: Any, context: Any) -> Any:
        if not hasattr(reply, "results"):
            return reply
        with self._lock:
            self._now += 1
            self.largest = max(self.largest, self._now)
        time.sleep(0.03)
        with self._lock:
            self._now -= 1
        return reply


def embed(target: str, asynchronous: bool, images: Any) -> list[str]:
    async def embed_asynchronously() -> list[str]:
        async with AsyncLabelerClient(target) as client:
            return [embedding.id async for embedding in client.embed_images(images, preprocessing=PREPROCESSING)]

    if asynchronous:
        return asyncio.run(embed_asynchronously())
    with LabelerClient(target) as client:
        return [embedding.id for embedding in client.embed_images(images, preprocessing=PREPROCESSING)]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_requests_overlap_and_results_keep_their_order(bent_labeler: Any, asynchronous: bool) -> None:
    """The labeler would idle between requests, or embeddings end up with the wrong images."""
    crowd = Crowd(bent_labeler)
    assert embed(bent_labeler.target, asynchronous, IMAGES) == [image.id for image in IMAGES]
    assert 2 <= crowd.largest <= MAX_EMBED_REQUESTS


def test_images_are_pulled_only_as_far_as_requests_are_sent(bent_labeler: Any) -> None:
    """A data set would be read into memory while its first images are embedded."""
    num_pulled = 0

    def endless() -> Iterator[Image]:
        nonlocal num_pulled
        while True:
            num_pulled += 1
            yield IMAGES[num_pulled % len(IMAGES)]

    with LabelerClient(bent_labeler.target) as client:
        embeddings = client.embed_images(endless(), preprocessing=PREPROCESSING)
        for num_results, _ in zip(range(100), embeddings, strict=False):
            assert num_pulled - num_results <= (MAX_EMBED_REQUESTS + 1) * ITEMS_PER_REQUEST
        embeddings.close()
        assert client.server_info()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_requests_that_fail_are_sent_again_in_their_place(bent_labeler: Any, asynchronous: bool) -> None:
    """One hiccup would end the run, or move the embeddings that come after it."""
    numbers = iter(range(10**6))

    def bend(reply: Any, context: Any) -> Any:
        if hasattr(reply, "results") and next(numbers) % 3 == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "as the test wants")
        return reply

    bent_labeler.bend = bend
    assert embed(bent_labeler.target, asynchronous, IMAGES) == [image.id for image in IMAGES]


def test_embeddings_of_other_bytes_are_refused(bent_labeler: Any) -> None:
    """A damaged image's embedding would be stored under the image that was meant."""
    num_bent, always = 0, False

    def bend(reply: Any, context: Any) -> Any:
        nonlocal num_bent
        if hasattr(reply, "results") and (always or num_bent == 0):
            num_bent += 1
            reply.results[0].sha256 = b"\0" * 32
        return reply

    bent_labeler.bend = bend
    assert embed(bent_labeler.target, False, IMAGES) == [image.id for image in IMAGES]
    assert num_bent == 1
    always = True
    with pytest.raises(ProtocolError, match="other bytes"):
        embed(bent_labeler.target, False, IMAGES)


@given(
    sizes=st.lists(st.integers(0, MAX_MESSAGE_BYTES), max_size=40),
    max_items=st.integers(1, 30),
    max_bytes=st.integers(1, 4 * MAX_MESSAGE_BYTES),
)
def test_requests_are_cut_to_what_the_labeler_takes(sizes: list[int], max_items: int, max_bytes: int) -> None:
    """One request too large would end the run; one image that is too large alone still goes alone."""
    limits = Limits(max_items, max_bytes, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    images = [Image(str(index), bytes(size)) for index, size in enumerate(sizes)]
    batches = list(calls.batches(images, limits))
    assert [image for batch in batches for image in batch] == images
    for batch in batches:
        assert 1 <= len(batch) <= min(max_items, MAX_ITEMS_PER_MESSAGE)
        assert len(batch) == 1 or sum(len(image.content) for image in batch) <= min(max_bytes, MAX_MESSAGE_BYTES)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_client_has_few_requests_in_flight(bent_labeler: Any, asynchronous: bool) -> None:
    """A burst of a program's threads would be refused by the labeler's limit of streams per connection."""
    crowd = Crowd(bent_labeler)
    vocabulary, images = bent_labeler.vocabulary, IMAGES[:2]

    async def burst() -> None:
        async with AsyncLabelerClient(bent_labeler.target) as client:
            batches = [client.score_image_batch(vocabulary, images, preprocessing=PREPROCESSING) for _ in range(60)]
            await asyncio.gather(*batches)

    if asynchronous:
        asyncio.run(burst())
    else:
        with LabelerClient(bent_labeler.target) as client, ThreadPoolExecutor(30) as executor:
            for _ in range(60):
                executor.submit(client.score_image_batch, vocabulary, images, preprocessing=PREPROCESSING)
    assert 4 <= crowd.largest <= MAX_REQUESTS_IN_FLIGHT
