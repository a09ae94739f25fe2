"""A person's word on single labels: kept in review/corrections.csv, and stronger than every label of a machine.

Corrections are laid over labels after debiasing, floor, clamp and update, so that none of them can move a correction.
N images, C classes.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.files import write_atomically
from trainer.spreadsheet import cell_path, path_cell, read_rows, truth

CORRECTIONS = "review/corrections.csv"
TAKEN_IN = "review/taken_in.csv"  # those that the run's classifier was trained on
COLUMNS = ("file_name", "class_name", "present")


@dataclass(frozen=True)
class Corrections:
    """by_image: image id -> class name -> whether the image shows it; what a person did not decide is not there."""

    by_image: Mapping[str, Mapping[str, bool]]

    def __len__(self) -> int:
        """Entries, not images."""
        return sum(len(classes) for classes in self.by_image.values())

    @classmethod
    def of_run(cls, root: Path, class_names: Sequence[str], name: str = CORRECTIONS) -> "Corrections":
        """Those that the run's folder holds; none where nobody corrected anything."""
        path = root / name
        return cls.read(path, class_names) if path.is_file() else cls({})

    @classmethod
    def read(cls, path: Path, class_names: Sequence[str]) -> "Corrections":
        """What `write` wrote. Raises ValueError, in one line, for a file or a cell that is not as expected."""
        by_image: dict[str, dict[str, bool]] = {}
        for number, row in enumerate(read_rows(path, COLUMNS), start=1):
            present = truth_in(path, number, row["present"])
            if present is not None:
                by_image.setdefault(cell_path(row["file_name"]), {})[row["class_name"]] = present
        corrections = cls(by_image)
        corrections.check_classes(class_names, path)
        return corrections

    def check_classes(self, class_names: Sequence[str], source: Path) -> None:
        """Raises ValueError for a class that is none of these."""
        unknown = {name for classes in self.by_image.values() for name in classes} - set(class_names)
        if unknown:
            known = ", ".join(class_names[:5]) + (", ..." if len(class_names) > 5 else "")
            raise ValueError(f"{source} speaks of the class '{min(unknown)}'; the run's are {known}")

    def check_images(self, file_names: Iterable[str], source: Path) -> None:
        """Raises ValueError for an image that is none of these."""
        unknown = self.by_image.keys() - set(file_names)
        if unknown:
            count = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise ValueError(f"{source} speaks of {min(unknown)!r}{count}; the run has no such training image")

    def write(self, path: Path) -> None:
        """CSV, one row an entry, sorted, so that equal corrections are equal files."""
        write_atomically(path, self._csv())

    def _csv(self) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(COLUMNS)
        for image_id in sorted(self.by_image):
            for name, present in sorted(self.by_image[image_id].items()):
                writer.writerow((path_cell(image_id), name, int(present)))
        return text.getvalue().encode()

    @property
    def digest(self) -> str | None:
        """sha256 of the file, hexadecimal; None of no corrections."""
        return hashlib.sha256(self._csv()).hexdigest() if len(self) else None

    def followed_by(self, later: "Corrections") -> "Corrections":
        """Both; where they contradict each other, the later word counts."""
        images = self.by_image.keys() | later.by_image.keys()
        return Corrections({i: {**self.by_image.get(i, {}), **later.by_image.get(i, {})} for i in images})

    def entries(self, file_names: Sequence[str], class_names: Sequence[str]) -> NDArray[np.int8]:
        """(N, C): 1 present, 0 absent by a person's word, -1 where nobody said anything."""
        column_of = {name: column for column, name in enumerate(class_names)}
        said_NC = np.full((len(file_names), len(class_names)), -1, np.int8)
        for row, image_id in enumerate(file_names):
            for name, present in self.by_image.get(image_id, {}).items():
                said_NC[row, column_of[name]] = present
        return said_NC


def corrected(labels: NDArray[np.float32], said: NDArray[np.int8]) -> NDArray[np.float32]:
    """Labels (N, C) with a person's word (N, C), 1, 0 or -1 for none, in its place.

    An image that no machine labelled, a row of NaN, counts only where a person decided all of its classes.
    """
    labels_NC = np.where(said >= 0, said, labels).astype(np.float32)
    labels_NC[~np.isfinite(labels_NC).all(axis=1)] = np.nan
    return labels_NC


def truth_in(path: Path, number: int, cell: str) -> bool | None:
    """`truth` of a cell, with the place in the error."""
    try:
        return truth(cell)
    except ValueError as error:
        raise ValueError(f"{path}, row {number}: {error}") from None
