"""Decoding in processes against threads, and against what the cores could do: images and CPU seconds, and their ratios.

python -m benchmarks.decode_pool --view-size 640 --seconds 3

"Alone" is one thread of one process without any pool, its rate times the cores: the ceiling. All are timed in turn,
three rounds in one run, and the medians compared. On a machine that others use too, trust the CPU time per image.
"""

import asyncio
import io
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import cyclopts
import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from labeler_service.config import ServerConfig
from labeler_service.decode_pool import DecodePool
from labeler_service.decode_worker import DecodeTask, WorkerSettings
from labeler_service.decoding import ImageLimits, decode
from labeler_service.images import ModelPreprocessing, Profile, ViewGeometry, global_view

ROUNDS = 3
CONFIG = ServerConfig()
LIMITS = ImageLimits(CONFIG.max_image_bytes, CONFIG.max_image_pixels, CONFIG.max_non_jpeg_pixels)


def main(*, view_size: int = 640, seconds: float = 3.0) -> None:
    """Prints a table and a line of JSON.

    Parameters
    ----------
    view_size
        Side of the squashed image, in pixels.
    seconds
        Time per measurement.
    """
    asyncio.run(_measure(view_size, seconds))


async def _measure(view_size: int, seconds: float) -> None:
    cores = os.cpu_count() or 1
    content = _photo()
    task = DecodeTask(ViewGeometry(Profile.PAPER, view_size, 1, 32, ModelPreprocessing(224)))
    settings = WorkerSettings(LIMITS, CONFIG.decode_memory_bytes, CONFIG.decode_seconds)
    pool = DecodePool(settings, num_workers=cores)
    await pool.start()
    loop = asyncio.get_running_loop()

    def view() -> None:
        global_view(decode(content, LIMITS), task.geometry)

    async def alone() -> float:
        return cores * _rate(view, seconds)

    with ThreadPoolExecutor(cores) as executor:
        measurements: dict[str, Callable[[], Awaitable[float]]] = {
            "alone x cores": alone,
            "threads": lambda: _rate_of_many(lambda: loop.run_in_executor(executor, view), seconds, 2 * cores),
            "processes": lambda: _rate_of_many(lambda: pool.decode(task, content), seconds, 2 * cores),
        }
        rates: dict[str, list[float]] = {name: [] for name in measurements}
        costs: dict[str, list[float]] = {name: [] for name in measurements}
        for _ in range(ROUNDS):
            for name, measure in measurements.items():
                before = _cpu_seconds()
                rate = await measure()
                images = rate * seconds / (cores if name == "alone x cores" else 1)
                rates[name].append(rate)
                costs[name].append((_cpu_seconds() - before) / images)
    pool.close()
    _report(_medians(rates), _medians(costs), view_size, cores)


def _medians(values: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(rounds) for name, rounds in values.items()}


def _cpu_seconds() -> float:
    """Of this process and its workers so far."""
    this = psutil.Process()
    return float(sum(sum(process.cpu_times()[:2]) for process in (this, *this.children())))


def _photo() -> bytes:
    """A JPEG of VOC's usual size with a photograph's amount of detail."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
    noisy = np.clip(np.asarray(coarse) + rng.normal(0, 8, (375, 500, 3)), 0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(noisy).save(content, "JPEG", quality=90)
    return content.getvalue()


def _rate(step: Callable[[], None], seconds: float) -> float:
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        step()
        done += 1
    return done / spent


async def _rate_of_many(step: Callable[[], Awaitable[object]], seconds: float, in_flight: int) -> float:
    start = time.perf_counter()
    done = 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() - start < seconds:
            await step()
            done += 1

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return done / (time.perf_counter() - start)


def _report(rates: dict[str, float], costs: dict[str, float], size: int, cores: int) -> None:
    ceiling, least = rates["alone x cores"], costs["alone x cores"]
    table = Table(
        "", "images/s", "of the ceiling", "CPU ms", "ratio", title=f"decode and squash to {size} px, {cores} cores"
    )
    for name, rate in rates.items():
        cost = costs[name]
        table.add_row(name, f"{rate:.0f}", f"{rate / ceiling:.2f}", f"{cost * 1000:.2f}", f"{cost / least:.2f}")
    Console().print(table)
    print(json.dumps({"view_size": size, "cores": cores, "images_per_second": rates, "cpu_seconds": costs}))


if __name__ == "__main__":
    cyclopts.run(main)
