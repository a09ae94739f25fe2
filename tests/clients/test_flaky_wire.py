"""A network that is slow, cuts, goes silent or damages bytes: the labels are those of an undisturbed run, or none."""

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from clip_labeler import AsyncLabelerClient, Image, LabelerClient, LabelerError, Preprocessing, UnavailableError

PREPROCESSING = Preprocessing("paper", view_size=64)
Scores = dict[str, bytes]


@pytest.fixture(scope="module")
def images(image_bytes: Callable[..., bytes]) -> list[Image]:
    """Megabytes, so that many pieces cross the proxy, and more than the labeler takes ahead at once."""
    contents = [image_bytes(seed, 160, 120, format="PNG") for seed in range(60)]
    return [Image(f"{number} {seed}", content) for number in range(4) for seed, content in enumerate(contents)]


@pytest.fixture(scope="module")
def expected(labeler: Any, images: list[Image]) -> Scores:
    return score(labeler.address, images)


def score(address: str, images: list[Image], after_first: Callable[[], None] = lambda: None, **settings: Any) -> Scores:
    """Scores as bytes; an image that was answered twice is an error. `after_first` is called after the first."""
    with LabelerClient(address, **settings) as client:
        vocabulary = client.create_vocabulary(["cat", "dog"])
        stream = client.score_images(vocabulary, images, preprocessing=PREPROCESSING)
        results = [next(stream)]
        after_first()
        results += stream
    scores = {result.id: result.scores.tobytes() for result in results}
    assert len(scores) == len(results)
    return scores


def score_asynchronously(address: str, images: list[Image]) -> Scores:
    async def run() -> Scores:
        async with AsyncLabelerClient(address) as client:
            vocabulary = await client.create_vocabulary(["cat", "dog"])
            results = client.score_images(vocabulary, images, preprocessing=PREPROCESSING)
            return {result.id: result.scores.tobytes() async for result in results}

    return asyncio.run(run())


class Repeatedly:
    """Calls `action` every `seconds` in a thread, for the length of the block."""

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self._seconds = seconds
        self._action = action
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._action()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("run", [score, score_asynchronously])
def test_latency_and_resets_change_nothing(
    labeler: Any, start_proxy: Any, images: list[Image], expected: Scores, run: Any
) -> None:
    """A bad line would lose images, repeat some, or end a run of hours."""
    proxy = start_proxy(labeler.address)
    proxy.latency = 0.02
    with Repeatedly(1.0, lambda: proxy.cut(reset=True)):
        assert run(proxy.address, images) == expected


def test_lost_packets_change_nothing(labeler: Any, start_proxy: Any, images: list[Image], expected: Scores) -> None:
    """A call that waits for what the kernel sends again would be given up, or be sent again in vain."""
    proxy = start_proxy(labeler.address)
    proxy.latency, proxy.loss = 0.01, 0.05
    assert score(proxy.address, images) == expected


def test_connections_that_end_in_the_middle_of_a_message_change_nothing(
    labeler: Any, start_proxy: Any, images: list[Image], expected: Scores
) -> None:
    """Half a message would be taken for a whole one, or what came with it be lost."""
    proxy = start_proxy(labeler.address)
    proxy.cut_after = sum(len(image.content) for image in images) // 3
    assert score(proxy.address, images) == expected


def test_a_slow_line_changes_nothing(labeler: Any, start_proxy: Any, images: list[Image], expected: Scores) -> None:
    """Slow would be taken for dead, and everything be sent again for ever."""
    proxy = start_proxy(labeler.address)
    proxy.rate = 2e6
    assert score(proxy.address, images) == expected


def test_seconds_of_silence_change_nothing(
    labeler: Any, start_proxy: Any, images: list[Image], expected: Scores
) -> None:
    """A moment without a network would end the run, or hang it after the network is back."""
    proxy = start_proxy(labeler.address)

    def vanish() -> None:
        proxy.blackhole = True
        threading.Timer(2.5, setattr, (proxy, "blackhole", False)).start()

    assert score(proxy.address, images, after_first=vanish, timeout=1.0) == expected


def test_a_call_into_silence_ends(labeler: Any, start_proxy: Any) -> None:
    """A call would outlive its deadline, and with it the caller."""
    proxy = start_proxy(labeler.address)
    with LabelerClient(proxy.address, timeout=0.5, max_wait=1.0) as client:
        client.server_info()
        proxy.blackhole = True
        with pytest.raises(UnavailableError, match="DEADLINE_EXCEEDED"):
            client.server_info()
        proxy.blackhole = False
        assert client.server_info()


def test_damaged_images_are_sent_again(labeler: Any, start_proxy: Any, images: list[Image], expected: Scores) -> None:
    """The scores of other pixels would be stored under the image, or one bad cable end a run of hours."""
    proxy = start_proxy(labeler.address)
    wanted = {image.content[len(image.content) // 2 :][:12] for image in images[::7]}
    damaged = []

    def damage(piece: bytes) -> bytes:
        for marker in [marker for marker in wanted if marker in piece]:
            piece = piece.replace(marker, marker[::-1])
            wanted.remove(marker)
            damaged.append(marker)
        return piece

    proxy.damage = damage
    assert score(proxy.address, images) == expected
    assert damaged


def test_damage_anywhere_never_makes_a_wrong_label(
    labeler: Any, start_proxy: Any, images: list[Image], expected: Scores
) -> None:
    """A flipped bit in an image, an id or a length would put scores under the wrong image."""
    proxy = start_proxy(labeler.address)
    chance = random.Random(0)
    num_damaged = 0

    def damage(piece: bytes) -> bytes:
        nonlocal num_damaged
        if len(piece) < 100 or chance.random() < 0.7:
            return piece
        num_damaged += 1
        place = chance.randrange(len(piece))
        return piece[:place] + bytes([piece[place] ^ 1 << chance.randrange(8)]) + piece[place + 1 :]

    for _ in range(5):
        with suppress(LabelerError), LabelerClient(proxy.address, timeout=2.0, max_wait=3.0) as client:
            proxy.damage = lambda piece: piece
            vocabulary = client.create_vocabulary(["cat", "dog"])
            proxy.damage = damage
            for result in client.score_images(vocabulary, images, preprocessing=PREPROCESSING):
                assert result.error is not None or result.scores.tobytes() == expected[result.id]
    assert num_damaged > 5


@pytest.mark.slow
def test_connections_that_died_silently_are_noticed(
    labeler: Any, start_proxy: Any, images: list[Image], expected: Scores
) -> None:
    """Without keepalive's four settings the client would wait for a connection that is gone: here for ten minutes."""
    proxy = start_proxy(labeler.address)
    assert score(proxy.address, images, after_first=proxy.silence, timeout=600) == expected


@pytest.mark.slow
def test_a_frozen_labeler_is_waited_for(
    start_labeler: Any, tiny_clip: Any, images: list[Image], expected: Scores
) -> None:
    """A labeler that is stopped and goes on, as a suspended machine, would cost the run or hang it."""
    labeler = start_labeler(*tiny_clip.flags, "--reproducible")

    def freeze() -> None:
        os.kill(labeler.process.pid, signal.SIGSTOP)
        threading.Timer(60, os.kill, (labeler.process.pid, signal.SIGCONT)).start()

    assert score(labeler.address, images, after_first=freeze) == expected
