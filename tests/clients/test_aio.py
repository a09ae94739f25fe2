"""The asyncio client gives what the synchronous one gives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from clip_labeler import (
    AsyncLabelerClient,
    BoxedImage,
    Calibration,
    EntropyGate,
    Image,
    InvalidRequestError,
    LabelerClient,
    Preprocessing,
)

PREPROCESSING = Preprocessing("bucketed", view_size=64)
GATE = EntropyGate(0.5, "nats")


def test_both_clients_give_the_same(labeler: Any, image_bytes: Callable[..., bytes]) -> None:
    """A program would get other labels when it moves to asyncio."""
    images = [Image(str(seed), image_bytes(seed)) for seed in range(40)] + [Image("broken", b"")]
    items = [BoxedImage(image.id, image.content, np.array([[0, 0, 50, 50], [20, 20, 90, 70]])) for image in images]

    with LabelerClient(labeler.address) as client:
        vocabulary = client.create_vocabulary(["cat", "dog"])
        scored = {r.id: r for r in client.score_images(vocabulary, images, preprocessing=PREPROCESSING)}
        crops = {r.id: r for r in client.score_crops(vocabulary, items, preprocessing=PREPROCESSING)}
        embedded = list(client.embed_images(images, preprocessing=PREPROCESSING))
        probs_NC = np.stack([scored[image.id].scores for image in images[:-1]])
        estimate = client.estimate_bias(probs_NC, gate=GATE)
        labels_NC = client.apply_bias(probs_NC, Calibration(estimate.bias))
        info = client.server_info()

    async def compare() -> None:
        async with AsyncLabelerClient(labeler.address) as client:
            await client.wait_until_ready(10)
            assert await client.server_info() == info
            assert await client.create_vocabulary(["cat", "dog"]) == vocabulary
            async for result in client.score_images(vocabulary, asynchronously(images), preprocessing=PREPROCESSING):
                assert same(result.outcome, scored.pop(result.id).outcome)
            async for item in client.score_crops(vocabulary, items, preprocessing=PREPROCESSING):
                other = crops.pop(item.id)
                assert item.error == other.error
                assert all(same(*pair) for pair in zip(item.crops, other.crops, strict=True))
            async for embedding in client.embed_images(images, preprocessing=PREPROCESSING):
                assert same(embedding.outcome, embedded.pop(0).outcome)
            batch = await client.score_image_batch(vocabulary, images[:4], preprocessing=PREPROCESSING)
            assert np.stack([result.scores for result in batch]).tobytes() == probs_NC[:4].tobytes()
            again = await client.estimate_bias([probs_NC[:3], probs_NC[3:]], gate=GATE)
            assert again.bias.tobytes() == estimate.bias.tobytes()
            assert (await client.apply_bias(probs_NC, Calibration(again.bias))).tobytes() == labels_NC.tobytes()
        assert not scored
        assert not crops
        assert not embedded

    asyncio.run(compare())


async def asynchronously(images: list[Image]) -> AsyncIterator[Image]:
    """An asynchronous source."""
    for image in images:
        await asyncio.sleep(0)
        yield image


def same(one: Any, other: Any) -> bool:
    return one.tobytes() == other.tobytes() if isinstance(one, np.ndarray) else one == other


def test_leaving_a_stream_early_leaves_nothing_behind(labeler: Any, image_bytes: Callable[..., bytes]) -> None:
    """Tasks of an abandoned stream would run on and complain when the loop closes."""

    async def leave() -> set[asyncio.Task[Any]]:
        async with AsyncLabelerClient(labeler.address) as client:
            vocabulary = await client.create_vocabulary(["cat", "dog"])
            images = (Image(str(seed), image_bytes(seed)) for seed in range(200))
            results = client.score_images(vocabulary, images, preprocessing=PREPROCESSING)
            await anext(results)
            await results.aclose()
            batch = [Image("one", image_bytes(1))]
            assert len(await client.score_image_batch(vocabulary, batch, preprocessing=PREPROCESSING)) == 1
        await asyncio.sleep(0.05)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(leave()) == set()


def test_a_wrong_request_is_refused(labeler: Any, image_bytes: Callable[..., bytes]) -> None:
    """grpc.aio at times loses the status of a stream that the labeler ends: the error would be another each time."""

    async def score() -> None:
        async with AsyncLabelerClient(labeler.address) as client:
            vocabulary = await client.create_vocabulary(["cat", "dog"])
            images = [Image(str(seed), image_bytes(seed)) for seed in range(64)]
            for _ in range(10):
                results = client.score_images(vocabulary, images, preprocessing=Preprocessing("paper", view_size=-1))
                with pytest.raises(InvalidRequestError):
                    await anext(results)

    asyncio.run(score())
