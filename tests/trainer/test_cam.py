"""Boxes from CAMs: the released code's worked cases, torch as reference, and what must hold for any CAM."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainer.cam import boxes_from_cams, upsample

CAMS = arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-4, 4, width=32))


def boxes(cam: np.ndarray, **options) -> list[int]:
    defaults = {"frame": len(cam), "threshold": 0.5, "shape": "tight", "offset": 0.0, "image_size": (len(cam),) * 2}
    return boxes_from_cams(cam[None].astype(np.float32), **(defaults | options))[0].tolist()


def mask(rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows.split()], np.float32)


@given(CAMS, st.integers(1, 70))
def test_upsampling_equals_torch(cam: np.ndarray, frame: int) -> None:
    """Another convention of pixel centres would shift every box by half a cell, 16 pixels of 640."""
    expected = F.interpolate(
        torch.from_numpy(cam)[None, None], size=(frame, frame), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(upsample(cam, frame), expected[0, 0].numpy(), atol=2e-5)


def test_tight_box_encloses_the_mask() -> None:
    assert boxes(mask("..... ...#. .#... ..#.. .....")) == [1, 1, 4, 4]


def test_row_major_box_spans_first_and_last_pixel_in_reading_order() -> None:
    """The released box: rows are the true range, columns those of two pixels only, here 1 to 2 of 0 to 4."""
    assert boxes(mask("..... .#... #...# ..#.. ....."), shape="row_major") == [1, 1, 3, 4]


def test_row_major_box_swaps_reversed_columns() -> None:
    """First pixel right of the last one: an unswapped box would be empty and the crop would fail."""
    assert boxes(mask("..... ...#. ..... .#... ....."), shape="row_major") == [1, 1, 4, 4]


def test_offset_widens_each_side_and_stops_at_the_image() -> None:
    cam = np.zeros((20, 20))
    cam[1, 12] = 1
    assert boxes(cam, frame=20, offset=0.125) == [10, 0, 15, 4]  # round(2.5) = 2 pixels each side


def test_box_is_mapped_to_the_original_shape() -> None:
    """The frame is a squashed square: x and y scale differently."""
    assert boxes(mask(".... ..#. .... ...."), image_size=(400, 100)) == [200, 25, 300, 50]


def test_flat_cam_gives_the_whole_image() -> None:
    """Nothing passes the threshold: the released code fails here, an empty box would be refused by the labeler."""
    assert boxes(np.full((4, 4), 3.0), threshold=0.95, image_size=(30, 20)) == [0, 0, 30, 20]


@given(
    CAMS,
    st.sampled_from(["tight", "row_major"]),
    st.floats(0.05, 0.99),
    st.floats(0, 0.3),
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
)
def test_boxes_lie_in_the_image_and_are_never_empty(cam, shape, threshold, offset, image_size) -> None:
    x0, y0, x1, y1 = boxes(cam, frame=32, threshold=threshold, shape=shape, offset=offset, image_size=image_size)
    assert 0 <= x0 < x1 <= image_size[0]
    assert 0 <= y0 < y1 <= image_size[1]


@given(CAMS, st.floats(0.05, 0.99), st.integers(1, 40), st.integers(1, 40))
def test_mapping_to_a_larger_image_and_back_keeps_the_box(cam, threshold, scale_x, scale_y) -> None:
    """Rounding outwards must cost nothing where the image's sides are multiples of the frame's."""
    square = boxes(cam, frame=16, threshold=threshold, image_size=(16, 16))
    mapped = boxes(cam, frame=16, threshold=threshold, image_size=(16 * scale_x, 16 * scale_y))
    assert [mapped[0] / scale_x, mapped[1] / scale_y, mapped[2] / scale_x, mapped[3] / scale_y] == square


@given(CAMS, st.floats(0.05, 0.99))
def test_tight_box_contains_row_major_box(cam, threshold) -> None:
    tight = boxes(cam, frame=24, threshold=threshold)
    reading = boxes(cam, frame=24, threshold=threshold, shape="row_major")
    assert (tight[1], tight[3]) == (reading[1], reading[3])
    assert tight[0] <= reading[0] < reading[2] <= tight[2]


def test_boxes_of_several_cams_keep_their_order() -> None:
    cams = np.stack([mask("#.. ... ..."), mask("... ... ..#")])
    found = boxes_from_cams(cams, frame=3, threshold=0.5, shape="tight", offset=0, image_size=(3, 3))
    assert found.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert found.dtype == np.int32


def test_no_cam_gives_no_box() -> None:
    none = np.empty((0, 4, 4), np.float32)
    assert boxes_from_cams(none, frame=8, threshold=0.5, shape="tight", offset=0, image_size=(9, 9)).shape == (0, 4)


@pytest.mark.parametrize("cells", [7, 14, 20])
def test_bump_is_found_where_it_is(cells: int) -> None:
    """End to end at the released sizes: the box lies around the peak, widened by 80 of 640 pixels."""
    cam = np.zeros((cells, cells))
    cam[cells // 2, cells // 4] = 1
    x0, y0, x1, y1 = boxes(cam, frame=640, threshold=0.95, offset=0.125, image_size=(640, 640))
    assert (x0 + x1) / 2 == pytest.approx((cells // 4 + 0.5) * 640 / cells, abs=1)
    assert (y0 + y1) / 2 == pytest.approx((cells // 2 + 0.5) * 640 / cells, abs=1)
    assert 160 < x1 - x0 < 160 + 640 / cells
