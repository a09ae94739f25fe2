"""Thresholds for local views: the released search read slowly, the exact one by trying every threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.views import search_threshold, select_classes, threshold_for_mean_views


def released_search(probs: np.ndarray, start: float, band: tuple[float, float]) -> float:
    """The released loop, image by image: a counter that is looked at when the image's number divides by 100."""
    threshold, count = start, 0
    for number, row in enumerate(probs):
        count += int((row >= threshold).sum())
        if number % 100 == 0 and number > 0:
            if band[0] < count / 100 < band[1]:
                break
            threshold += 0.001
            count = 0
    return threshold


@given(
    st.integers(0, 2**32), st.integers(0, 730), st.sampled_from([0.001, 0.05, 0.3]), st.sampled_from([(4, 6), (1, 3)])
)
def test_search_equals_the_released_loop(seed, num_images, start, band) -> None:
    """Windows off by one image, or a threshold raised once too often, would not reproduce `official`."""
    probs = np.random.default_rng(seed).beta(0.4, 3, (num_images, 20))
    assert search_threshold(probs, start=start, band=band) == released_search(probs, start, band)


def test_search_that_never_succeeds_ends_where_the_released_code_ends() -> None:
    """VOC 2012's 5,717 images: 57 windows, so at most 0.05 + 0.057."""
    assert search_threshold(np.ones((5717, 20))) == pytest.approx(0.107)


@given(st.integers(0, 2**32), st.integers(1, 40), st.floats(0, 9), st.integers(0, 3))
def test_threshold_for_mean_views_is_the_best_of_all(seed, num_images, mean_views, decimals) -> None:
    """decimals 0 to 3 make ties, in which many entries enter at once."""
    probs = np.random.default_rng(seed).random((num_images, 8)).round(decimals)

    def distance(threshold: float) -> float:
        return abs(np.count_nonzero(probs >= threshold) - mean_views * num_images)

    threshold = threshold_for_mean_views(probs, mean_views)
    assert distance(threshold) == min(distance(value) for value in np.unique(probs))


def test_threshold_for_mean_views_survives_float32() -> None:
    """A threshold that is rounded up on its way to float64 would drop the very entry that it was taken from."""
    probs = np.random.default_rng(0).random((50, 20), dtype=np.float32)
    threshold = threshold_for_mean_views(probs, 10)
    assert sum(len(select_classes(row, threshold)) for row in probs) == 500


def test_select_classes_includes_the_threshold_itself() -> None:
    assert select_classes(np.array([0.2, 0.5, 0.49, 0.9]), 0.5).tolist() == [1, 3]
