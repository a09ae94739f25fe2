"""Subsets of image sets."""

from pathlib import Path

import numpy as np

from trainer.data.sample import ImageSet, Sample


def test_subset_keeps_images_and_targets_together() -> None:
    """A target that stayed behind would evaluate each image against its neighbour."""
    samples = tuple(Sample(name, Path(name)) for name in "abcd")
    images = ImageSet("train", samples, np.arange(8, dtype=np.int8).reshape(4, 2))
    part = images.subset(np.array([3, 1]))
    assert [sample.image_id for sample in part.samples] == ["d", "b"]
    assert part.targets is not None
    assert part.targets.tolist() == [[6, 7], [2, 3]]
    assert (len(images), len(part)) == (4, 2)
    assert len(images.subset([])) == 0


def test_subset_without_targets() -> None:
    assert ImageSet("train", (Sample("a", Path("a")),)).subset([0]).targets is None
