"""A real server under hostile images: each is sent in a request of eight, whose seven good images must not notice."""

import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2, error_details_pb2
from PIL import Image

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

REQUESTS_IN_FLIGHT = 8
BATCH = 8
# The least that the tiny CLIP can see: here decoding is tested, not the model.
VIEW_SIZE = 32
DECODED = "decoded"


class Scorer:
    """Sends images to a labeler, each with seven good ones."""

    def __init__(self, labeler: Any, stub: LabelerServiceStub, good: list[bytes]) -> None:
        self._labeler = labeler
        self._stub = stub
        vocabulary = stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=["cat", "dog", "tree"]))
        self._options = pb.ScoreOptions(
            vocabulary_id=vocabulary.vocabulary_id,
            preprocessing=pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER, view_size=VIEW_SIZE),
            output=pb.ScoreOptions.OUTPUT_PROBABILITIES,
        )
        self._good = good
        self._expected = [result.scores.data for result in self._send(good).result().results]
        assert all(self._expected)

    def verdicts(self, contents: Iterable[bytes]) -> Iterator[str]:
        """DECODED, or the reason why not, in order. Asserts all that is promised of the rest."""
        calls: deque[tuple[int, Any]] = deque()
        for number, content in enumerate(contents):
            position = number % BATCH
            calls.append((position, self._send([*self._good[:position], content, *self._good[position:]])))
            if len(calls) == REQUESTS_IN_FLIGHT:
                yield self._verdict(*calls.popleft())
        while calls:
            yield self._verdict(*calls.popleft())
        assert self._labeler.process.poll() is None, "the server is gone"

    def _send(self, contents: list[bytes]) -> Any:
        images = [pb.Image(content=content) for content in contents]
        return self._stub.ScoreImages.future(pb.ScoreImagesRequest(options=self._options, images=images), timeout=120)

    def _verdict(self, position: int, call: Any) -> str:
        results = list(call.result().results)
        result = results.pop(position)
        assert [neighbour.scores.data for neighbour in results] == self._expected, "a neighbour's scores changed"
        if result.HasField("scores"):
            probs = np.frombuffer(result.scores.data, "<f4")
            assert probs.sum() == pytest.approx(1, abs=1e-5)
            return DECODED
        info = error_details_pb2.ErrorInfo()
        assert result.error.details[0].Unpack(info)
        assert result.error.code == code_pb2.INVALID_ARGUMENT, result.error
        assert re.fullmatch("[A-Z][A-Z_]+", info.reason)
        return str(info.reason)


@pytest.fixture(scope="session")
def good_images(image_bytes: Callable[..., bytes]) -> list[bytes]:
    """Seven small images in all formats."""
    formats = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "JPEG", "PNG")
    return [image_bytes(seed, 20 + seed, 18, format) for seed, format in enumerate(formats)]


@pytest.fixture(scope="session")
def scorer(labeler: Any, good_images: list[bytes]) -> Iterator[Scorer]:
    with grpc.insecure_channel(labeler.address) as channel:
        yield Scorer(labeler, LabelerServiceStub(channel), good_images)


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """encode(image, format="PNG", **options): what Pillow saves."""

    def save(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
        content = io.BytesIO()
        image.save(content, format, **options)
        return content.getvalue()

    return save
