"""How much faster or slower onnxruntime runs a model than torch does, by model and batch size.

python -m benchmarks.backends --device cpu --rounds 5

Weights are random but for the demo model: speed does not depend on them. Both backends take turns within each round, so
that what else the machine does hits both alike. Ratios are of medians, over wall-clock time and over CPU time of all
threads; the latter hardly depends on other load, and is what a server has to share with its decoders.
"""

import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cyclopts
import numpy as np
import open_clip
import torch
from rich.console import Console
from rich.table import Table

from labeler_service.backends import Backend
from labeler_service.backends.onnx_backend import OnnxBackend
from labeler_service.backends.torch_backend import TorchBackend
from labeler_service.config import DEMO_MODEL, ServerConfig

MODELS = ("demo@96", "RN50@224", "ViT-B-32@224")


@dataclass(frozen=True)
class Row:
    """Seconds per batch, medians over the rounds."""

    model: str
    batch: int
    torch_seconds: float
    onnx_seconds: float
    torch_cpu_seconds: float
    onnx_cpu_seconds: float
    largest_difference: float

    @property
    def speedup(self) -> float:
        return self.torch_seconds / self.onnx_seconds

    @property
    def cpu_speedup(self) -> float:
        return self.torch_cpu_seconds / self.onnx_cpu_seconds


def main(
    *,
    models: tuple[str, ...] = MODELS,
    batches: tuple[int, ...] = (1, 8, 32),
    device: str = "auto",
    rounds: int = 5,
) -> None:
    """Prints a table and a line of JSON.

    Parameters
    ----------
    models
        open_clip names, each with the side of its square input in pixels: NAME@SIZE.
    batches
        Images per batch.
    device
        As for `clip-labeler serve`.
    rounds
        Batches that each backend runs per row, in turns.
    """
    rows = []
    for spec in models:
        name, _, size = spec.partition("@")
        with tempfile.TemporaryDirectory() as folder:
            config = _config(name, device, Path(folder))
            backends: list[Backend] = [TorchBackend(config), OnnxBackend(config)]
            rows += [_compare(spec, backends, int(size), batch, rounds) for batch in batches]
    _report(rows, device)


def _config(name: str, device: str, folder: Path) -> ServerConfig:
    if name == DEMO_MODEL:
        return ServerConfig(device=device, backend="onnxruntime", export_dir=folder)
    torch.save(open_clip.create_model(name).state_dict(), folder / "weights.pt")
    pretrained = str(folder / "weights.pt")
    return ServerConfig(model=name, pretrained=pretrained, device=device, backend="onnxruntime", export_dir=folder)


def _compare(spec: str, backends: list[Backend], size: int, batch: int, rounds: int) -> Row:
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    first = [backend.encode_images(pixels, backend.info.normalization) for backend in backends]  # Also warms them.
    wall: list[list[float]] = [[], []]
    cpu: list[list[float]] = [[], []]
    for _ in range(rounds):
        for place, backend in enumerate(backends):
            start, cpu_start = time.perf_counter(), time.process_time()
            backend.encode_images(pixels, backend.info.normalization)
            wall[place].append(time.perf_counter() - start)
            cpu[place].append(time.process_time() - cpu_start)
    difference = float(np.abs(first[0] - first[1]).max())
    return Row(spec, batch, *map(statistics.median, (*wall, *cpu)), difference)


def _report(rows: list[Row], device: str) -> None:
    table = Table("model", "batch", "torch ms", "speed-up", "by CPU time", "difference", title=f"onnxruntime, {device}")
    for row in rows:
        numbers = (f"{row.torch_seconds * 1000:.1f}", f"{row.speedup:.2f} x", f"{row.cpu_speedup:.2f} x")
        table.add_row(row.model, str(row.batch), *numbers, f"{row.largest_difference:.1e}")
    Console().print(table)
    print(json.dumps({"device": device, "cores": os.cpu_count(), "rows": [vars(row) for row in rows]}))


if __name__ == "__main__":
    cyclopts.run(main)
