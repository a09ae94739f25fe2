"""The result cache: bit-equal rows, bounds that hold, and a disk that may fail in any way without a caller noticing."""

import asyncio
import logging
import multiprocessing
import os
import resource
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeler_service.cache import ENTRY_OVERHEAD_BYTES, ResultCache
from labeler_service.cache_disk import FILE, DiskError, DiskStore

MEBIBYTE = 2**20


def row(number: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(size, dtype=np.float32)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


async def fill(cache: ResultCache, numbers: range, size: int = 8) -> None:
    cache.put({key(number): row(number, size) for number in numbers})
    await cache.close()


async def known(cache: ResultCache, numbers: range) -> list[int]:
    """Which of the numbers are there, their rows checked."""
    rows = await cache.get([key(number) for number in numbers])
    for number, found in zip(numbers, rows, strict=True):
        assert found is None or found.tobytes() == row(number, len(found)).tobytes()
    return [number for number, found in zip(numbers, rows, strict=True) if found is not None]


def test_rows_come_back_bit_for_bit_and_are_counted() -> None:
    """Also those that compare unequal to themselves or equal to others: a cache knows bits, not numbers."""

    async def test() -> None:
        cache = ResultCache(MEBIBYTE)
        odd = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
        batch = np.stack([odd, row(1, 4)])
        cache.put({key(0): batch[0]})
        batch[:] = 7  # The row was a view of its batch.
        found, missing = await cache.get([key(0), key(1)])
        assert found is not None
        assert found.tobytes() == odd.tobytes()
        assert missing is None
        assert (cache.hits, cache.misses) == (1, 1)

    run(test())


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60), st.integers(0, 4000))
def test_memory_bound_holds_and_the_most_recent_stay(steps: list[tuple[bool, int]], max_bytes: int) -> None:
    """A cache that grows kills the server after months; one that drops what is in use is none."""

    async def test() -> None:
        cache = ResultCache(max_bytes)
        recent: list[int] = []  # As a list that is searched: the most recently used last.
        for is_put, number in steps:
            if is_put:
                cache.put({key(number): row(number, 1 + 3 * number)})
            elif number not in recent:
                continue
            else:
                assert await known(cache, range(number, number + 1)) == [number]
            recent = [other for other in recent if other != number] + [number]
            while sum(4 * (1 + 3 * other) + ENTRY_OVERHEAD_BYTES for other in recent) > max_bytes:
                recent.pop(0)
            assert cache.bytes <= max_bytes
        assert await known(cache, range(21)) == sorted(recent)

    run(test())


def test_disk_outlasts_the_server(tmp_path: Path) -> None:
    run(fill(ResultCache(MEBIBYTE, DiskStore(tmp_path, MEBIBYTE)), range(100)))
    again = ResultCache(MEBIBYTE, DiskStore(tmp_path, MEBIBYTE))
    assert run(known(again, range(90, 110))) == list(range(90, 100))


def test_disk_bound_holds_and_the_newest_stay(tmp_path: Path) -> None:
    """A disk that fills up takes the machine's other services down."""
    store = DiskStore(tmp_path, MEBIBYTE)
    for start in range(0, 5000, 100):
        store.write({key(number): row(number, 256).tobytes() for number in range(start, start + 100)})
        assert (tmp_path / FILE).stat().st_size <= MEBIBYTE
    numbers = [number for number in range(5000) if store.read([key(number)])]
    assert numbers == list(range(numbers[0], 5000))
    assert len(numbers) > 600, "most of the space is used"


def test_damaged_row_is_a_miss_and_heals(tmp_path: Path) -> None:
    """A flipped bit on a disk would be a wrong label, silently."""
    run(fill(ResultCache(MEBIBYTE, DiskStore(tmp_path, MEBIBYTE)), range(3)))
    with sqlite3.connect(tmp_path / FILE) as connection:
        damaged = b"\x00" + row(1).tobytes()[1:]
        connection.execute("UPDATE embeddings SET content = ? WHERE key = ?", (damaged, key(1)))
        connection.execute("UPDATE embeddings SET content = 'text' WHERE key = ?", (key(2),))
    connection.close()
    assert run(known(ResultCache(MEBIBYTE, DiskStore(tmp_path, MEBIBYTE)), range(3))) == [0]
    run(fill(ResultCache(MEBIBYTE, DiskStore(tmp_path, MEBIBYTE)), range(3)))
    assert run(known(ResultCache(MEBIBYTE, DiskStore(tmp_path, MEBIBYTE)), range(3))) == [0, 1, 2]


