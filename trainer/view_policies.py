"""Local views that no classifier chose, to compare with those around activations (paper section 3.1 and Fig. 3).

Each gives boxes (k, 4) int32, x0 y0 x1 y1, half-open, in pixels of one image of (width, height).
"""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.int32]

VIEWS = 9  # per image, as a 3 x 3 grid has (section 3.1)
GRID = 3
# Sides of a random crop, as shares of the image's, are evenly spread from here to 1. The paper does not say.
SMALLEST_SIDE = 0.25
# A crop around a box is wider on each side by up to this share of the way to the image's edge. The paper does not say.
LARGEST_MARGIN = 0.5


def grid_boxes(width: int, height: int) -> Boxes:
    """3 x 3 tiles, row by row, that cover the image without overlap; where a side has under 3 pixels, tiles overlap."""
    xs, ys = (np.round(np.linspace(0, side, GRID + 1)).astype(int) for side in (width, height))
    tiles = [(xs[i], ys[j], xs[i + 1], ys[j + 1]) for j in range(GRID) for i in range(GRID)]
    return within(np.array(tiles, float), width, height)


def random_boxes(width: int, height: int, rng: np.random.Generator) -> Boxes:
    """Nine crops of any size and place."""
    sides = rng.uniform(SMALLEST_SIDE, 1, (VIEWS, 2)) * (width, height)
    starts = rng.uniform(0, 1, (VIEWS, 2)) * ((width, height) - sides)
    return within(np.concatenate([starts, starts + sides], axis=1), width, height)


def boxes_around(objects: Boxes, width: int, height: int, rng: np.random.Generator) -> Boxes:
    """Nine crops that each hold one of the objects (k, 4) in turn, and some of what is around it; none without one."""
    if not len(objects):
        return np.empty((0, 4), np.int32)
    chosen = objects[np.arange(VIEWS) % len(objects)].astype(float)
    room = np.stack([chosen[:, 0], chosen[:, 1], width - chosen[:, 2], height - chosen[:, 3]], axis=1)
    margins = rng.uniform(0, LARGEST_MARGIN, (VIEWS, 4)) * room
    return within(chosen + margins * (-1, -1, 1, 1), width, height)


def within(boxes: NDArray[np.floating], width: int, height: int) -> Boxes:
    """Whole pixels inside the image, at least one on each side."""
    low = np.floor(boxes[:, :2]).clip(0, (width - 1, height - 1))
    high = np.maximum(np.ceil(boxes[:, 2:]).clip(None, (width, height)), low + 1)
    return np.concatenate([low, high], axis=1).astype(np.int32)
