"""`clip-labeler-client bench` and the timings behind it: they add up, and are the labeler's own."""

import asyncio
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from clip_labeler import AsyncLabelerClient, Image, LabelerClient, Preprocessing, Timings
from clip_labeler.bench import DRAWN_HEIGHT, DRAWN_WIDTH, drawn_images

PREPROCESSING = Preprocessing("paper", view_size=64)
PLACES = ["client", "network", "decode", "queue", "device", "others"]


def bench(*flags: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clip_labeler", "bench", "--seconds", "0.5", "--view-size", "64", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_places_add_up_to_the_time_of_a_request(labeler: Any) -> None:
    """A user would look for time that is counted twice, or not at all."""
    done = bench("--labeler", labeler.address, "--concurrency", 2, "--batch-size", 4, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    places = result["places"]
    assert list(places) == PLACES
    assert all(place["ms"] >= 0 for place in places.values())
    assert sum(place["share"] for place in places.values()) == pytest.approx(1)
    assert places["decode"]["ms"] > 0
    assert places["device"]["ms"] > 0
    assert result["images"] % 4 == 0
    # two requests at a time, all the time: their mean duration follows from the rate
    mean_ms = 2 * result["seconds"] / (result["images"] / 4) * 1000
    assert sum(place["ms"] for place in places.values()) == pytest.approx(mean_ms, rel=0.5)
    assert 0 < result["request_ms"]["p50"] <= result["request_ms"]["p99"]
    assert result["images_per_second"] == pytest.approx(result["images"] / result["seconds"])


def test_the_table_shows_a_folder_of_ones_own(labeler: Any, tmp_path: Path, image_bytes: Any) -> None:
    """Only drawn images could be measured, or broken ones pass for fast ones."""
    (tmp_path / "good.jpg").write_bytes(image_bytes(1))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    done = bench("--labeler", labeler.address, "--images", tmp_path, "--batch-size", 2, "--concurrency", 1)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("%")] == PLACES
    assert "images/s" in lines[1]
    assert lines[-1].endswith("images could not be scored")
    assert lines[-1].split()[0] == str(int(lines[1].split()[0]) // 2)


def test_mistakes_are_said(labeler: Any, tmp_path: Path) -> None:
    """A limit of the client would be measured as one of the labeler."""
    for flags, says in ((("--concurrency", 17), "--concurrency"), (("--images", tmp_path), "holds no image")):
        done = bench("--labeler", labeler.address, *flags)
        assert done.returncode == 2
        assert says in done.stderr


def test_drawn_images_are_images() -> None:
    """The labeler would refuse them, or its cache answer for it."""
    contents = drawn_images()
    assert len(set(contents)) == len(contents)
    for content in contents[:2]:
        with PillowImage.open(io.BytesIO(content)) as image:
            image.load()
            assert (image.mode, image.size) == ("RGB", (DRAWN_WIDTH, DRAWN_HEIGHT))


def test_every_response_hands_over_its_timings(labeler: Any, image_bytes: Any) -> None:
    """A program could not see where its time goes; or one kind of call would be left out."""
    seeds, got = itertools.count(10_000), []

    def new_images() -> list[Image]:
        """That no other call has sent: the labeler's cache answers those in no time."""
        return [Image(str(seed), image_bytes(seed)) for seed in itertools.islice(seeds, 20)]

    def check(*, round_trip: bool) -> None:
        timings: list[Timings] = list(got)
        got.clear()
        assert sum(each.num_items for each in timings) == 20
        assert sum(each.decode for each in timings) > 0
        assert all(each.device > 0 and each.server > 0 for each in timings)
        assert all((each.round_trip is not None) == round_trip for each in timings)
        assert all(each.round_trip is None or each.round_trip >= each.server for each in timings)

    with LabelerClient(labeler.address, on_timings=got.append) as client:
        vocabulary = client.create_vocabulary(["cat", "dog"])
        client.score_image_batch(vocabulary, new_images(), preprocessing=PREPROCESSING)
        check(round_trip=True)
        list(client.score_images(vocabulary, new_images(), preprocessing=PREPROCESSING))
        check(round_trip=False)
        list(client.embed_images(new_images(), preprocessing=PREPROCESSING))
        check(round_trip=False)

    async def run() -> None:
        async with AsyncLabelerClient(labeler.address, on_timings=got.append) as client:
            await client.score_image_batch(vocabulary, new_images(), preprocessing=PREPROCESSING)
            check(round_trip=True)
            async for _ in client.score_images(vocabulary, new_images(), preprocessing=PREPROCESSING):
                pass
            check(round_trip=False)

    asyncio.run(run())
