"""A server's cache: what was embedded before costs no device time and is bit-equal; anything else is computed."""

import asyncio
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from benchmarks.free_encoder import FreeEncoder
from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from labeler_service.cache import ResultCache
from labeler_service.cached_pipeline import CachedPipeline
from labeler_service.call_context import CallContext, current_call
from labeler_service.images import Profile, ViewGeometry
from labeler_service.pipeline import EncodedImage, Preprocessing, Timings

PAPER = pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER)


class Server:
    """A running labeler and the answers to requests of one item: its bytes, and whether the device was asked."""

    def __init__(self, server: Any, score_options: Callable[..., pb.ScoreOptions]) -> None:
        self.process = server
        self._stub = LabelerServiceStub(grpc.insecure_channel(server.address))
        self._options = lambda preprocessing: score_options(self._stub, preprocessing=preprocessing)

    def embed(self, content: bytes, preprocessing: pb.Preprocessing = PAPER) -> tuple[bytes, bool]:
        images = [pb.Image(content=content)]
        response = self._stub.EmbedImages(pb.EmbedImagesRequest(preprocessing=preprocessing, images=images))
        return response.results[0].scores.data, response.timings.device_seconds > 0

    def crops(self, content: bytes, *boxes: tuple[int, int, int, int]) -> tuple[list[bytes], bool]:
        item = pb.CropItem(boxed_image=pb.BoxedImage(content=content, boxes=[_box(*box) for box in boxes]))
        return self._score_crops(item)

    def own_crops(self, *contents: bytes) -> tuple[list[bytes], bool]:
        return self._score_crops(pb.CropItem(encoded_crops=pb.EncodedCrops(contents=contents)))

    def _score_crops(self, item: pb.CropItem) -> tuple[list[bytes], bool]:
        request = pb.ScoreCropsRequest(options=self._options(PAPER), items=[item])
        [response] = self._stub.ScoreCrops(iter([request]))
        rows = [crop.scores.data for crop in response.results[0].crops]
        return rows, response.timings.device_seconds > 0


def _box(x0: int, y0: int, x1: int, y1: int) -> pb.Box:
    return pb.Box(x0=x0, y0=y0, x1=x1, y1=y1)


@pytest.fixture(scope="module")
def server(start_labeler: Any, tiny_clip: Any, score_options: Any) -> Server:
    return Server(start_labeler(*tiny_clip.flags), score_options)


def test_hit_is_bit_equal_and_costs_no_device_time(server: Server, image_bytes: Any) -> None:
    first, computed = server.embed(image_bytes(1))
    again, computed_again = server.embed(image_bytes(1))
    assert (computed, computed_again) == (True, False)
    assert again == first


@pytest.mark.parametrize(
    "other",
    [
        pb.Preprocessing(profile=pb.Preprocessing.PROFILE_BUCKETED),
        pb.Preprocessing(profile=pb.Preprocessing.PROFILE_MODEL),
        pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER, view_size=128),
        pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER, normalization=pb.Preprocessing.NORMALIZATION_IMAGENET),
    ],
)
def test_another_preprocessing_is_another_result(server: Server, image_bytes: Any, other: pb.Preprocessing) -> None:
    """A key that lacks one of them would serve a plausible, wrong label."""
    server.embed(image_bytes(2))
    assert server.embed(image_bytes(2), other)[1]


def test_boxes_and_crops_have_results_of_their_own(server: Server, image_bytes: Any) -> None:
    content = image_bytes(3)
    left, right = (0, 0, 48, 80), (48, 0, 96, 80)
    [one], computed = server.crops(content, left)
    assert computed
    assert server.crops(content, left) == ([one], False)
    [two, same], computed = server.crops(content, right, left)
    assert computed
    assert same == one
    assert two != one
    assert server.crops(content, left, right, left) == ([one, two, one], False)
    whole, computed = server.own_crops(content, content)
    assert computed, "the whole image as a crop keeps its aspect"
    assert server.own_crops(content) == (whole[:1], False)


