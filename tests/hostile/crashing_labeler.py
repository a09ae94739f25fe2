"""The labeler, but that its decoder fails where an image's bytes ask for it (crashing_worker.py). For tests alone.

python crashing_labeler.py isolated|unisolated serve ...: "unisolated" decodes in threads of the server, as most servers
do.
"""

import asyncio
import functools
import sys
from pathlib import Path
from typing import Any

import labeler_service.__main__
from labeler_service import decode_pool, decode_worker, engine

WORKER = Path(__file__).parents[1] / "labeler_service" / "crashing_worker.py"


class ThreadDecoders:
    """DecodePool's methods without its processes."""

    def __init__(self, settings: decode_worker.WorkerSettings, *, num_workers: int) -> None:
        self._settings = settings
        sys.path.insert(0, str(WORKER.parent))
        __import__("crashing_worker")  # Its hook is now in this process.

    async def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def decode(self, task: decode_worker.DecodeTask, content: bytes) -> tuple[list[Any], float]:
        return await asyncio.to_thread(self._decode, task, content), 0.0

    def _decode(self, task: decode_worker.DecodeTask, content: bytes) -> list[Any]:
        image = decode_worker.decoding.decode(content, self._settings.limits)
        return [decode_worker._view(image, task, number) for number in range(task.num_views)]


if __name__ == "__main__":
    isolation = sys.argv.pop(1)
    if isolation == "isolated":
        engine.DecodePool = functools.partial(decode_pool.DecodePool, program=(str(WORKER),))
    else:
        engine.DecodePool = ThreadDecoders
    labeler_service.__main__.main()
