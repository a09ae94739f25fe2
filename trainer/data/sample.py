"""What every data format yields: images with ids, and targets kept apart. Knows no file format and no pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One image: an id that is stable between runs and machines, and where its file is."""

    image_id: str
    path: Path


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order.

    targets: (N, C) int8, 1 present, 0 absent, -1 left out of the evaluation; None where nobody knows.
    Targets are ground truth: they are for evaluation only, training never sees them.
    observed: (N, C) int8, 1 for the positives that a single-positive method is told; None leaves their choice to it.
    """

    name: str
    samples: tuple[Sample, ...]
    targets: NDArray[np.int8] | None = None
    observed: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def subset(self, indices: Sequence[int] | NDArray[np.integer]) -> "ImageSet":
        """The images at these positions, in the order given, with their targets."""
        rows = np.asarray(indices, int)
        targets, observed = (None if array is None else array[rows] for array in (self.targets, self.observed))
        return ImageSet(self.name, tuple(self.samples[i] for i in indices), targets, observed)


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


def require_files(samples: Sequence[Sample], named_by: Path) -> None:
    """Raises ValueError, in one line, with the first image that is not there and the number of such images."""
    missing = [sample.path for sample in samples if not sample.path.is_file()]
    if missing:
        count = f"{len(missing):,} of its {len(samples):,} images are missing"
        raise ValueError(f"expected image {missing[0]}, which {named_by} names; {count}")
