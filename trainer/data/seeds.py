"""One place that keeps random numbers apart: those of the demo's three picture collections, and those of a run."""

from enum import IntEnum

import numpy as np


class SeedSpace(IntEnum):
    """Who the pictures are for. Two members can never yield the same stream, whatever their indices."""

    DEMO_DATA = 1  # the data set that the demo trains and validates on
    CLIP_WEB = 2  # the captioned pictures that the demo CLIP learned from
    BACKBONE = 3  # the pictures that the demo backbone was pre-trained on


class RunStream(IntEnum):
    """What a run draws random numbers for; stands after its seed in the key of a stream."""

    TORCH = 1  # drop-path, dropout and blends; then the epoch
    THRESHOLD = 2  # the order in which the released search looks at images
    TOLD_LABELS = 3  # which targets a method is told
    VIEWS = 4  # then the image
    SIZES = 5  # sides of batches; then the epoch


def seeded_generator(space: SeedSpace, seed: int, index: int) -> np.random.Generator:
    """The generator of picture `index` of the collection `seed` (both >= 0) in this space.

    SeedSequence hashes the whole key, so different keys give independent streams (NumPy's documented guarantee).
    """
    return np.random.default_rng(np.random.SeedSequence([int(space), seed, index]))
