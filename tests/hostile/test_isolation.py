"""A native crash in a decoder, in a real server: one image's error with processes, the end of the server without."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.rpc import code_pb2, error_details_pb2

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

PROGRAM = str(Path(__file__).with_name("crashing_labeler.py"))


def embed(address: str, contents: list[bytes]) -> list[pb.ImageResult]:
    preprocessing = pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER, view_size=32)
    images = [pb.Image(content=content) for content in contents]
    with grpc.insecure_channel(address) as channel:
        request = pb.EmbedImagesRequest(preprocessing=preprocessing, images=images)
        return list(LabelerServiceStub(channel).EmbedImages(request, timeout=120).results)


def check_that_a_crash_costs_one_image(labeler: Any, contents: list[bytes]) -> None:
    """Image 5 of 20 crashes its decoder."""
    expected = embed(labeler.address, contents)
    results = embed(labeler.address, [*contents[:4], b"crash", *contents[4:]])
    crashed = results.pop(4)
    info = error_details_pb2.ErrorInfo()
    assert crashed.error.details[0].Unpack(info)
    assert (crashed.error.code, info.reason) == (code_pb2.INTERNAL, "DECODER_CRASHED")
    assert [result.scores.data for result in results] == [result.scores.data for result in expected]


@pytest.fixture
def contents(image_bytes: Callable[..., bytes]) -> list[bytes]:
    return [image_bytes(seed) for seed in range(19)]


def test_a_crash_and_a_kill_cost_at_most_one_image(start_labeler: Any, tiny_clip: Any, contents: list[bytes]) -> None:
    flags = (*tiny_clip.flags, "--reproducible", "--decode-workers", "2")
    labeler = start_labeler(*flags, program=(PROGRAM, "isolated"))
    check_that_a_crash_costs_one_image(labeler, contents)
    expected = embed(labeler.address, contents)
    for worker in psutil.Process(labeler.process.pid).children():
        worker.send_signal(signal.SIGKILL)
    assert embed(labeler.address, contents) == expected
    workers = psutil.Process(labeler.process.pid).children()
    labeler.process.kill()
    labeler.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []


@pytest.mark.slow
def test_the_check_fails_without_isolation(start_labeler: Any, tiny_clip: Any, contents: list[bytes]) -> None:
    """A check that passes whatever the server does would promise nothing."""
    labeler = start_labeler(*tiny_clip.flags, "--reproducible", program=(PROGRAM, "unisolated"))
    with pytest.raises(grpc.RpcError):
        check_that_a_crash_costs_one_image(labeler, contents)
    assert labeler.process.wait(60) == -signal.SIGSEGV
