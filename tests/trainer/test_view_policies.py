"""Views that no classifier chose: inside the image, of at least a pixel, and where they are said to be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.view_policies import VIEWS, boxes_around, grid_boxes, random_boxes

sizes = st.tuples(st.integers(1, 700), st.integers(1, 700))


def check(boxes: np.ndarray, width: int, height: int) -> None:
    assert boxes.dtype == np.int32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@given(sizes, st.integers(0, 1000))
def test_all_are_views_of_the_image(size: tuple[int, int], seed: int) -> None:
    """The labeler rejects a box outside the image, or without a pixel."""
    width, height = size
    rng = np.random.default_rng(seed)
    objects = random_boxes(width, height, rng)
    for boxes in (grid_boxes(width, height), objects, boxes_around(objects[:2], width, height, rng)):
        assert len(boxes) == VIEWS
        check(boxes, width, height)


@given(st.integers(3, 700), st.integers(3, 700))
def test_the_grid_covers_the_image_once(width: int, height: int) -> None:
    seen = np.zeros((height, width), int)
    for x0, y0, x1, y1 in grid_boxes(width, height):
        seen[y0:y1, x0:x1] += 1
    assert (seen == 1).all()


@given(sizes, st.integers(0, 1000))
def test_crops_around_objects_hold_them(size: tuple[int, int], seed: int) -> None:
    width, height = size
    rng = np.random.default_rng(seed)
    objects = random_boxes(width, height, rng)[:3]
    boxes = boxes_around(objects, width, height, rng)
    for number, box in enumerate(boxes):
        held = objects[number % 3]
        assert (box[:2] <= held[:2]).all()
        assert (box[2:] >= held[2:]).all()


def test_an_image_without_objects_has_no_views() -> None:
    assert len(boxes_around(np.empty((0, 4), np.int32), 10, 10, np.random.default_rng(0))) == 0
