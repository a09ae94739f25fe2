"""Seconds and memory of indexing a tree of many small files, as a run does it: found, read, hashed, decoded, written.

python -m benchmarks.index                      # a million files of 1 kB: 4 GB of disk for the time that it takes
python -m benchmarks.index --files 20000 --side 1000
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import cyclopts
import numpy as np
import psutil
from PIL import Image

from benchmarks.report import machine
from trainer.config import MAX_WORKERS

MAX_SECONDS, MAX_BYTES = 60, 500e6  # for a million files
FILES_PER_FOLDER = 1000
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Figures:
    """Of one indexing. cpu_seconds: its processors' time, which others that use them change little. disk_bytes: read
    from the disk and not from the system's cache. peak_bytes: the largest sum of the resident memory of all its
    processes, which counts what they share several times."""

    files: int
    usable: int
    seconds: float
    cpu_seconds: float
    disk_bytes: int
    peak_bytes: int


def main(*, files: int = 1_000_000, side: int = 32, workers: int | None = None, folder: Path | None = None) -> int:
    """Prints what it took and a line of JSON; exit status 1 when it is over 60 s or 500 MB.

    Parameters
    ----------
    files
        JPEGs, every one with other bytes, a thousand in a folder.
    side
        Of the pictures, in pixels.
    workers
        Files at a time; as many as a run takes by default.
    folder
        Where the tree is made, and deleted again; the system's folder for temporary files by default.
    """
    processors = len(psutil.Process().cpu_affinity())
    with tempfile.TemporaryDirectory(dir=folder) as tree:
        size = make_tree(Path(tree), files, side)
        figures = measure(Path(tree), workers or min(processors, MAX_WORKERS))
        show(figures, side, size)  # before the files are deleted, which takes longer
    return int(figures.seconds > MAX_SECONDS or figures.peak_bytes > MAX_BYTES)


def show(figures: Figures, side: int, size: int) -> None:
    each = 1e6 * figures.cpu_seconds / figures.files
    print(
        f"{figures.files:,} JPEGs of {side} px and {size:,} bytes: {figures.seconds:.1f} s, "
        f"{each:.0f} us of a processor for each, {figures.peak_bytes / 1e6:.0f} MB, "
        f"{figures.disk_bytes / 1e6:.0f} MB read from the disk, on {machine()}"
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"benchmark": "index", "date": now, "machine": machine(), "side": side, "size": size}
    print(json.dumps(facts | asdict(figures)), flush=True)


def make_tree(root: Path, files: int, side: int) -> int:
    """Writes the files; returns the bytes of one."""
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((side, side)).save(content, "JPEG", quality=50)
    for number in range(files):
        folder = root / f"{number // FILES_PER_FOLDER:04d}"
        if number % FILES_PER_FOLDER == 0:
            folder.mkdir()
        with open(f"{folder}/IMG_{number:07d}.jpg", "wb", buffering=0) as file:
            file.write(content.getvalue() + number.to_bytes(8, "big"))  # decoders do not read on, hashes do
    os.sync()  # or the kernel would still write them while they are read
    return len(content.getvalue()) + 8


def measure(tree: Path, workers: int) -> Figures:
    """Indexes the tree in a process of its own, and watches it and its children."""
    command = [sys.executable, "-m", "benchmarks.index_once", str(tree), str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak, ended = [0], threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, ended))
        watcher.start()
        output, _ = process.communicate()
        ended.set()
        watcher.join()
    files, usable, seconds, cpu_seconds, disk_bytes = json.loads(output)
    return Figures(files, usable, seconds, cpu_seconds, disk_bytes, peak[0])


def _watch(pid: int, peak: list[int], ended: threading.Event) -> None:
    process = psutil.Process(pid)
    while not ended.wait(POLL_SECONDS):
        try:
            family = [process, *process.children(recursive=True)]
            peak[0] = max(peak[0], sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:  # one of them has just ended
            continue


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
