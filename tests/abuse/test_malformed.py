"""Bytes that are no message and no HTTP/2: the server answers, stays, and does not grow."""

import random
import socket
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from clip_labeler.v1 import labeler_pb2 as pb

SERVICE = "/clip_labeler.v1.LabelerService"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MIB = 2**20
WAIT_SECONDS = 20
SEED = 20240229
# What a caller's mistake may be called. UNKNOWN and INTERNAL would mean that the server was surprised.
EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def messages(image: bytes) -> dict[str, bytes]:
    """A good request of each RPC, by its name."""
    matrix = pb.Matrix(rows=1, columns=2, data=bytes(8))
    preprocessing = pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER)
    options = pb.ScoreOptions(
        vocabulary_id="a" * 64,
        preprocessing=preprocessing,
        output=pb.ScoreOptions.OUTPUT_PROBABILITIES,
        calibration=pb.Calibration(bias=matrix, floor=0.5),
    )
    images = [pb.Image(id="a", content=image), pb.Image(id="b", embedding=matrix)]
    crops = pb.CropItem(id="a", boxed_image=pb.BoxedImage(content=image, boxes=[pb.Box(x1=9, y1=9)]))
    requests = {
        "GetServerInfo": pb.GetServerInfoRequest(),
        "CreateVocabulary": pb.CreateVocabularyRequest(class_names=["cat", "dog"], prompt_templates=["a {}"]),
        "ScoreImages": pb.ScoreImagesRequest(options=options, images=images),
        "ScoreImageStream": pb.ScoreImageStreamRequest(options=options, images=images),
        "ScoreCrops": pb.ScoreCropsRequest(options=options, items=[crops]),
        "EstimateBias": pb.EstimateBiasRequest(
            gate=pb.EntropyGate(max_entropy=1, unit=pb.EntropyGate.UNIT_NATS),
            probabilities=matrix,
            statistics=pb.BiasStatistics(sums=[0.5, 0], counts=[1, 0], num_rows=1),
        ),
        "ApplyBias": pb.ApplyBiasRequest(probabilities=matrix, calibration=pb.Calibration(bias=matrix)),
        "EmbedImages": pb.EmbedImagesRequest(preprocessing=preprocessing, images=images[:1]),
    }
    return {name: request.SerializeToString() for name, request in requests.items()}


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One to eight changes; each overwrites, inserts, cuts out or repeats some bytes."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        start = rng.randint(0, len(changed))
        stop = min(len(changed), start + rng.choice([1, 1, 2, 8, 64]))
        noise = rng.randbytes(rng.choice([1, 1, 2, 8]))
        changed[start:stop] = rng.choice([noise, noise + changed[start:stop], b"", changed[start:stop] * 2])
    return bytes(changed)


def code_of(call: Any) -> grpc.StatusCode:
    """Reads the call to its end."""
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        pass
    return call.code()


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_messages(
    target: Any, image_bytes: Callable[..., bytes], tells_nothing_internal: Any, count: int
) -> None:
    good = messages(image_bytes(0, 16, 16))
    rng = random.Random(SEED)
    memory = None
    codes = set()
    with grpc.insecure_channel(target.address) as channel:
        methods = {name: channel.stream_stream(f"{SERVICE}/{name}") for name in good}
        for index in range(count):
            name = rng.choice(list(good))
            content = mutate(good[name], rng)
            call = methods[name](iter([content]), timeout=WAIT_SECONDS)
            code = code_of(call)
            assert code in EXPECTED, f"case {index} of seed {SEED}: {name} {content.hex()}"
            codes.add(code)
            tells_nothing_internal(call)
            if index == count // 2:  # Half of them warm up the allocator.
                memory = target.memory()
    assert len(codes) > 2, "the cases are too much alike"
    assert memory is not None
    assert target.memory() - memory < 32 * MIB
    assert target.is_serving()
    assert "Traceback" not in target.labeler.log.read_text()


@pytest.mark.parametrize("count", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_random_bytes_on_the_port(target: Any, count: int) -> None:
    """Half of them after the preface of HTTP/2, so that they are taken for frames."""
    host, port = target.address.split(":")
    rng = random.Random(SEED)
    memory = target.memory()
    for index in range(count):
        with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
            connection.sendall((PREFACE if index % 2 else b"") + rng.randbytes(rng.randint(1, 2000)))
    assert target.is_serving()
    assert target.memory() - memory < 32 * MIB
    assert "Traceback" not in target.labeler.log.read_text()


@pytest.mark.parametrize("method", [f"{SERVICE}/ScoreImages", f"{SERVICE}/ScoreCrops", "/grpc.health.v1.Health/Watch"])
def test_malformed_is_the_callers_mistake(target: Any, tells_nothing_internal: Any, method: str) -> None:
    """gRPC calls it UNKNOWN, names the class and logs a traceback: anybody could fill the log."""
    with grpc.insecure_channel(target.address) as channel:
        call = channel.stream_stream(method)(iter([b"\xff"]), timeout=WAIT_SECONDS)
        assert code_of(call) == grpc.StatusCode.INVALID_ARGUMENT
    assert call.details() == "the bytes are no message of the type that the method takes"
    tells_nothing_internal(call)
