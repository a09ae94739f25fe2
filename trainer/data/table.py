"""A table of images, CSV or Parquet: a column of paths and one per class. The format of someone with own labels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainer.data.classes import columns_of
from trainer.data.sample import DataSplits, ImageSet, Sample, require_files

PROMPT = "a photo of the {}"  # paper section 4.1

# `file_name` is also the column of exported labels, and of Hugging Face's metadata.csv.
PATH_COLUMN, SPLIT_COLUMN = "file_name", "split"
SPLITS = ("train", "val")

# What a cell says, as text: pandas writes whole numbers as 1.0 where a column had gaps, and Parquet has booleans.
_TARGETS = {"1": 1, "1.0": 1, "True": 1, "0": 0, "0.0": 0, "False": 0, "-1": -1, "-1.0": -1}


def read_csv(file: Path, *, class_names: tuple[str, ...] | None) -> DataSplits:
    """Reads comma-separated UTF-8 with a header, as `read_table` says."""
    return read_table(file, _load_csv, class_names)


def read_parquet(file: Path, *, class_names: tuple[str, ...] | None) -> DataSplits:
    """Reads Parquet, as `read_table` says; class columns may be whole numbers, floats, booleans or text."""
    return read_table(file, _load_parquet, class_names)


def read_table(file: Path, load: Callable[[Path], pa.Table], class_names: tuple[str, ...] | None) -> DataSplits:
    """Columns: `file_name`, the image's path relative to the table's folder; `split` (optional), train or val; every
    other one a class of 1 present, 0 absent, -1 unknown (left out of the evaluation).

    class_names: all class columns when None; some of them otherwise. A table without class columns has no targets,
    and its classes must be given.
    Raises ValueError, in one line, for a file or a cell that is not as expected; rows count from the first image.
    """
    if not file.is_file():
        raise ValueError(f"there is no table {file}")
    try:
        table = load(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    known = _class_columns(file, table.column_names)
    names = class_names or known
    if not names:
        raise ValueError(f"{file} has no column of a class: give --classes 'cat, dog'")

    paths = _read_paths(file, table)
    samples = tuple(Sample(path, file.parent / path) for path in paths)
    require_files(samples, file)
    targets = None
    if known:
        asked = [known[column] for column in columns_of(names, known, str(file))]
        targets = np.stack([_read_targets(file, table, name, paths) for name in asked], axis=1)
    return _split(file, table, names, ImageSet("train", samples, targets))


def _load_csv(file: Path) -> pa.Table:
    """Every cell as text, so that what is not a target can be shown as it stands in the file."""
    one_by_one = pa_csv.ReadOptions(use_threads=False)  # only so do errors name their row
    parse = pa_csv.ParseOptions(newlines_in_values=True)  # of quoted file names
    with pa_csv.open_csv(file, read_options=one_by_one, parse_options=parse) as reader:
        names = reader.schema.names
    as_text = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return pa_csv.read_csv(file, read_options=one_by_one, parse_options=parse, convert_options=as_text)


def _load_parquet(file: Path) -> pa.Table:
    return pq.read_table(file, partitioning=None)  # else folders named like split=train become columns


def _class_columns(file: Path, names: list[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1 or not name.strip():
            raise ValueError(f"{file}: expected columns with different names, got {', '.join(map(repr, names))}")
    if PATH_COLUMN not in names:
        raise ValueError(f"{file} has no column '{PATH_COLUMN}' with the images' paths; it has {', '.join(names)}")
    return tuple(name for name in names if name not in (PATH_COLUMN, SPLIT_COLUMN))


def _read_paths(file: Path, table: pa.Table) -> list[str]:
    row_of: dict[str, int] = {}
    for row, path in enumerate(table[PATH_COLUMN].to_pylist(), start=1):
        if not isinstance(path, str) or not path:
            raise ValueError(f"{file}: row {row}, column '{PATH_COLUMN}': expected an image's path, got {path!r}")
        if path in row_of:
            raise ValueError(f"{file}: row {row} names {path}, as row {row_of[path]} does")
        row_of[path] = row
    if not row_of:
        raise ValueError(f"{file} lists no image")
    return list(row_of)


def _read_targets(file: Path, table: pa.Table, name: str, paths: list[str]) -> NDArray[np.int8]:
    """(N,) of one class."""
    values = table[name].to_pylist()
    targets = [_TARGETS.get(str(value).strip()) for value in values]
    if None in targets:
        row = targets.index(None)
        expected = f"expected 1, 0 or -1, got {values[row]!r}"
        raise ValueError(f"{file}: row {row + 1} ({paths[row]}), column '{name}': {expected}")
    return np.array(targets, np.int8)


def _split(file: Path, table: pa.Table, names: tuple[str, ...], images: ImageSet) -> DataSplits:
    if SPLIT_COLUMN not in table.column_names:
        return DataSplits(names, PROMPT, images)
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row, split in enumerate(table[SPLIT_COLUMN].to_pylist()):
        if split not in rows:
            path = images.samples[row].image_id
            raise ValueError(f"{file}: row {row + 1} ({path}), column 'split': expected train or val, got {split!r}")
        rows[split].append(row)
    for split in SPLITS:
        if not rows[split]:
            raise ValueError(f"{file}: no row of column 'split' says {split}; leave the column out to train on all")
    train, val = (replace(images.subset(rows[split]), name=split) for split in SPLITS)
    return DataSplits(names, PROMPT, train, val)
