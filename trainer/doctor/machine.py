"""Processors, graphics cards, their speed in short, and room for weights and data."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trainer.config import MAX_WORKERS
from trainer.data.transforms import load_squashed
from trainer.doctor.finding import Finding
from trainer.session import cache_folder

# The kernel's word on NVIDIA's driver, there whether or not its tools are.
DRIVER = Path("/proc/driver/nvidia/version")
# A container's share of the processors' time: microseconds of each period, or "max" (cgroup v2).
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
# The largest CLIP of open_clip takes 10 GB; the bundled models none.
MIN_FREE_GB = 10
# A ResNet-50 at 448 px with its batch of 16 and Adam's state.
MIN_GPU_GB = 6
# Fewer processors than this keep a graphics card waiting for pixels.
MIN_PROCESSORS_PER_GPU = 4
PROBE_SECONDS = 0.5


def check_machine() -> Iterator[Finding]:
    """What this process may use, and how fast that is."""
    processors = usable_processors()
    yield _processors(processors)
    yield from _graphics()
    yield Finding("decoding", "ok", f"{_decode_rate(min(processors, MAX_WORKERS)):.0f} photographs of 1 megapixel/s")
    yield Finding("cpu speed", "ok", f"{_matmul_rate(torch.device('cpu'), 1024):.0f} GFLOP/s, float32")
    yield _folder("cache", cache_folder())
    yield _folder("weights", Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"))


def usable_processors(limit: Path = CPU_LIMIT) -> int:
    """What this process may use: a container often gets few of a large machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if limit.exists():
        quota, period = limit.read_text().split()
        if quota != "max":
            usable = min(usable, max(1, int(quota) // int(period)))
    return usable


def _processors(usable: int) -> Finding:
    text = f"{usable} of {os.cpu_count()}"
    if torch.cuda.is_available() and usable < MIN_PROCESSORS_PER_GPU * torch.cuda.device_count():
        advice = f"give it {MIN_PROCESSORS_PER_GPU} for each graphics card"
        return Finding("processors", "warn", f"{text}: decode-bound, the card will wait for pixels", advice)
    return Finding("processors", "ok", text)


def _graphics() -> Iterator[Finding]:
    driver = _driver()
    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "processors alone"
        if driver:
            text = f"driver {driver}, but torch {torch.__version__}, built for {built}, sees no card"
            yield Finding("gpu", "fail", text, "install torch for this driver: https://pytorch.org/get-started")
        else:
            text = "none: the bundled models train in minutes, a ResNet on thousands of photographs in days"
            yield Finding("gpu", "warn", text, "use a machine with an NVIDIA card for large sets")
        return
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        free, total = (value / 1e9 for value in torch.cuda.mem_get_info(device))
        speed = _matmul_rate(device, 4096, torch.bfloat16) / 1000
        text = f"{torch.cuda.get_device_name(device)}, {free:.0f} of {total:.0f} GB free, driver {driver or 'unknown'}"
        text += f", CUDA {torch.version.cuda}, {speed:.0f} TFLOP/s in bfloat16"
        if free < MIN_GPU_GB:
            yield Finding(f"gpu {number}", "warn", text, f"{MIN_GPU_GB} GB should be free: see nvidia-smi")
        else:
            yield Finding(f"gpu {number}", "ok", text)


def _driver() -> str | None:
    """The version of NVIDIA's driver; None where there is none."""
    if not DRIVER.exists():
        return None
    words = DRIVER.read_text().split()
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")


def _decode_rate(threads: int) -> float:
    """Photographs per second from a JPEG in memory to the classifier's pixels, by as many threads as a run has."""
    content = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1152, 864), Image.Resampling.BICUBIC).save(content, "JPEG")
    data = content.getvalue()
    with ThreadPoolExecutor(threads) as pool:
        return threads * _rate(lambda: list(pool.map(lambda _: load_squashed(data, 448), range(threads))))


def _matmul_rate(device: torch.device, side: int, precision: torch.dtype = torch.float32) -> float:
    """Billions of operations per second of a product of two matrices."""
    matrix = torch.ones(side, side, device=device, dtype=precision)

    def multiply() -> None:
        torch.mm(matrix, matrix)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return 2 * side**3 / 1e9 * _rate(multiply)


def _rate(work: Callable[[], object]) -> float:
    """Calls per second, after one that does not count."""
    work()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() < start + PROBE_SECONDS:
        work()
        calls += 1
    return calls / (time.perf_counter() - start)


def _folder(subject: str, folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        advice = "set " + ("CCD_CACHE" if subject == "cache" else "HF_HOME") + " to a folder that can be written"
        return Finding(subject, "fail", f"{folder} cannot be written: {error.strerror}", advice)
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{folder}, {free:.0f} GB free"
    if free < MIN_FREE_GB:
        return Finding(subject, "warn", text, f"large models and shards need {MIN_FREE_GB} GB")
    return Finding(subject, "ok", text)
