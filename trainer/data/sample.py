"""What every data format yields: images with ids, and targets kept apart. Knows no file format and no pixels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from trainer.data.names import spell


@dataclass(frozen=True)
class Sample:
    """One image: an id that is stable between runs and machines, and where its file is."""

    image_id: str
    path: Path


class FolderSamples(Sequence[Sample]):
    """The files below a folder, as samples whose id is the POSIX path below it, spelled as in names.py.

    Holds the paths' bytes in one piece and makes samples when they are asked for: 50 MB for a million images, which
    as objects would take a gigabyte.
    """

    def __init__(self, folder: Path, names: bytes, starts: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """names: all paths, one behind the other; starts (M + 1,): where each begins, and the end; rows (N,): which of
        the M are in this sequence, in its order."""
        self._folder, self._names, self._starts, self._rows = folder, names, starts, rows

    @classmethod
    def of(cls, folder: Path, names: Sequence[bytes]) -> Self:
        """names: paths relative to the folder, as the file system has them."""
        starts = np.zeros(len(names) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, names), np.int64, len(names)), out=starts[1:])
        return cls(folder, b"".join(names), starts, np.arange(len(names)))

    def take(self, rows: NDArray[np.integer]) -> Self:
        """The samples at these positions, in this order; shares the paths."""
        return type(self)(self._folder, self._names, self._starts, self._rows[rows])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Sample | Self:
        if isinstance(index, slice):
            return type(self)(self._folder, self._names, self._starts, self._rows[index])
        name = self._name(self._rows[index])
        return Sample(spell(name), self._folder / name)

    def files(self) -> list[tuple[str, str]]:
        """Each one's id and absolute path. Of a million it takes 1 s, and 5 by way of samples."""
        folder = os.path.abspath(self._folder)
        return [(spell(name), os.path.join(folder, name)) for name in map(self._name, self._rows.tolist())]

    def _name(self, row: int) -> str:
        return os.fsdecode(self._names[self._starts[row] : self._starts[row + 1]])

    def __eq__(self, other: object) -> bool:
        """Whether both are the same samples in the same order."""
        if not isinstance(other, FolderSamples):
            return NotImplemented
        if self._names is other._names and self._folder == other._folder:  # parts of one folder, as loaders get anew
            return np.array_equal(self._rows, other._rows)
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        """By a few of them: equal sequences have equal hashes, and no two data sets of a run begin and end alike."""
        return hash((len(self), *self[:: max(1, len(self) // 16)]))


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order.

    targets: (N, C) int8, 1 present, 0 absent, -1 left out of the evaluation; None where nobody knows.
    Targets are ground truth: they are for evaluation only, training never sees them.
    observed: (N, C) int8, 1 for the positives that a single-positive method is told; None leaves their choice to it.
    """

    name: str
    samples: Sequence[Sample]
    targets: NDArray[np.int8] | None = None
    observed: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def subset(self, indices: Sequence[int] | NDArray[np.integer]) -> "ImageSet":
        """The images at these positions, in the order given, with their targets."""
        rows = np.asarray(indices, int)
        samples = self.samples
        taken = samples.take(rows) if isinstance(samples, FolderSamples) else tuple(samples[i] for i in rows)
        targets, observed = (None if array is None else array[rows] for array in (self.targets, self.observed))
        return ImageSet(self.name, taken, targets, observed)


@dataclass(frozen=True)
class Published:
    """What the literature says of a split. labels_per_image: to two decimals, None where nobody printed it."""

    images: int
    labels_per_image: float | None = None


@dataclass(frozen=True, eq=False)
class DataSplits:
    """A data set: its classes in column order, CLIP's prompt with "{}" for the class, the images to learn from and,
    where there are any, those to evaluate on. published: of a benchmark, the two splits' numbers in that order."""

    class_names: tuple[str, ...]
    prompt: str
    train: ImageSet
    validation: ImageSet | None = None
    published: tuple[Published, Published] | None = None
    skipped: tuple[tuple[str, str], ...] = ()


def require_files(samples: Sequence[Sample], named_by: Path) -> None:
    """Raises ValueError, in one line, with the first image that is not there and the number of such images."""
    missing = [sample.path for sample in samples if not sample.path.is_file()]
    if missing:
        count = f"{len(missing):,} of its {len(samples):,} images are missing"
        raise ValueError(f"expected image {missing[0]}, which {named_by} names; {count}")