def test_failures_are_not_kept(server: Server, image_bytes: Any) -> None:
    """Broken bytes fail each time by themselves, beside crops that are known."""
    good = image_bytes(4)
    server.own_crops(good)
    for _ in range(2):
        rows, computed = server.own_crops(b"broken", good)
        assert rows[0] == b""
        assert rows[1] != b""
        assert not computed


def test_restarted_job_costs_nothing_after_a_server_restart(
    start_labeler: Any, tiny_clip: Any, score_options: Any, image_bytes: Any, tmp_path: Path
) -> None:
    """With --cache-dir; but not with another activation of the same weights, whose embeddings differ."""

    def start(*flags: str) -> Server:
        return Server(start_labeler(*tiny_clip.flags, "--cache-dir", str(tmp_path), *flags), score_options)

    before = start()
    rows = [before.embed(image_bytes(seed))[0] for seed in range(20)]
    assert before.process.stop() == 0
    after = start()
    assert [after.embed(image_bytes(seed)) for seed in range(20)] == [(row, False) for row in rows]
    other = start("--quick-gelu")
    assert other.embed(image_bytes(0))[1]


def test_full_disk(start_labeler: Any, tiny_clip: Any, score_options: Any, image_bytes: Any, tmp_path: Path) -> None:
    """Callers never hear of it, and the log holds one line. (A limit on file sizes stands for the disk.)"""
    process = start_labeler(*tiny_clip.flags, "--cache-dir", str(tmp_path))
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    server = Server(process, score_options)
    rows = [server.embed(image_bytes(seed))[0] for seed in range(30)]
    assert [server.embed(image_bytes(seed)) for seed in range(30)] == [(row, False) for row in rows]
    assert process.stop() == 0
    assert process.log.read_text().count("WARNING") == 1
    assert "going on without --cache-dir" in process.log.read_text()


def test_off_by_flag(start_labeler: Any, tiny_clip: Any, score_options: Any, image_bytes: Any) -> None:
    server = Server(start_labeler(*tiny_clip.flags, "--cache-bytes", "0"), score_options)
    assert [server.embed(image_bytes(0))[1] for _ in range(2)] == [True, True]


INFO = replace(FreeEncoder().info, device="cuda:0")
IMAGE = EncodedImage(b"image")
HOW = Preprocessing(ViewGeometry(Profile.PAPER, 32, 1, 32, INFO.preprocessing), INFO.normalization)


class CountingPipeline:
    """Stands for a pipeline on another model, which here would take minutes to make: gives a new row each time."""

    def __init__(self) -> None:
        self.count = 0

    async def embed_image(self, *_: Any) -> np.ndarray:
        self.count += 1
        return np.full(4, self.count, np.float32)


@pytest.mark.parametrize(
    ("change", "is_hit"),
    [
        ({}, True),
        ({"device": "cuda:1"}, True),
        ({"weights_sha256": "1" * 64}, False),
        ({"structure_sha256": "1" * 64}, False),
        ({"backend": "onnxruntime"}, False),
        ({"dtype": "float16"}, False),
        ({"device": "cpu"}, False),
    ],
)
def test_what_a_key_holds_of_the_model(change: dict[str, str], is_hit: bool) -> None:
    """Servers of other weights, precisions or backends may share a folder, and their results must not mix."""

    async def test() -> None:
        cache, pipeline = ResultCache(2**20), CountingPipeline()
        for info in (INFO, replace(INFO, **change)):
            await CachedPipeline(pipeline, cache, info).embed_image(IMAGE, HOW, Timings())
        assert pipeline.count == (1 if is_hit else 2)

    asyncio.run(test())


def test_callers_share_nothing() -> None:
    """How fast an answer comes would tell one team which images another one has."""

    async def test() -> None:
        pipeline = CountingPipeline()
        cached = CachedPipeline(pipeline, ResultCache(2**20), INFO)
        for caller in ("a", "b", "a"):
            current_call.set(CallContext(caller=caller))
            await cached.embed_image(IMAGE, HOW, Timings())
        assert pipeline.count == 2

    asyncio.run(test())
