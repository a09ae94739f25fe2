"""Labelers that die, come back empty, or cannot be reached: each image is still scored exactly once."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clip_labeler import AsyncLabelerClient, Image, ImageScores, LabelerClient, Preprocessing, UnavailableError

PREPROCESSING = Preprocessing("paper", view_size=64)


@pytest.fixture
def images(image_bytes: Callable[..., bytes]) -> list[Image]:
    return [Image(str(seed), image_bytes(seed)) for seed in range(400)]


def by_id(results: list[ImageScores]) -> dict[str, bytes]:
    """Scores as bytes; an image that was answered twice is an error."""
    scores = {result.id: result.scores.tobytes() for result in results}
    assert len(scores) == len(results)
    return scores


def undisturbed(address: str, class_names: list[str], images: list[Image]) -> dict[str, bytes]:
    with LabelerClient(address) as client:
        vocabulary = client.create_vocabulary(class_names)
        return by_id(list(client.score_images(vocabulary, images, preprocessing=PREPROCESSING)))


def test_a_killed_labeler_costs_nothing(
    labeler: Any, start_labeler: Any, tiny_clip: Any, start_proxy: Any, images: list[Image]
) -> None:
    """After a crash, images would be lost, scored twice, or refused for a vocabulary that the new process lacks."""
    class_names = ["known", "to the", "killed labeler", "alone"]
    victim = start_labeler(*tiny_clip.flags, "--reproducible")
    proxy = start_proxy(victim.address)
    with LabelerClient(proxy.address) as client:
        vocabulary = client.create_vocabulary(class_names)
        other_vocabulary = client.create_vocabulary(class_names, ["one {}"], temperature=0.5)
        stream = client.score_images(vocabulary, images, preprocessing=PREPROCESSING)
        results = [next(stream)]
        victim.process.kill()
        victim.process.wait()
        proxy.backend = labeler.address
        results += stream
        batch = client.score_image_batch(other_vocabulary, images[:3], preprocessing=PREPROCESSING)
    assert [result.id for result in batch] == [image.id for image in images[:3]]
    assert by_id(results) == undisturbed(labeler.address, class_names, images)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_cut_connections_cost_nothing(labeler: Any, start_proxy: Any, images: list[Image], asynchronous: bool) -> None:
    """A flaky network would lose or repeat images."""
    proxy = start_proxy(labeler.address)
    class_names = ["cat", "dog"]
    cuts = {5, 100, 101, 250}

    def cut_sometimes(number: int) -> None:
        if number in cuts:
            proxy.cut()

    def score() -> Iterator[ImageScores]:
        with LabelerClient(proxy.address) as client:
            vocabulary = client.create_vocabulary(class_names)
            for number, result in enumerate(client.score_images(vocabulary, images, preprocessing=PREPROCESSING)):
                cut_sometimes(number)
                yield result

    async def score_asynchronously() -> list[ImageScores]:
        results: list[ImageScores] = []
        async with AsyncLabelerClient(proxy.address) as client:
            vocabulary = await client.create_vocabulary(class_names)
            async for result in client.score_images(vocabulary, images, preprocessing=PREPROCESSING):
                cut_sometimes(len(results))
                results.append(result)
        return results

    results = asyncio.run(score_asynchronously()) if asynchronous else list(score())
    assert by_id(results) == undisturbed(labeler.address, class_names, images)


def test_a_labeler_that_starts_late_is_waited_for(labeler: Any, start_proxy: Any) -> None:
    """A trainer that starts together with its labeler would fail."""
    proxy = start_proxy("127.0.0.1:1")
    timer = threading.Timer(0.5, setattr, (proxy, "backend", labeler.address))
    timer.start()
    with LabelerClient(proxy.address) as client:
        client.wait_until_ready(30)
        assert client.server_info().limits
    timer.join()


def test_a_labeler_that_is_not_there_is_named() -> None:
    """The user would see a trace of gRPC, or wait for half an hour for a wrong address."""
    with LabelerClient("127.0.0.1:1", max_wait=0.2) as client:
        with pytest.raises(UnavailableError, match=r"gave up on the labeler at 127\.0\.0\.1:1 .*refused"):
            client.server_info()
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
            client.wait_until_ready(0.2)
