"""The table of `ccd predict` as Parquet, CSV or JSON, written batch by batch; whole or absent."""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.files import write_atomically
from trainer.prediction_config import Format

FloatArray = npt.NDArray[np.float32]

# Rows of a Parquet row group: a reader that wants one column then reads few of them, and a writer holds few.
ROW_GROUP = 10_000

SUFFIXES: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".json": "json"}


def table_format(output: Path | None, kind: Format | None) -> tuple[Path, Format]:
    """Where the table goes and in which format. Raises ValueError for a suffix that names none, or another one."""
    if output is None:
        return Path(f"predictions.{kind or 'parquet'}"), kind or "parquet"
    by_suffix = SUFFIXES.get(output.suffix.lower())
    if kind is None and by_suffix is None:
        raise ValueError(f"--output {output}: end it with {', '.join(SUFFIXES)}, or say which with --format")
    if kind is not None and by_suffix not in (None, kind):
        raise ValueError(f"--format {kind} does not go with --output {output}")
    chosen = kind or by_suffix
    assert chosen is not None
    return output, chosen


def parse_threshold(text: str, names: Sequence[str]) -> FloatArray:
    """(C,) thresholds in [0, 1] from a number or a JSON file {"class": number, ...} that has every class.

    Raises ValueError, in one line.
    """
    wrong = f"--threshold {text}: give a number from 0 to 1, or a JSON file {{class: number}} with all classes"
    path = Path(text)
    try:
        if path.is_file():
            by_name = json.loads(path.read_text())
            values = [float(by_name[name]) for name in names]
        else:
            values = [float(text)] * len(names)
    except KeyError as error:
        raise ValueError(f"--threshold {text}: it lacks the class {error.args[0]!r}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(wrong) from error
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(wrong)
    return np.array(values, np.float32)


class _Writer(ABC):
    """One format. labels: the columns of each row's classes over the threshold, None without one."""

    @abstractmethod
    def write(self, ids: list[str], probs: FloatArray, labels: list[list[int]] | None) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class PredictionTable:
    """A row per image: file_name, the probability of each class and, with thresholds (C,), the classes of at least
    theirs. Appears under its name when the block ends without an error.

    Parquet: probs C float32, labels int16 columns, label_names; classes and thresholds in the schema's metadata. CSV: a
    column per class, labels joined by commas. JSON: a list of {"file_name", "probs": {class: number}, "labels"}.
    """

    def __init__(self, path: Path, kind: Format, names: Sequence[str], thresholds: FloatArray | None) -> None:
        self._path, self._thresholds = path, thresholds
        self._draft = path.with_name(f".{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer: _Writer = _WRITERS[kind](self._draft, names, thresholds)

    def write(self, ids: list[str], probs: FloatArray) -> None:
        """ids: B file names; probs: (B, C) float32 in [0, 1]."""
        labels = None
        if self._thresholds is not None:
            labels = [np.flatnonzero(row).tolist() for row in probs >= self._thresholds]
        self._writer.write(ids, probs, labels)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if error is None:
            self._draft.replace(self._path)
        else:
            self._draft.unlink()


class _Parquet(_Writer):
    def __init__(self, path: Path, names: Sequence[str], thresholds: FloatArray | None) -> None:
        self._names = names
        fields = [("file_name", pa.string()), ("probs", pa.list_(pa.float32(), len(names)))]
        metadata = {"ccd.classes": json.dumps(list(names))}
        if thresholds is not None:
            fields += [("labels", pa.list_(pa.int16())), ("label_names", pa.list_(pa.string()))]
            metadata["ccd.thresholds"] = json.dumps(thresholds.tolist())
        self._schema = pa.schema(fields, metadata=metadata)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Any] = []

    def write(self, ids: list[str], probs: FloatArray, labels: list[list[int]] | None) -> None:
        columns = [ids, pa.FixedSizeListArray.from_arrays(probs.reshape(-1), probs.shape[1])]
        if labels is not None:
            columns += [labels, [[self._names[c] for c in row] for row in labels]]
        self._waiting.append(pa.table(columns, schema=self._schema))
        if sum(map(len, self._waiting)) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []

    def close(self) -> None:
        self._flush()
        self._writer.close()


class _Csv(_Writer):
    def __init__(self, path: Path, names: Sequence[str], thresholds: FloatArray | None) -> None:
        self._names, self._file = names, _open(path)
        self._writer = csv.writer(self._file)
        self._writer.writerow(["file_name", *names, *([] if thresholds is None else ["labels"])])

    def write(self, ids: list[str], probs: FloatArray, labels: list[list[int]] | None) -> None:
        for i, (name, row) in enumerate(zip(ids, probs, strict=True)):
            told = [] if labels is None else [",".join(self._names[c] for c in labels[i])]
            self._writer.writerow([name, *map(_digits, row), *told])

    def close(self) -> None:
        self._file.close()


class _Json(_Writer):
    def __init__(self, path: Path, names: Sequence[str], thresholds: FloatArray | None) -> None:
        self._names, self._file, self._before = names, _open(path), "[\n"

    def write(self, ids: list[str], probs: FloatArray, labels: list[list[int]] | None) -> None:
        for i, (name, row) in enumerate(zip(ids, probs, strict=True)):
            item: dict[str, Any] = {"file_name": name}
            item["probs"] = {c: float(_digits(value)) for c, value in zip(self._names, row, strict=True)}
            if labels is not None:
                item["labels"] = [self._names[c] for c in labels[i]]
            self._file.write(self._before + json.dumps(item, ensure_ascii=False))
            self._before = ",\n"

    def close(self) -> None:
        self._file.write("\n]\n" if self._before == ",\n" else "[]\n")
        self._file.close()


_WRITERS: dict[Format, Any] = {"parquet": _Parquet, "csv": _Csv, "json": _Json}


def _open(path: Path) -> TextIO:
    return path.open("w", newline="", encoding="utf-8")


def _digits(value: np.float32) -> str:
    """As many digits as tell a float32 from its neighbours."""
    return f"{value:.9g}"


def write_failed(output: Path, rejected: Iterable[tuple[str, str]]) -> Path | None:
    """NAME.failed.csv beside the table with the columns file_name and reason; None, and no old file, without any."""
    path, rows = output.with_suffix(".failed.csv"), list(rejected)
    if not rows:
        path.unlink(missing_ok=True)
        return None
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file_name", "reason"])
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
    return path
