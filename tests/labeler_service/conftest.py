"""Fixtures of the labeler's tests: a raw gRPC stub of the shared server, and options that it accepts."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub


@pytest.fixture(scope="session")
def channel(labeler: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(labeler.address) as channel:
        yield channel


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> Any:
    return LabelerServiceStub(channel)


@pytest.fixture(scope="session")
def score_options() -> Callable[..., pb.ScoreOptions]:
    """score_options(stub, **changes): options for probabilities of cat, dog and tree, with some fields replaced."""

    def create(stub: Any, **changes: Any) -> pb.ScoreOptions:
        vocabulary = stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=["cat", "dog", "tree"]))
        fields = {
            "vocabulary_id": vocabulary.vocabulary_id,
            "preprocessing": pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER),
            "output": pb.ScoreOptions.OUTPUT_PROBABILITIES,
            **changes,
        }
        return pb.ScoreOptions(**fields)

    return create


@pytest.fixture(scope="session")
def options(stub: Any, score_options: Callable[..., pb.ScoreOptions]) -> pb.ScoreOptions:
    return score_options(stub)
