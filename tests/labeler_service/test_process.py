"""The server as a process: admission, stopping, and what its command line says to mistakes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from google.rpc import error_details_pb2, status_pb2

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from labeler_service import cpu

ImageBytes = Callable[..., bytes]


def values(message: pb.Matrix) -> np.ndarray:
    return np.frombuffer(message.data, "<f4").reshape(message.rows, message.columns)


def images(*contents: bytes) -> list[pb.Image]:
    return [pb.Image(id=str(i), content=content) for i, content in enumerate(contents)]


def score(stub: Any, options: pb.ScoreOptions, *contents: bytes) -> list[pb.ImageResult]:
    return list(stub.ScoreImages(pb.ScoreImagesRequest(options=options, images=images(*contents))).results)


def call_status(error: Any) -> status_pb2.Status:
    trailers = dict(error.trailing_metadata())
    return status_pb2.Status.FromString(trailers["grpc-status-details-bin"])


@pytest.fixture(scope="module")
def small_server(start_labeler: Any, tiny_clip: Any) -> Any:
    return start_labeler(*tiny_clip.flags, "--max-requests-in-flight", "2", "--cache-bytes", "0")


def test_batched_scores_equal_one_by_one_without_padding(
    score_options: Any, small_server: Any, image_bytes: ImageBytes
) -> None:
    with grpc.insecure_channel(small_server.address) as channel:
        stub = LabelerServiceStub(channel)
        options = score_options(stub)
        contents = [image_bytes(seed) for seed in range(16)]
        together = [values(r.scores) for r in score(stub, options, *contents)]
        alone = [values(score(stub, options, content)[0].scores) for content in contents]
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_callers_come_before_the_model_and_the_model_before_decoding(small_server: Any) -> None:
    """On a CPU, a decoder that takes a core from a batch holds up the threads of the batch on all other cores."""
    server = psutil.Process(small_server.process.pid)
    threads = {os.getpriority(os.PRIO_PROCESS, thread.id) - server.nice() for thread in server.threads()}
    decoders = {worker.nice() - server.nice() for worker in server.children()}
    assert (threads, decoders) == ({0, cpu.NICENESS}, {min(cpu.DECODE_NICENESS, 19 - server.nice())})


def test_overload_is_refused_at_once(score_options: Any, small_server: Any, image_bytes: ImageBytes) -> None:
    """Queued without end, every caller would time out and the work for all of them be done in vain."""
    with grpc.insecure_channel(small_server.address) as channel:
        stub = LabelerServiceStub(channel)
        contents = [image_bytes(seed) for seed in range(100, 164)]  # none that the cache has
        request = pb.ScoreImagesRequest(options=score_options(stub), images=images(*contents))
        calls = [stub.ScoreImages.future(request) for _ in range(6)]
        codes = [call.code() for call in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        refused = calls[codes.index(grpc.StatusCode.RESOURCE_EXHAUSTED)]
        retry = error_details_pb2.RetryInfo()
        assert call_status(refused).details[1].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() > 0
        assert len(stub.ScoreImages(request).results) == 64, "and the count went down again"


@pytest.mark.parametrize("attempt", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in range(2, 11))])
def test_sigterm_lets_calls_end(
    attempt: int, score_options: Any, start_labeler: Any, tiny_clip: Any, image_bytes: ImageBytes
) -> None:
    server = start_labeler(*tiny_clip.flags)
    with grpc.insecure_channel(server.address) as channel:
        stub = LabelerServiceStub(channel)
        content = image_bytes(0, 300, 300)
        options = score_options(stub, preprocessing=pb.Preprocessing(profile=1, view_size=512))
        request = pb.ScoreImagesRequest(options=options, images=images(*[content] * 16))
        calls = [stub.ScoreImages.future(request) for _ in range(3)]
        score(stub, options, content)  # All of them have arrived by now.
        server.process.send_signal(signal.SIGTERM)
        assert [len(call.result().results) for call in calls] == [16] * 3
        assert server.process.wait(30) == 0


def test_end_of_standard_input_stops_it(start_labeler: Any, tiny_clip: Any) -> None:
    """A server would outlive a parent that was killed."""
    server = start_labeler(*tiny_clip.flags)
    assert server.stop() == 0


def test_port_in_use(labeler: Any, tiny_clip: Any) -> None:
    """With so_reuseport a second server would silently take half of the connections."""
    port = labeler.address.rsplit(":", 1)[1]
    status, message = run_cli("serve", *tiny_clip.flags, "--port", port)
    assert status == 2
    assert f"cannot listen on 127.0.0.1:{port}: is the port in use?" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prot", "1"], "Did you mean --port?"),
        (["--port", "x"], "--port"),
        (["--host", "0.0.0.0"], "--insecure"),
        (["--dtype", "int8"], "float16"),
        (["--max-classes", "0"], "--max-classes must be positive"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], message: str) -> None:
    status, line = run_cli("serve", *flags)
    assert status == 2
    assert message in line
    assert line.count("\n") == 1


def test_environment() -> None:
    status, line = run_cli("serve", "--dtype", "int8", LABELER_PORT="x")
    assert status == 2
    assert "LABELER_PORT" in line or "int8" in line
    assert run_cli("serve", LABELER_PORT="x") == (
        2, 'clip-labeler: Invalid value for LABELER_PORT from env: unable to convert "x" into int.\n'
    )  # fmt: skip


def test_free_port_is_loopback_only(labeler: Any) -> None:
    """Plain text must not leave the machine unasked."""
    port = int(labeler.address.rsplit(":", 1)[1])
    with socket.socket() as other:
        other.settimeout(2)
        outside = next(iter(set(socket.gethostbyname_ex(socket.gethostname())[2]) - {"127.0.0.1"}), None)
        if outside is None:
            pytest.skip("this machine has loopback only")
        assert other.connect_ex((outside, port)) != 0


def run_cli(*arguments: str, **environment: str) -> tuple[int, str]:
    completed = subprocess.run(
        [sys.executable, "-m", "labeler_service", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return completed.returncode, completed.stderr
