"""The labeler that a program measures: its flags, its server process, and the same encoder in this process."""

import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from labeler_service.backends import Backend
from labeler_service.config import ServerConfig
from labeler_service.engine import load_backend

FREE = "none"
STOP_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Target:
    """As for `clip-labeler serve`, where not explained."""

    model: str = "demo"
    """open_clip model name, "demo", or "none": an encoder that costs nothing."""
    pretrained: str | None = None
    device: str = "auto"
    backend: str | None = None
    random_weights: bool = False
    """Measure a model whose weights are not at hand: its speed does not depend on them."""
    view_size: int = 96
    """Side of the global view and longer side of the local ones, in pixels."""

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the server's settings that are not its defaults."""
        names = ("device",) if self.model == FREE else ("model", "pretrained", "device", "backend")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def load_encoder(self) -> Backend:
        """What the server has, in this process."""
        if self.model == FREE:
            from benchmarks.free_encoder import FreeEncoder

            return FreeEncoder()
        return load_backend(ServerConfig(**self.settings))


class ServerProcess:
    """A running labeler: `address`, and what it costs."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdout is not None
        ready = process.stdout.readline()  # "serving MODEL at HOST:PORT"
        if not ready:
            raise ValueError(f"the labeler did not start: {log.read_text().strip().splitlines()[-1]}")
        self.address = ready.split()[-1]
        self.log = log
        self.process = psutil.Process(process.pid)

    def memory(self) -> int:
        """Private bytes, decode workers included."""
        return sum(map(private_memory, self._family()))

    def cpu_seconds(self) -> float:
        """Since its start, decode workers included."""
        times = [process.cpu_times() for process in self._family()]
        return float(sum(time.user + time.system for time in times))

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def in_flight(self) -> float:
        """Calls that the server believes not to have ended."""
        port = re.search(r"metrics and probes at \S+ port (\d+)", self.log.read_text())
        assert port is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=60) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        return sum(s.value for family in families for s in family.samples if s.name == "clip_labeler_in_flight_calls")


def private_memory(process: psutil.Process) -> int:
    """Bytes of the process's own, wherever they are: pages of files are not among them, which the system drops and
    reads again as it likes. From /proc, whose counters cost a server under load nothing; psutil's unique set size walks
    all its pages for 20 ms and more.
    """
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return 1024 * sum(int(fields[name].split()[0]) for name in ("RssAnon", "VmSwap"))


@contextmanager
def ready_target(target: Target) -> Iterator[Target]:
    """The target with its random weights in a file, where it wants some."""
    if not target.random_weights:
        yield target
        return
    import open_clip
    import torch

    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save(open_clip.create_model(target.model, pretrained=None).state_dict(), file.name)
        yield replace(target, pretrained=file.name, random_weights=False)


@contextmanager
def running(target: Target, *flags: str, cache: bool = False) -> Iterator[ServerProcess]:
    """Its server, stopped at the end; without its cache by default: the same images come again and again, and shall be
    work each time. Raises ValueError when it does not start."""
    module = ["benchmarks.free_encoder"] if target.model == FREE else ["labeler_service", "serve"]
    settings = [part for name, value in target.settings.items() for part in (f"--{name}", str(value))]
    always = ["--port", "0", "--stop-with-stdin", *([] if cache else ["--cache-bytes", "0"])]
    with started(*module, *always, *settings, *flags) as server:
        yield server


@contextmanager
def started(module: str, *arguments: str) -> Iterator[ServerProcess]:
    """A Python module that serves until its standard input closes."""
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        pipe = subprocess.PIPE
        with log.open("w") as stderr:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, text=True)
        assert process.stdin is not None
        try:
            yield ServerProcess(process, log)
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            finally:
                process.kill()
