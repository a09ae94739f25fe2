"""What only a GPU can show: precision, overlap of copies, survival of a full memory, and the encoder's rate R.

python -m benchmarks.gpu_check --device cuda

Weights are random: neither speed nor the size of rounding errors depends on training. Prints a table, writes
benchmarks/results/DATE-HARDWARE.json, and ends with status 1 where precision or survival fails.
"""

import asyncio
import datetime
import json
import re
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import cyclopts
import numpy as np
import open_clip
import torch
from rich.console import Console
from rich.table import Table

from labeler_service.backends import Pending
from labeler_service.backends.torch_backend import TorchBackend
from labeler_service.batching import Batcher, BatchLimits
from labeler_service.config import ServerConfig
from labeler_service.errors import ItemError
from labeler_service.images import Pixels

RESULTS = Path(__file__).parent / "results"
MODELS = ("RN50x64@640", "ViT-L-14-336@336", "ViT-B-32@224")
# float16 has 11 bits of mantissa; the errors of some hundred layers add up.
MAX_DIFFERENCE = 2e-2


@dataclass(frozen=True)
class Check:
    """`difference`: largest distance of a float16 embedding from its float32 one, which bounds that of any cosine.
    `rate`: images per second with two batches in flight (R), `overlap`: over one batch at a time."""

    model: str
    batch: int
    difference: float
    rate: float
    overlap: float
    survives_full_memory: bool


def main(*, models: tuple[str, ...] = MODELS, device: str = "cuda", batch: int = 32, batches: int = 20) -> None:
    """Checks each model.

    Parameters
    ----------
    models
        open_clip names, each with the side of its square input in pixels: NAME@SIZE.
    device
        cuda or cuda:N.
    batch
        Images per batch.
    batches
        Batches per measurement.
    """
    checks = [_check(spec, device, batch, batches) for spec in models]
    _report(checks, torch.cuda.get_device_name(device))
    if any(check.difference > MAX_DIFFERENCE or not check.survives_full_memory for check in checks):
        raise SystemExit(1)


def _check(spec: str, device: str, batch: int, batches: int) -> Check:
    name, _, size = spec.partition("@")
    pixels = np.random.default_rng(0).integers(0, 256, (batch, int(size), int(size), 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.pt")
        torch.save(open_clip.create_model(name).state_dict(), weights)
        exact = TorchBackend(ServerConfig(model=name, pretrained=weights, device=device, dtype="float32"))
        expected = exact.encode_images(pixels[:4], exact.info.normalization)
        del exact
        backend = TorchBackend(ServerConfig(model=name, pretrained=weights, device=device, dtype="float16"))
    distances = np.linalg.norm(backend.encode_images(pixels[:4], backend.info.normalization) - expected, axis=1)
    _rate(backend, pixels, 3, in_flight=2)  # warm
    rate = _rate(backend, pixels, batches, in_flight=2)
    return Check(
        model=spec,
        batch=batch,
        difference=float(distances.max()),
        rate=rate,
        overlap=rate / _rate(backend, pixels, batches, in_flight=1),
        survives_full_memory=_survives_full_memory(backend, pixels, device),
    )


def _rate(backend: TorchBackend, pixels: Pixels, batches: int, *, in_flight: int) -> float:
    """Images per second."""
    start = time.perf_counter()
    pending: deque[Pending] = deque()
    for _ in range(batches):
        pending.append(backend.submit(pixels, backend.info.normalization))
        if len(pending) == in_flight:
            pending.popleft().result()
    while pending:
        pending.popleft().result()
    return batches * len(pixels) / (time.perf_counter() - start)


def _survives_full_memory(backend: TorchBackend, pixels: Pixels, device: str) -> bool:
    """Whether all images of a batch are embedded when only one of them fits, or half of them."""
    alone, together = (_peak_bytes(backend, some, device) for some in (pixels[:1], pixels))
    fraction = (alone + together) / 2 / torch.cuda.get_device_properties(device).total_memory

    async def embed() -> list[bool]:
        batcher = Batcher(backend, BatchLimits(max_pixels=pixels[..., 0].size, max_size=len(pixels), padded=False))
        encoded = await asyncio.gather(*(batcher.encode(view, backend.info.normalization) for view in pixels))
        await batcher.close()
        return [not isinstance(one.outcome, ItemError) for one in encoded]

    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(fraction, device)
    try:
        return all(asyncio.run(embed()))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _peak_bytes(backend: TorchBackend, pixels: Pixels, device: str) -> int:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    backend.encode_images(pixels, backend.info.normalization)
    return torch.cuda.max_memory_reserved(device)


def _report(checks: list[Check], hardware: str) -> None:
    table = Table("model", "batch", "float16 - float32", "images/s (R)", "overlap", "full memory", title=hardware)
    for check in checks:
        numbers = (f"{check.difference:.1e}", f"{check.rate:.0f}", f"{check.overlap:.2f} x")
        table.add_row(check.model, str(check.batch), *numbers, "survives" if check.survives_full_memory else "FAILS")
    Console().print(table)
    content = {"hardware": hardware, "torch": torch.__version__, "checks": [asdict(check) for check in checks]}
    RESULTS.mkdir(exist_ok=True)
    file_name = f"{datetime.date.today()}-{re.sub(r'[^A-Za-z0-9]+', '-', hardware)}.json"
    (RESULTS / file_name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {RESULTS / file_name}")


if __name__ == "__main__":
    cyclopts.run(main)
