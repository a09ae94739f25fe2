"""One place that keeps the random numbers of the demo's three picture collections apart."""

from enum import IntEnum

import numpy as np


class SeedSpace(IntEnum):
    """Who the pictures are for. Two members can never yield the same stream, whatever their indices."""

    DEMO_DATA = 1  # the data set that the demo trains and validates on
    CLIP_WEB = 2  # the captioned pictures that the demo CLIP learned from
    BACKBONE = 3  # the pictures that the demo backbone was pre-trained on


def seeded_generator(space: SeedSpace, seed: int, index: int) -> np.random.Generator:
    """The generator of picture `index` of the collection `seed` (both >= 0) in this space.

    SeedSequence hashes the whole key, so different keys give independent streams (NumPy's documented guarantee).
    """
    return np.random.default_rng(np.random.SeedSequence([int(space), seed, index]))
