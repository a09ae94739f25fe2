"""Scores do not depend on the batch, the server process or the backend that computed them."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from labeler_service import images
from labeler_service.backends.torch_backend import TorchBackend
from labeler_service.config import ServerConfig
from labeler_service.decoding import ImageLimits, decode
from labeler_service.images import Profile, ViewGeometry
from labeler_service.scoring import Output, Scoring
from labeler_service.vocabulary import VocabularySpec, VocabularyStore

PAPER = pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER)
CLASSES = ["cat", "dog", "tree", "car", "house", "bottle"]
# The cache would answer instead of the model.
NO_CACHE = ("--cache-bytes", "0")


def score(address: str, contents: list[bytes], per_request: int) -> np.ndarray:
    """Probabilities, float32 (N, C)."""
    with grpc.insecure_channel(address) as channel:
        stub = LabelerServiceStub(channel)
        vocabulary = stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=CLASSES))
        options = pb.ScoreOptions(
            vocabulary_id=vocabulary.vocabulary_id, preprocessing=PAPER, output=pb.ScoreOptions.OUTPUT_PROBABILITIES
        )
        rows = []
        for start in range(0, len(contents), per_request):
            batch = [pb.Image(content=content) for content in contents[start : start + per_request]]
            response = stub.ScoreImages(pb.ScoreImagesRequest(options=options, images=batch))
            rows += [np.frombuffer(result.scores.data, np.float32) for result in response.results]
    return np.stack(rows)


def score_in_process(config: ServerConfig, contents: list[bytes]) -> np.ndarray:
    """As `score`, one image at a time, without server, queue or batch."""
    backend = TorchBackend(config)

    async def encode_texts(texts: list[str]) -> np.ndarray:
        return backend.encode_texts(texts)

    store = VocabularyStore(encode_texts, model_temperature=backend.info.temperature)
    vocabulary = asyncio.run(store.create(VocabularySpec(tuple(CLASSES), (), None)))
    scoring = Scoring(vocabulary, Output.PROBABILITIES, None)
    info = backend.info
    geometry = ViewGeometry(Profile.PAPER, info.native_resolution, info.multiple, info.stride, info.preprocessing)
    rows = []
    for content in contents:
        view = images.global_view(decode(content, ImageLimits(2**25, 2**25, 2**25)), geometry)
        rows.append(scoring.score(backend.encode_images(np.stack([view]), info.normalization)[0]))
    return np.stack(rows)


def test_alone_in_a_batch_after_a_restart_and_in_process(start_labeler: Any, tiny_clip: Any, image_bytes: Any) -> None:
    """A label that depends on its neighbours, or on the server's age, cannot be reproduced."""
    contents = [image_bytes(seed) for seed in range(24)]
    server = start_labeler(*tiny_clip.flags, *NO_CACHE)
    alone, batched = score(server.address, contents, 1), score(server.address, contents, 24)
    server.stop()
    restarted = score(start_labeler(*tiny_clip.flags, *NO_CACHE).address, contents, 5)
    config = ServerConfig(model_config=tiny_clip.config, pretrained=str(tiny_clip.weights), device="cpu")
    expected = score_in_process(config, contents)
    for rows in (alone, batched, restarted):
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)


def test_backends_agree(start_labeler: Any, tiny_clip: Any, image_bytes: Any, tmp_path: Path) -> None:
    """Teams that share labels must not have to ask which backend made them."""
    contents = [image_bytes(seed, 60 + seed, 90) for seed in range(60)]
    exporting = ("--backend", "onnxruntime", "--export-dir", str(tmp_path), *NO_CACHE)
    torch_rows = score(start_labeler(*tiny_clip.flags, *NO_CACHE).address, contents, 20)
    server = start_labeler(*tiny_clip.flags, *exporting)
    onnx_rows = score(server.address, contents, 20)
    assert "largest cosine difference between onnxruntime and torch: " in server.log.read_text()
    assert np.abs(onnx_rows - torch_rows).max() <= 1e-4
    assert (onnx_rows.argmax(axis=1) == torch_rows.argmax(axis=1)).all()


@pytest.fixture
def scenes(tmp_path: Path) -> list[bytes]:
    """500 drawn scenes as the demo model knows them."""
    from trainer.data.scenes import write_demo_dataset

    write_demo_dataset(tmp_path / "data", num_train=400, num_val=100, seed=5)
    paths = sorted((tmp_path / "data").rglob("*.jpg"))
    assert len(paths) == 500
    return [path.read_bytes() for path in paths]


@pytest.mark.slow
def test_backends_agree_on_500_scenes(start_labeler: Any, scenes: list[bytes], tmp_path: Path) -> None:
    """The same with a trained model, whose scores are spread over the whole range."""
    torch_rows = score(start_labeler("--model", "demo", *NO_CACHE).address, scenes, 50)
    exporting = ("--backend", "onnxruntime", "--export-dir", str(tmp_path / "exported"))
    onnx_rows = score(start_labeler("--model", "demo", *exporting, *NO_CACHE).address, scenes, 50)
    difference = np.abs(onnx_rows - torch_rows).max()
    print(f"largest difference of a probability: {difference:.1e}")
    assert difference <= 1e-4
    assert (onnx_rows.argmax(axis=1) == torch_rows.argmax(axis=1)).all()
