"""What methods are told: nothing that the regime hides, and the same each time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainer.label_regimes import confident, full, partial, single_positive, top1

TARGETS = arrays(np.int8, st.tuples(st.integers(1, 30), st.integers(2, 8)), elements=st.sampled_from([-1, 0, 1]))


@given(TARGETS)
def test_one_positive_and_nothing_else(targets: np.ndarray) -> None:
    """A second one, or a negative, would make the row another experiment."""
    labels = single_positive(targets, np.random.default_rng(0))
    told = np.isfinite(labels)
    assert (told.sum(axis=1) == (targets == 1).any(axis=1)).all()
    assert (targets[told] == 1).all()
    assert (labels[told] == 1).all()


def test_each_positive_is_chosen_as_often() -> None:
    """The first class of an image would be the only one that is ever told."""
    targets = np.tile(np.array([1, 0, 1, 1], np.int8), (3000, 1))
    counts = np.isfinite(single_positive(targets, np.random.default_rng(0))).sum(axis=0)
    assert counts[1] == 0
    assert (abs(counts[[0, 2, 3]] - 1000) < 120).all()


@given(TARGETS)
def test_a_part_tells_the_truth(targets: np.ndarray) -> None:
    labels = partial(targets, 0.5, np.random.default_rng(0))
    told = np.isfinite(labels)
    assert (labels[told] == targets[told]).all()
    assert (targets[told] >= 0).all()


def test_a_tenth_is_a_tenth() -> None:
    told = np.isfinite(partial(np.zeros((1000, 20), np.int8), 0.1, np.random.default_rng(0)))
    assert abs(told.mean() - 0.1) < 0.01


def test_what_the_evaluation_leaves_out_is_not_told() -> None:
    np.testing.assert_array_equal(full(np.array([[1, 0, -1]], np.int8)), [[1, 0, np.nan]])


def test_clips_opinion() -> None:
    probs = np.array([[0.1, 0.6, 0.05, 0.25], [np.nan] * 4], np.float32)
    np.testing.assert_array_equal(top1(probs), [[np.nan, 1, np.nan, np.nan], [np.nan] * 4])
    np.testing.assert_array_equal(confident(probs), [[0, 1, 0, np.nan], [np.nan] * 4])
