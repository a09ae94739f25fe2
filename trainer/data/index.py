"""Opens every image once, before anything depends on it: size, hash, and which files cannot be used and why."""

import csv
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainer.data.images import decode
from trainer.data.names import spell
from trainer.data.sample import ImageSet, Sample
from trainer.files import write_atomically

_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.binary(32)),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)


class IndexRow(NamedTuple):
    """One file. image_id, path (absolute): spelled as in names.py. width and height: pixels after EXIF orientation, 0
    where it failed. sha256: of the file's bytes, None where they could not be read. reason: why the file cannot be
    used, "" where it can."""

    image_id: str
    path: str
    width: int
    height: int
    num_bytes: int
    sha256: bytes | None
    reason: str


@dataclass(frozen=True)
class Index:
    """One row per image, in the order of the image set that it was built from."""

    rows: tuple[IndexRow, ...]

    @property
    def ok(self) -> NDArray[np.bool_]:
        """(N,) True where the image can be used."""
        return np.array([not row.reason for row in self.rows], bool)

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(N, 2) width and height in pixels after EXIF orientation, 0 where the image failed."""
        return np.array([(row.width, row.height) for row in self.rows], np.int32).reshape(-1, 2)

    def failures(self) -> list[IndexRow]:
        """The rows of the images that cannot be used."""
        return [row for row in self.rows if row.reason]

    def write(self, path: Path) -> None:
        """Writes Parquet; the file appears whole or not at all."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(IndexRow._fields)
        *facts, reasons = (list(column) for column in columns)
        status = ["failed" if reason else "ok" for reason in reasons]
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table([*facts, status, reasons], schema=_SCHEMA), buffer, compression="zstd")
        write_atomically(path, buffer.getvalue().to_pybytes())

    @classmethod
    def read(cls, path: Path) -> "Index":
        """What `write` wrote."""
        table = pq.read_table(path, schema=_SCHEMA).drop_columns("status")
        return cls(tuple(map(IndexRow, *(column.to_pylist() for column in table.columns))))

    def write_failed_csv(self, path: Path) -> None:
        """The failures as CSV with the columns image_id, path and reason; a file with the header alone says none."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("image_id", "path", "reason"))
            writer.writerows((row.image_id, row.path, row.reason) for row in self.failures())


def build_index(image_set: ImageSet, *, workers: int, progress: Callable[[int], None]) -> Index:
    """Reads, hashes and fully decodes every file with `workers` threads (Pillow and hashlib release the GIL).

    progress: called with the number of images done so far, after each one. The order is the image set's.
    """
    rows: list[IndexRow] = []
    with ThreadPoolExecutor(workers) as pool:
        for row in pool.map(_inspect, image_set.samples):
            rows.append(row)
            progress(len(rows))
    return Index(tuple(rows))


def _inspect(sample: Sample) -> IndexRow:
    path = spell(os.path.abspath(sample.path))
    try:
        data = sample.path.read_bytes()
    except OSError as error:
        return IndexRow(sample.image_id, path, 0, 0, 0, None, error.strerror or str(error))
    sha256 = hashlib.sha256(data).digest()
    try:
        width, height = decode(data).size
    except ValueError as error:
        return IndexRow(sample.image_id, path, 0, 0, len(data), sha256, str(error))
    return IndexRow(sample.image_id, path, width, height, len(data), sha256, "")
