"""labels/labels.parquet, the table of labels that people take away and every export is made from.

N images, C classes. Knows the file's columns, not how labels come about.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainer.files import write_atomically
from trainer.uncertainty import entry_uncertainties, mean_entropies

# A label of at least this much counts as given in `labels` and `label_names`: a sigmoid's natural threshold.
LABEL_THRESHOLD = 0.5
# Rows that a reader has to take at once; small enough for 80 classes to stay within a few MB.
ROW_GROUP = 10_000


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The labels of a run's training images, in the order of its index.

    file_names: image ids, POSIX paths relative to the data set. sizes: (N, 2) int32 width and height in pixels after
    EXIF orientation. probs: (N, C) float32 in [0, 1], the final labels, a row of NaN where nobody labelled the image.
    reviewed: (N, C) bool, entries that a person decided; their probs are 0 or 1. hashes: sha256 of each file's bytes.
    clip: name and sha256 of the CLIP that labelled. config_sha: sha256 of the run's settings, hexadecimal.
    """

    class_names: tuple[str, ...]
    file_names: tuple[str, ...]
    sizes: NDArray[np.int32]
    probs: NDArray[np.float32]
    reviewed: NDArray[np.bool_]
    hashes: tuple[bytes, ...]
    split: str
    clip: str
    config_sha: str
    version: str

    def __len__(self) -> int:
        return len(self.file_names)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) whether the image has labels."""
        return np.asarray(np.isfinite(self.probs).all(axis=1))

    def given(self, thresholds: NDArray[np.floating] | float = LABEL_THRESHOLD) -> NDArray[np.bool_]:
        """(N, C) whether the class counts as present: probs of at least its threshold, or a person's word.

        thresholds: (C,) or one for all, in [0, 1].
        """
        with np.errstate(invalid="ignore"):
            over_NC = self.probs >= np.asarray(thresholds, np.float32)
            return np.asarray(np.where(self.reviewed, self.probs >= LABEL_THRESHOLD, over_NC))

    def write(self, path: Path) -> None:
        """Writes Parquet, whole or not at all. Columns: file_name, width, height, probs, labels and label_names (the
        classes of at least 0.5), max_prob, entropy, uncertainty, reviewed (the classes that a person decided), split,
        status (ok or failed), sha256; what depends on labels is null where status is failed.

        Schema metadata: ccd.classes, ccd.thresholds (JSON lists), ccd.clip, ccd.config_sha, ccd.version.
        """
        buffer = pa.BufferOutputStream()
        pq.write_table(self._table(), buffer, compression="zstd", row_group_size=ROW_GROUP)
        write_atomically(path, buffer.getvalue())

    def _table(self) -> pa.Table:
        known, unknown = self.known, ~self.known
        given = _lists(self.given(), known)
        row_type = pa.list_(pa.float32(), len(self.class_names))
        probs = np.ascontiguousarray(self.probs, np.float32).reshape(-1)
        columns = {
            "file_name": pa.array(self.file_names, pa.string()),
            "width": pa.array(self.sizes[:, 0], pa.int32()),
            "height": pa.array(self.sizes[:, 1], pa.int32()),
            "probs": pa.FixedSizeListArray.from_arrays(probs, type=row_type, mask=pa.array(unknown)),
            "labels": pa.array(given, pa.list_(pa.int16())),
            "label_names": pa.array(_names(given, self.class_names), pa.list_(pa.string())),
            "max_prob": pa.array(self.probs.max(axis=1), pa.float32(), mask=unknown),
            "entropy": pa.array(mean_entropies(self.probs), pa.float32(), mask=unknown),
            "uncertainty": pa.array(entry_uncertainties(self.probs).max(axis=1), pa.float32(), mask=unknown),
            "reviewed": pa.array(_lists(self.reviewed, known), pa.list_(pa.int16())),
            "split": pa.array([self.split] * len(self)).dictionary_encode(),
            "status": pa.array(["ok" if ok else "failed" for ok in known]).dictionary_encode(),
            "sha256": pa.array(self.hashes, pa.binary(32)),
        }
        return pa.table(columns, metadata=self._metadata())

    def _metadata(self) -> dict[str, str]:
        return {
            "ccd.classes": json.dumps(self.class_names),
            "ccd.thresholds": json.dumps([LABEL_THRESHOLD] * len(self.class_names)),
            "ccd.clip": self.clip,
            "ccd.config_sha": self.config_sha,
            "ccd.version": self.version,
        }

    @classmethod
    def read(cls, path: Path) -> "LabelTable":
        """What `write` wrote. Raises ValueError, in one line, for a file that is not there or holds no labels."""
        try:
            table = pq.read_table(path, partitioning=None)
            facts = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
            class_names = tuple(json.loads(facts["ccd.classes"]))
            return cls(
                class_names=class_names,
                file_names=tuple(table["file_name"].to_pylist()),
                sizes=np.stack([table["width"].to_numpy(), table["height"].to_numpy()], axis=1),
                probs=_rows(table["probs"], len(class_names)),
                reviewed=_entries(table["reviewed"].to_pylist(), len(class_names)),
                hashes=tuple(table["sha256"].to_pylist()),
                split=table["split"][0].as_py() if len(table) else "",
                clip=facts["ccd.clip"],
                config_sha=facts["ccd.config_sha"],
                version=facts["ccd.version"],
            )
        except FileNotFoundError:
            raise ValueError(f"there are no labels in {path}: `ccd label` and `ccd run` write them") from None
        except (pa.ArrowInvalid, KeyError) as error:
            raise ValueError(f"{path} holds no labels of this version of ccd ({error})") from None


def _lists(entries: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[list[int] | None]:
    """Of each row (N, C) the positions that are True, None of an image without labels."""
    return [np.flatnonzero(row).tolist() if ok else None for row, ok in zip(entries, known, strict=True)]


def _names(lists: Sequence[list[int] | None], class_names: Sequence[str]) -> list[list[str] | None]:
    return [None if row is None else [class_names[c] for c in row] for row in lists]


def _rows(column: pa.ChunkedArray, width: int) -> NDArray[np.float32]:
    """(N, C) float32 of a column of lists of one length; a null becomes a row of NaN."""
    rows = np.full((len(column), width), np.nan, np.float32)
    valid = column.is_valid().to_numpy()
    rows[valid] = column.drop_null().combine_chunks().flatten().to_numpy().reshape(-1, width)
    return rows


def _entries(lists: Sequence[Sequence[int] | None], width: int) -> NDArray[np.bool_]:
    entries = np.zeros((len(lists), width), bool)
    for row, columns in zip(entries, lists, strict=True):
        row[list(columns or ())] = True
    return entries
