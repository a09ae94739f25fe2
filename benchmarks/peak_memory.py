"""The most memory that this process, or its GPU, held while something ran."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

INTERVAL = 0.01  # seconds; a look takes a thousandth of it


@dataclass
class Peak:
    """Bytes: resident of the process, and of torch's tensors on the GPU (0 without one)."""

    host: int = 0
    gpu: int = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Yields what is filled in when the block ends."""
    peak, process, ended = Peak(), psutil.Process(), threading.Event()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            peak.host = max(peak.host, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
        peak.host = max(peak.host, process.memory_info().rss)
        peak.gpu = torch.cuda.max_memory_allocated() if cuda else 0
