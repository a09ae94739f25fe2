"""Embeddings that were computed before, by key: the most recently used in memory and, by choice, more on a disk.

Rows come back bit for bit. Knows neither images nor models: whoever makes the keys says what an embedding depends on.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from labeler_service import metrics
from labeler_service.cache_disk import DiskError, DiskStore

logger = logging.getLogger(__name__)

Embedding = NDArray[np.float32]

# What an entry takes beside its values, measured with tracemalloc on CPython 3.11: two bytes objects with their
# headers, the key's 32 bytes, and its place in the ordered dictionary.
ENTRY_OVERHEAD_BYTES = 300
# Rows that wait for a slow disk; more are kept in memory only. 4096 rows of 1024 values are 16 MB.
MAX_UNWRITTEN = 4096
# A disk that takes longer than this to read a row costs more than it saves.
READ_SECONDS = 5.0


class ResultCache:
    """Keeps up to `max_bytes` in memory, and all that `disk` holds. Used from one event loop, which it never blocks.

    A disk that fails is given up with one warning; nothing of it reaches the callers. `hits` and `misses` count keys.
    """

    def __init__(self, max_bytes: int, disk: DiskStore | None = None) -> None:
        self._max_bytes = max_bytes
        self._rows: OrderedDict[bytes, bytes] = OrderedDict()
        self._disk = disk
        self._disk_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache")
        self._unwritten: dict[bytes, bytes] = {}
        self._writing: asyncio.Task[None] | None = None
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    async def get(self, keys: Sequence[bytes]) -> list[Embedding | None]:
        """The rows of the keys, float32 (D,), read-only; None for those that are not known."""
        found = {key: row for key in keys if (row := self._recall(key)) is not None}
        missing = [key for key in keys if key not in found]
        if missing and self._disk is not None:
            stored = await self._read(self._disk, missing)
            found.update(stored)
            for key, row in stored.items():
                self._remember(key, row)
        hits = sum(key in found for key in keys)
        metrics.CACHE_HITS.inc(hits)
        metrics.CACHE_MISSES.inc(len(keys) - hits)
        self.hits += hits
        self.misses += len(keys) - hits
        return [np.frombuffer(found[key], np.float32) if key in found else None for key in keys]

    def put(self, rows: Mapping[bytes, Embedding]) -> None:
        """Keeps rows, float32 (D,). The disk is written in the background."""
        for key, row in rows.items():
            content = row.tobytes()  # A copy: the row may be a part of its whole batch.
            self._remember(key, content)
            if self._disk is not None and len(self._unwritten) < MAX_UNWRITTEN:
                self._unwritten[key] = content
        if self._unwritten and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Writes what waits for the disk, and closes it."""
        if self._writing is not None:
            await self._writing
        if self._disk is not None:
            await asyncio.get_running_loop().run_in_executor(self._disk_thread, self._disk.close)
        self._disk_thread.shutdown(wait=False)

    def _recall(self, key: bytes) -> bytes | None:
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def _remember(self, key: bytes, row: bytes) -> None:
        if key in self._rows:
            self.bytes -= len(self._rows.pop(key)) + ENTRY_OVERHEAD_BYTES
        self._rows[key] = row
        self.bytes += len(row) + ENTRY_OVERHEAD_BYTES
        while self.bytes > self._max_bytes:
            _, dropped = self._rows.popitem(last=False)
            self.bytes -= len(dropped) + ENTRY_OVERHEAD_BYTES

    async def _read(self, disk: DiskStore, keys: list[bytes]) -> dict[bytes, bytes]:
        reading = asyncio.get_running_loop().run_in_executor(self._disk_thread, disk.read, keys)
        try:
            return await asyncio.wait_for(reading, READ_SECONDS)
        except DiskError as error:
            self._give_up(str(error))
        except TimeoutError:
            self._give_up(f"it took longer than {READ_SECONDS:.0f} s")
        return {}

    async def _write(self) -> None:
        """Until nothing waits: what arrives while a batch is written makes the next one."""
        while self._unwritten and self._disk is not None:
            batch, self._unwritten = self._unwritten, {}
            try:
                await asyncio.get_running_loop().run_in_executor(self._disk_thread, self._disk.write, batch)
            except DiskError as error:
                self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        if self._disk is not None:
            logger.warning("going on without --cache-dir: %s", reason)
        self._disk = None
        self._unwritten.clear()
