"""CSV in three flavours that other programs read: one row an image with its labels, one a label, or one column a class.

UTF-8, every cell quoted. Paths are absolute, so that none begins like a formula and each is found from anywhere. Class
names stand as the user wrote them.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer.data.table import PATH_COLUMN, SPLIT_COLUMN
from trainer.exports.source import ExportSource, as_text, count_spelled

# LightlyTrain's default first (its option `label_delimiter`); a class name that holds one leaves the next.
DELIMITERS = (",", ";", "|", "\t")


def write_csv(source: ExportSource, folder: Path) -> dict[str, Any]:
    """Writes lightly_train.csv, long.csv and wide.csv. Raises ValueError for class names that a flavour cannot hold."""
    delimiter = choose_delimiter(source.labels.class_names)
    _write(folder / "lightly_train.csv", ("image_path", "label"), _one_row_an_image(source, delimiter))
    columns = ("file_path_abs", "class_name", "confidence", "annotation_source")
    _write(folder / "long.csv", columns, _one_row_a_label(source))
    _write(folder / "wide.csv", _wide_header(source.labels.class_names), _one_column_a_class(source))
    paths = (source.paths[row] for row in source.rows)
    return {"label_delimiter": delimiter, "paths_that_are_no_utf8": count_spelled(paths)}


def choose_delimiter(class_names: Sequence[str]) -> str:
    """The first delimiter that no class name holds."""
    for delimiter in DELIMITERS:
        if not any(delimiter in name for name in class_names):
            return delimiter
    raise ValueError("class names hold all of , ; | and tab, so that no list of them can be told apart: rename one")


def _one_row_an_image(source: ExportSource, delimiter: str) -> Iterator[Sequence[object]]:
    """LightlyTrain's multi-label table; an image without a label has an empty cell."""
    for row in source.rows:
        names = [source.labels.class_names[c] for c in source.classes_of(row)]
        yield as_text(source.paths[row]), delimiter.join(names)


def _one_row_a_label(source: ExportSource) -> Iterator[Sequence[object]]:
    """LightlyStudio's table; an image without a label is not in it."""
    for row in source.rows:
        for c in source.classes_of(row):
            name, confidence = source.labels.class_names[c], f"{source.score(row, c):.6f}"
            yield as_text(source.paths[row]), name, confidence, source.said_by(row, c)


def _one_column_a_class(source: ExportSource) -> Iterator[Sequence[object]]:
    """1 and 0, as `ccd run csv:FILE` reads it."""
    for row in source.rows:
        yield as_text(source.paths[row]), *source.given[row].astype(int)


def _wide_header(class_names: Sequence[str]) -> tuple[str, ...]:
    for name in (PATH_COLUMN, SPLIT_COLUMN):
        if name in class_names:
            raise ValueError(f"a class called '{name}' cannot have a column beside the one of that name: rename it")
    return (PATH_COLUMN, *class_names)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
