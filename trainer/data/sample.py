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
    """

    name: str
    samples: tuple[Sample, ...]
    targets: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def subset(self, indices: Sequence[int] | NDArray[np.integer]) -> "ImageSet":
        """The images at these positions, in the order given, with their targets."""
        samples = tuple(self.samples[i] for i in indices)
        return ImageSet(self.name, samples, None if self.targets is None else self.targets[np.asarray(indices, int)])


@dataclass(frozen=True, eq=False)
class DataSplits:
    """A data set: its classes in column order, CLIP's prompt with "{}" for the class, the images to learn from and,
    where there are any, those to evaluate on."""

    class_names: tuple[str, ...]
    prompt: str
    train: ImageSet
    validation: ImageSet | None = None
