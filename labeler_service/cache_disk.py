"""The result cache's disk: one SQLite file of rows with checksums, bounded, shared by all servers that use its folder.

Knows nothing of asyncio: one thread calls it.
"""

import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

FILE = "embeddings.sqlite3"
# Numbers only grow, so the oldest row has the least.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS embeddings (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, content BLOB NOT NULL, checksum INTEGER NOT NULL
)
"""
_DROP_OLDEST_TENTH = """
DELETE FROM embeddings WHERE number <= (SELECT min(number) + (max(number) - min(number)) / 10 FROM embeddings)
"""
# Until another server's transaction, which takes milliseconds, is done.
_BUSY_SECONDS = 2.0
# Seven rows of 1024 values fill most of a page; of SQLite's usual 4096 bytes each would take two.
_PAGE_BYTES = 32768
# What SQLite needs for a row beside its content: the key twice, and its share of pages that are not quite full.
_ROW_OVERHEAD_BYTES = 200
_PAGE_OVERHEAD = 1.25


class DiskError(Exception):
    """The store cannot be used: full, read-only, locked or no database. The message names the file and the reason."""


class DiskStore:
    """Contents by key in a file in `folder` of about `max_bytes`; the oldest make room for new ones.

    The file is opened at the first use. Every method raises DiskError.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._path = folder / FILE
        self._max_bytes = max_bytes
        self._opened: sqlite3.Connection | None = None

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Contents of those keys that are known and intact."""
        found: dict[bytes, bytes] = {}
        with self._connection() as connection:
            for key in keys:
                query = "SELECT content, checksum FROM embeddings WHERE key = ? AND typeof(content) = 'blob'"
                content, checksum = connection.execute(query, (key,)).fetchone() or (b"", None)
                if checksum == _checksum(key, content):  # What is damaged is computed and written anew.
                    found[key] = content
        return found

    def write(self, contents: Mapping[bytes, bytes]) -> None:
        rows = [(key, content, _checksum(key, content)) for key, content in contents.items()]
        size = sum(_PAGE_OVERHEAD * len(content) + _ROW_OVERHEAD_BYTES for content in contents.values())
        with self._connection() as connection:
            while _used_bytes(connection) + size > self._max_bytes and _drop_oldest(connection):
                pass
            with connection:
                insert = "INSERT OR REPLACE INTO embeddings (key, content, checksum) VALUES (?, ?, ?)"
                connection.executemany(insert, rows)

    def close(self) -> None:
        if self._opened is not None:
            with self._connection() as connection:
                connection.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._opened is None:
                self._opened = _open(self._path)
            yield self._opened
        except (OSError, sqlite3.Error) as error:
            raise DiskError(f"{self._path}: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level="IMMEDIATE")
    # These two have to come first. What is dropped can then be given back to the disk.
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    # A log of writes: servers read while one writes, and a crash loses the last rows at most.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    with connection:
        connection.execute(_SCHEMA)
    return connection


def _drop_oldest(connection: sqlite3.Connection) -> bool:
    """Whether there was anything to drop."""
    with connection:
        dropped = connection.execute(_DROP_OLDEST_TENTH).rowcount
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    return dropped > 0


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    used: int = (pages - free) * size
    return used


def _checksum(key: bytes, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(key))
