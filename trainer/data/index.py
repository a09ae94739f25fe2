"""Opens every image once, before anything depends on it: size, hash, and which files cannot be used and why.

Columns, no objects: a million images take 100 MB, not a gigabyte.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainer.data.inspection import Facts, inspectors
from trainer.data.names import spell, unspell
from trainer.data.parallel import map_ahead
from trainer.data.sample import FolderSamples, ImageSet, Sample
from trainer.files import whole_file

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

# The columns that make an IndexRow; the others are for people and other programs.
_ROW = ["image_id", "width", "height", "bytes", "sha256", "reason"]

# Files that a thread looks at before it reports: a thousandth of all, so that progress is seen with few large
# photographs; at most so many, with which handing tiny ones over costs little (processors are busy 90 % of the time,
# 87 % with chunks of 32).
MAX_CHUNK = 128
# In one piece of the Parquet file: 20 MB as objects.
FILES_PER_GROUP = 16_384

# A file's id and absolute path, and what was seen of it.
_Seen = tuple[tuple[str, str], Facts]


class IndexRow(NamedTuple):
    """One file. image_id: spelled as in names.py. width and height: pixels after EXIF orientation, 0 where it
    failed. sha256: of the file's bytes, None where they could not be read. reason: why the file cannot be used, ""
    where it can. path: absolute, spelled alike; "" where it was not asked for."""

    image_id: str
    width: int
    height: int
    num_bytes: int
    sha256: bytes | None
    reason: str
    path: str = ""

    @property
    def file(self) -> Path:
        """The file itself, of a row whose path was asked for."""
        assert self.path
        return Path(unspell(self.path))


@dataclass(frozen=True)
class Index:
    """One row per image, in the order of the image set that it was built from.

    `table` has the columns of index.parquet, or those of IndexRow where it was read from there.
    """

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def rows(self) -> tuple[IndexRow, ...]:
        """All rows as objects."""
        return _rows(self.table)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """(N,) True where the image can be used."""
        return np.asarray(pc.equal(self.table["reason"], "").to_numpy(), bool)

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(N, 2) width and height in pixels after EXIF orientation, 0 where the image failed."""
        return np.stack([self.table["width"].to_numpy(), self.table["height"].to_numpy()], axis=1)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """sha256 of each usable image's bytes, in order."""
        ok, hashes = self.ok, self.table["sha256"]
        return tuple((hashes if ok.all() else hashes.filter(pa.array(ok))).to_pylist())  # a copy only where needed

    def failures(self) -> list[IndexRow]:
        """The rows of the images that cannot be used."""
        return list(_rows(self.table.filter(pa.array(~self.ok))))

    def describes(self, images: ImageSet) -> bool:
        """Whether it was built from these images, by their ids."""
        ids = (image_id.as_py() for image_id in self.table["image_id"])
        return len(self) == len(images) and all(
            image_id == sample.image_id for image_id, sample in zip(ids, images.samples, strict=True)
        )

    def write(self, path: Path) -> None:
        """Writes Parquet; the file appears whole or not at all."""
        with whole_file(path) as draft:
            pq.write_table(self.table, draft, compression="zstd")

    @classmethod
    def read(cls, path: Path, *, paths: bool = False) -> "Index":
        """What `write` or `write_index` wrote; with the files' paths if asked for, which are most of it."""
        columns = [*_ROW, "path"] if paths else _ROW
        return cls(pq.read_table(path, columns=columns, memory_map=True, pre_buffer=False))


def build_index(image_set: ImageSet, *, workers: int, progress: Callable[[int], object]) -> Index:
    """Reads, hashes and fully decodes every file, `workers` at a time.

    progress: called with the number of further images done, now and then. The order is the image set's.
    """
    return Index(pa.Table.from_batches(_inspected(image_set, workers, progress), _SCHEMA))


def write_index(path: Path, image_set: ImageSet, *, workers: int, progress: Callable[[int], object]) -> None:
    """The same into a Parquet file, piece by piece, which appears whole or not at all."""
    with whole_file(path) as draft, pq.ParquetWriter(draft, _SCHEMA, compression="zstd") as writer:
        for batch in _inspected(image_set, workers, progress):
            writer.write_batch(batch)


def _inspected(image_set: ImageSet, workers: int, progress: Callable[[int], object]) -> Iterator[pa.RecordBatch]:
    samples = image_set.samples
    chunk = min(max(1, len(samples) // 1000), MAX_CHUNK)
    starts = range(0, len(samples), chunk)
    with inspectors(workers, len(samples)) as inspect:

        def look(start: int) -> list[_Seen]:
            files = _files(samples[start : start + chunk])
            return list(zip(files, inspect([path for _, path in files]), strict=True))

        with closing(map_ahead(look, starts, 2 * workers)) as chunks:  # its threads end before the processes
            yield from map_ahead(_batch, _groups(chunks, progress), 1)  # one is made while the next is collected


def _files(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """Each one's id and absolute path."""
    if isinstance(samples, FolderSamples):
        return samples.files()
    return [(sample.image_id, os.path.abspath(sample.path)) for sample in samples]


def _groups(chunks: Iterator[list[_Seen]], progress: Callable[[int], object]) -> Iterator[list[_Seen]]:
    group: list[_Seen] = []
    for chunk in chunks:
        group += chunk
        progress(len(chunk))
        if len(group) >= FILES_PER_GROUP:
            yield group
            group = []
    yield group


def _batch(group: list[_Seen]) -> pa.RecordBatch:
    ids = [image_id for (image_id, _), _ in group]
    paths = [spell(path) for (_, path), _ in group]
    width, height, num_bytes, sha256, reasons = zip(*(facts for _, facts in group), strict=True) if group else [()] * 5
    status = ["failed" if reason else "ok" for reason in reasons]
    columns = [ids, paths, width, height, num_bytes, sha256, status, reasons]
    return pa.RecordBatch.from_arrays(
        [pa.array(column, type) for column, type in zip(columns, _SCHEMA.types, strict=True)], schema=_SCHEMA
    )


def _rows(table: pa.Table) -> tuple[IndexRow, ...]:
    names = [*_ROW, "path"] if "path" in table.column_names else _ROW
    return tuple(map(IndexRow, *(table[name].to_pylist() for name in names)))
