"""Fixtures for all areas: a tiny random CLIP, real labeler processes that serve it, and images."""

import io
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

START_SECONDS = 240
STOP_SECONDS = 30

# A busy machine is no fault of the code: tests are not timed.
settings.register_profile("ccd", deadline=None)
settings.load_profile("ccd")


@dataclass(frozen=True)
class TinyClip:
    """A small ModifiedResNet CLIP with random weights: native resolution 64, embeddings of 32.

    `flags` are what `labeler_service serve` needs to serve it.
    """

    config: Path
    weights: Path

    @property
    def flags(self) -> list[str]:
        return ["--model-config", str(self.config), "--pretrained", str(self.weights)]


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> TinyClip:
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("tiny_clip")
    config, weights = folder / "tiny-resnet.json", folder / "tiny-resnet.pt"
    architecture = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "patch_size": None},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    config.write_text(json.dumps(architecture))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**architecture)
    for name, parameter in model.named_parameters():
        if name.endswith("bn3.weight"):  # Zero at first, so that the image would hardly matter.
            torch.nn.init.ones_(parameter)
    torch.save(model.state_dict(), weights)
    return TinyClip(config, weights)


class Labeler:
    """A running server. `address` is host:port; `process` its process, whose standard error is in `log`."""

    def __init__(self, flags: list[str], log: Path, port: int, program: Sequence[str]) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, *program, "serve", "--port", str(port), "--stop-with-stdin", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("wb"),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        self.line = self._first_line()
        self.address = self.line.rsplit(" ", 1)[-1]

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=START_SECONDS).strip()
        except queue.Empty:
            line = ""
        if not line:
            self.stop()
            raise RuntimeError(f"the labeler did not start:\n{self.log.read_text()}")
        return line

    def stop(self) -> int:
        """Closes the server's standard input, as the end of its parent would, and returns the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


StartLabeler = Callable[..., Labeler]


@pytest.fixture(scope="session")
def start_labeler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartLabeler]:
    """start_labeler(*flags, port=0): a process of `python -m labeler_service serve`; all are stopped at the end.

    program: another one than `-m labeler_service` that takes the same command line.
    """
    folder = tmp_path_factory.mktemp("labelers")
    started: list[Labeler] = []

    def start(*flags: str, port: int = 0, program: Sequence[str] = ("-m", "labeler_service")) -> Labeler:
        labeler = Labeler(list(flags), folder / f"{len(started)}.log", port, program)
        started.append(labeler)
        return labeler

    yield start
    for labeler in started:
        if labeler.process.poll() is None:
            labeler.stop()


@pytest.fixture(scope="session")
def labeler(start_labeler: StartLabeler, tiny_clip: TinyClip) -> Labeler:
    """A server of the tiny CLIP whose rows are bit for bit reproducible, each computed. Shared: leave it running."""
    return start_labeler(*tiny_clip.flags, "--reproducible", "--cache-bytes", "0")


@pytest.fixture(scope="session")
def tells_nothing_internal() -> Callable[[Any], None]:
    """tells_nothing_internal(error): fails when an error that the server sent names its paths, code or secrets."""

    def check(error: Any) -> None:
        text = f"{error.details()} {error.trailing_metadata()}"
        for internal in ("Traceback", "labeler_service", ".py", "<class", "_pb2", "token-", str(Path.home()), "/tmp"):
            assert internal not in text

    return check


@pytest.fixture(scope="session")
def image_bytes() -> Callable[..., bytes]:
    """image_bytes(seed, width, height, format="JPEG"): an encoded image of coloured blocks, different for each seed."""

    def draw(seed: int = 0, width: int = 96, height: int = 80, format: str = "JPEG") -> bytes:
        blocks = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        image = Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)
        content = io.BytesIO()
        image.save(content, format)
        return content.getvalue()

    return draw