def no_database(folder: Path) -> None:
    (folder / FILE).write_bytes(b"something else" * 1000)


def damaged_pages(folder: Path) -> None:
    run(fill(ResultCache(MEBIBYTE, DiskStore(folder, MEBIBYTE)), range(1000), 256))
    content = bytearray((folder / FILE).read_bytes())
    content[4096:-4096:7] = b"\xff" * len(content[4096:-4096:7])
    (folder / FILE).write_bytes(content)


def a_file_in_its_place(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("")


def another_schema(folder: Path) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("CREATE TABLE embeddings (other)")
    connection.close()


@pytest.mark.parametrize("break_it", [no_database, damaged_pages, a_file_in_its_place, another_schema])
def test_serving_goes_on_without_a_broken_disk(
    break_it: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache must never be why a call fails. One warning says it, not one per image."""
    folder = tmp_path / "cache"
    folder.mkdir()
    break_it(folder)

    async def test() -> None:
        cache = ResultCache(MEBIBYTE, DiskStore(folder, MEBIBYTE))
        for start in range(0, 100, 10):
            assert await known(cache, range(start, start + 10)) == []
            cache.put({key(number): row(number) for number in range(start, start + 10)})
            await asyncio.sleep(0)
        assert await known(cache, range(100)) == list(range(100))
        await cache.close()

    with caplog.at_level(logging.WARNING):
        run(test())
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert warnings[0].startswith("going on without --cache-dir: ")
    assert str(folder) in warnings[0]


def write_with_little_space(folder: Path, results: Any) -> None:
    """As on a full disk: writes beyond the limit fail (with EFBIG, since Python ignores SIGXFSZ)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    async def test() -> list[int]:
        cache = ResultCache(100 * MEBIBYTE, DiskStore(folder, 100 * MEBIBYTE))
        for start in range(0, 2000, 100):
            cache.put({key(number): row(number, 256) for number in range(start, start + 100)})
            await asyncio.sleep(0.01)
        found = await known(cache, range(2000))
        await cache.close()
        return found

    results.put(run(test()))


def test_full_disk_costs_nothing_but_the_disk(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=write_with_little_space, args=(tmp_path, results))
    process.start()
    assert results.get(timeout=120) == list(range(2000))
    process.join()
    again = run(known(ResultCache(MEBIBYTE, DiskStore(tmp_path, MEBIBYTE)), range(2000)))
    assert again == list(range(len(again))), "what was written before is whole"
    assert len(again) < 2000, "the disk was full"


def test_read_only_disk(tmp_path: Path) -> None:
    """As root, who may write everywhere, a folder of the kernel's stands for it."""
    folder = tmp_path
    if os.geteuid() == 0:
        folder = Path("/proc")
    else:
        folder.chmod(0o500)
    with pytest.raises(DiskError, match=str(folder)):
        DiskStore(folder, MEBIBYTE).write({key(1): b"x"})


def write_many(folder: Path, first: int) -> None:
    store = DiskStore(folder, 100 * MEBIBYTE)
    for start in range(first, first + 500, 10):
        store.write({key(number): row(number).tobytes() for number in range(start, start + 10)})
    store.close()


def test_two_servers_share_a_folder(tmp_path: Path) -> None:
    """Replicas on one machine: neither may lock the other out, from the moment that both make the file."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(tmp_path, first)) for first in (0, 500, 250)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert run(known(ResultCache(MEBIBYTE, DiskStore(tmp_path, MEBIBYTE)), range(1000))) == list(range(1000))
