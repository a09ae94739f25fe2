"""Counts of a split beside the published ones: a data set that is not the benchmark must not pass for it."""

from pathlib import Path

import numpy as np
import pytest

from trainer.data.counts import describe_counts
from trainer.data.sample import ImageSet, Published, Sample

TARGETS = np.array([[1, 1], [0, 1], [-1, 0]], np.int8)


def image_set(targets) -> ImageSet:
    return ImageSet("val", tuple(Sample(str(i), Path(str(i))) for i in range(3)), targets)


@pytest.mark.parametrize(
    ("published", "end", "differs"),
    [
        (None, "", False),
        (Published(3, 1.0), ", as published", False),
        (Published(3), ", as published", False),
        (Published(3, 1.01), "; published: 3 images, 1.01 labels an image", True),
        (Published(5_823), "; published: 5,823 images", True),
    ],
)
def test_counts_beside_the_published(published, end, differs) -> None:
    """What is left out of the evaluation (-1) is no label."""
    expected = f"val: 3 images, 3 labels (1.00 an image){end}", differs
    assert describe_counts(image_set(TARGETS), published) == expected


def test_images_without_targets() -> None:
    assert describe_counts(image_set(None), None) == ("val: 3 images", False)
    assert describe_counts(image_set(None), Published(3, 1.5)) == ("val: 3 images, as published", False)
