"""What every export is made from: a run's table of labels, where its images are, and which labels count as given."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainer.data.index import Index
from trainer.data.names import spell, unspell
from trainer.label_table import LabelTable
from trainer.published_labels import LABELS, VIEWS

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class ExportSource:
    """N images, C classes.

    paths: absolute paths of the images as the system has them; where their bytes are no UTF-8, with surrogates.
    image_root: a folder that holds all of them. given: (N, C) bool, the labels that count as present.
    rule: how the thresholds of `given` were found. thresholds: (C,). boxes: by image and class, x0 y0 x1 y1,
    half-open, pixels of the original image after EXIF orientation: the crop that showed CLIP this class.
    """

    labels: LabelTable
    paths: tuple[str, ...]
    image_root: str
    given: NDArray[np.bool_]
    rule: str
    thresholds: NDArray[np.float64]
    boxes: Mapping[tuple[int, int], Box]

    @property
    def rows(self) -> list[int]:
        """Places of the images that have labels; the others are in no export."""
        return [int(row) for row in np.flatnonzero(self.labels.known)]

    @property
    def name(self) -> str:
        """Who says so, for formats that ask for the origin of a label: thresholds other than 1/2 are part of it."""
        return "ccd" if self.rule == "fixed" else f"ccd-{self.rule}"

    def classes_of(self, row: int) -> list[int]:
        """The classes that the image shows, rising."""
        return [int(c) for c in np.flatnonzero(self.given[row])]

    def said_by(self, row: int, class_index: int) -> str:
        """`human` where a person decided the entry."""
        return "human" if self.labels.reviewed[row, class_index] else self.name

    def score(self, row: int, class_index: int) -> float:
        """The label, in [0, 1], to six decimals as float32 has them."""
        return round(float(self.labels.probs[row, class_index]), 6)

    def relative_path(self, row: int) -> str:
        """POSIX, relative to image_root, as the system has it."""
        return Path(self.paths[row]).relative_to(self.image_root).as_posix()


def as_text(path: str) -> str:
    """The path itself, or its spelling (trainer.data.names) where it is no UTF-8: no file of text can hold it then, and
    no program finds the image by its spelling."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return spell(path)
    return path


def count_spelled(paths: Iterable[str]) -> int:
    """How many of these paths no file of text can hold."""
    return sum(as_text(path) != path for path in paths)


def open_source(
    root: Path, labels: LabelTable, *, given: NDArray[np.bool_], rule: str, thresholds: NDArray[np.float64]
) -> ExportSource:
    """The rest of it from a run's folder. Raises ValueError where the labels are of another set of images, or these are
    not where the run found them."""
    index = Index.read(root / "index.parquet", paths=True)
    rows = [row for row in index.rows if not row.reason]
    if [row.image_id for row in rows] != list(labels.file_names):
        raise ValueError(f"{root / LABELS} is not of the images in {root / 'index.parquet'}")
    paths = tuple(str(row.file) for row in rows)
    if not os.path.exists(paths[0]):
        raise ValueError(f"the images of {root} are not where they were: there is no {spell(paths[0])}")
    return ExportSource(
        labels, paths, image_root(paths, labels.file_names), given, rule, thresholds, read_boxes(root / VIEWS)
    )


def image_root(paths: Sequence[str], file_names: Sequence[str]) -> str:
    """The folder that the image ids are relative to or, where ids are no paths, the deepest that holds all images."""
    first = os.path.normpath(f"/{unspell(file_names[0])}")
    if paths[0].endswith(first):
        folder = paths[0].removesuffix(first)
        if all(path == os.path.join(folder, unspell(name)) for path, name in zip(paths, file_names, strict=True)):
            return folder or "/"
    return os.path.commonpath([os.path.dirname(path) for path in paths])


def read_boxes(path: Path) -> dict[tuple[int, int], Box]:
    """The boxes of views.parquet by image and class; none without the file. Views of no class have no entry."""
    if not path.is_file():
        return {}
    table = pq.read_table(path, partitioning=None, columns=["image", "class", "x0", "y0", "x1", "y1"])
    columns = (table[name].to_pylist() for name in table.column_names)
    return {(image, c): (x0, y0, x1, y1) for image, c, x0, y0, x1, y1 in zip(*columns, strict=True) if c >= 0}
