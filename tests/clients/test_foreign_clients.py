"""Clients that share no code with ours, over TLS with a token: the same scores, the same status codes."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from grpclib import GRPCError
from grpclib.client import StreamStreamMethod, UnaryUnaryMethod

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "clients" / "examples"
BUF = "@bufbuild/buf@1.75.0"
CLASSES = ["cat", "dog", "tree"]
TOKEN = "token-of-the-foreign-clients"
INSTALL_SECONDS, RUN_SECONDS = 240, 60
CODES = {
    "ok": grpc.StatusCode.OK,
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "cancel": grpc.StatusCode.CANCELLED,
    "deadline": grpc.StatusCode.DEADLINE_EXCEEDED,
    "too_large": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "unimplemented": grpc.StatusCode.UNIMPLEMENTED,
    "wrong_token": grpc.StatusCode.UNAUTHENTICATED,
}
EXPECTED = {name: code.value[0] for name, code in CODES.items()}


@dataclass(frozen=True)
class Setting:
    """A server, what callers need, and what it answered to grpcio."""

    address: str
    ca: Path
    image: Path
    scores: list[float]

    @property
    def arguments(self) -> list[str]:
        return [self.address, str(self.ca), str(self.image), *CLASSES]


@pytest.fixture(scope="module")
def setting(
    tmp_path_factory: pytest.TempPathFactory, start_labeler: Any, tiny_clip: Any, image_bytes: Callable[..., bytes]
) -> Setting:
    folder = tmp_path_factory.mktemp("foreign")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "server.pem")
    issued.private_key_pem.write_to_path(folder / "server.key")
    (folder / "tokens").write_text(f"foreign {TOKEN}\n")
    (folder / "image.jpg").write_bytes(image_bytes())
    flags = ("--tls-cert", folder / "server.pem", "--tls-key", folder / "server.key", "--token-file", folder / "tokens")
    labeler = start_labeler(*tiny_clip.flags, *map(str, flags), "--max-request-bytes", str(4 * 2**20))
    scores = score_with_grpcio(labeler.address, authority.cert_pem.bytes(), image_bytes())
    return Setting(labeler.address, folder / "ca.pem", folder / "image.jpg", scores)


def score_with_grpcio(address: str, ca: bytes, image: bytes) -> list[float]:
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(ca)) as channel:
        stub = LabelerServiceStub(channel)
        vocabulary = stub.CreateVocabulary(pb.CreateVocabularyRequest(class_names=CLASSES), metadata=metadata)
        options = pb.ScoreOptions(
            vocabulary_id=vocabulary.vocabulary_id,
            preprocessing=pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER),
            output=pb.ScoreOptions.OUTPUT_PROBABILITIES,
        )
        request = pb.ScoreImagesRequest(options=options, images=[pb.Image(content=image)])
        response = stub.ScoreImages(request, metadata=metadata)
    return list(np.frombuffer(response.results[0].scores.data, "<f4"))


def run(*command: str, **environment: str) -> str:
    """What the command printed; fails with what it said when the command does."""
    completed = subprocess.run(
        command,
        env={**os.environ, "LABELER_TOKEN": TOKEN, **environment},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def check_scores(output: str, setting: Setting) -> None:
    lines = [line.split() for line in output.splitlines()]
    assert [name for _, name in lines] == CLASSES
    np.testing.assert_allclose([float(score) for score, _ in lines], setting.scores, atol=1e-6)


def npm_install(folder: Path, *packages: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    command = ["npm", "install", "--no-audit", "--no-fund", *packages]
    completed = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if completed.returncode != 0:
        pytest.skip(f"npm cannot install: {completed.stderr[-300:]}")


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its packages and the test's cases."""
    root = tmp_path_factory.mktemp("node")
    shutil.copytree(ROOT / "proto", root / "proto")
    folder = Path(shutil.copytree(EXAMPLES / "node", root / "clients" / "examples" / "node"))
    shutil.copy(Path(__file__).with_name("foreign") / "cases.js", folder)
    npm_install(folder)
    return folder


def test_node_scores(setting: Setting, node_folder: Path) -> None:
    check_scores(run("node", str(node_folder / "score.js"), *setting.arguments), setting)


def test_node_codes(setting: Setting, node_folder: Path) -> None:
    output = run("node", str(node_folder / "cases.js"), setting.address, str(setting.ca))
    assert json.loads(output) == EXPECTED


def test_buf_curl_scores(setting: Setting, tmp_path: Path) -> None:
    npm_install(tmp_path, BUF)
    path = f"{tmp_path / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
    check_scores(run(str(EXAMPLES / "buf_curl.sh"), *setting.arguments, PATH=path), setting)


def test_grpclib_scores(setting: Setting) -> None:
    check_scores(run(sys.executable, str(EXAMPLES / "python_grpclib.py"), *setting.arguments), setting)


def test_grpclib_codes(setting: Setting) -> None:
    assert asyncio.run(grpclib_codes(load_example(), setting)) == EXPECTED


def load_example() -> ModuleType:
    spec = spec_from_file_location("python_grpclib", EXAMPLES / "python_grpclib.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def grpclib_codes(example: ModuleType, setting: Setting) -> dict[str, int]:
    metadata = {"authorization": f"Bearer {TOKEN}"}

    async with example.connect(setting.address, str(setting.ca)) as channel:

        async def unary(name: str, request: Any, response: Any, metadata: dict[str, str] = metadata) -> int:
            try:
                await UnaryUnaryMethod(channel, f"{example.SERVICE}/{name}", type(request), response)(
                    request, metadata=metadata, timeout=RUN_SECONDS
                )
            except GRPCError as error:
                return int(error.status.value)
            return 0

        async def endless(timeout: float) -> None:
            """A call that the server cannot end, since its first message never comes."""
            method = StreamStreamMethod(
                channel,
                f"{example.SERVICE}/ScoreImageStream",
                pb.ScoreImageStreamRequest,
                pb.ScoreImageStreamResponse,
            )
            async with method.open(metadata=metadata, timeout=timeout) as stream:
                await stream.send_request()
                await stream.recv_message()

        async def cancelled() -> int:
            task = asyncio.create_task(endless(RUN_SECONDS))
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return EXPECTED["cancel"] if task.cancelled() else -1

        async def too_late() -> int:
            with pytest.raises(asyncio.TimeoutError):
                await endless(0.3)
            return EXPECTED["deadline"]

        large = pb.ScoreImagesRequest(images=[pb.Image(content=bytes(5 * 2**20))])
        info = pb.GetServerInfoRequest()
        return {
            "ok": await unary("GetServerInfo", info, pb.GetServerInfoResponse),
            "invalid": await unary("CreateVocabulary", pb.CreateVocabularyRequest(), pb.CreateVocabularyResponse),
            "cancel": await cancelled(),
            "deadline": await too_late(),
            "too_large": await unary("ScoreImages", large, pb.ScoreImagesResponse),
            "unimplemented": await unary("NoSuchMethod", info, pb.GetServerInfoResponse),
            "wrong_token": await unary("GetServerInfo", info, pb.GetServerInfoResponse, {"authorization": "Bearer x"}),
        }
